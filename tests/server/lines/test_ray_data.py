"""Lines answered by Ray's actors: the same rows as on one machine."""

import asyncio
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.server.lines.files import contents, line
from tests.server.lines.test_offline import SCRIPTED, mixed, run
from trimtab.server.errors import ServerError
from trimtab.server.lines.answer import LineAnswer
from trimtab.server.lines.local import InProcess
from trimtab.server.lines.offline import missing_lines
from trimtab.server.lines.ray_data import LineActor, Workers, answer_on_ray
from trimtab.server.lines.rows import Rows
from trimtab.server.lines.shards import Shard
from trimtab.server.settings import Settings

PLACE = InProcess(Settings.model_validate(SCRIPTED))
without_ray = pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed")


@without_ray
def test_without_ray_the_extra_is_named() -> None:
    with pytest.raises(ServerError, match=r"trimtab\[ray\]"):
        answer_on_ray([line(1, "a")], PLACE, print, concurrency=1, workers=Workers(1))


def test_an_actor_answers_batches() -> None:
    import json
    from dataclasses import asdict

    actor = LineActor(PLACE, 4)
    texts = [json.dumps(asdict(line(number, f"r{number}"))) for number in range(6)]
    answers = [LineAnswer(**json.loads(text)) for batch in (texts[:4], texts[4:]) for text in actor({"line": batch})["answer"]]
    assert sorted(answer.number for answer in answers) == list(range(6))
    assert all(answer.ok for answer in answers)


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    ray = pytest.importorskip("ray", reason="Ray (extra `ray`) is not installed")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100 * 2**20)
    yield
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_actors_together_are_the_run_of_one_machine(cluster: None, tmp_path: Path) -> None:
    source = mixed(tmp_path / "in.jsonl", 100)  # four blocks
    rows: list[dict[str, object]] = []
    lines = missing_lines(source, Shard(), Rows())
    answer_on_ray(lines, PLACE, lambda answer: rows.append(answer.row()), concurrency=16, workers=Workers(2, cpus=0.5))
    assert contents(rows) == contents(asyncio.run(run(source, PLACE)))
    assert len(rows) == 105
