"""lm-evaluation-harness scores a task through `local-completions` as it does with its own Hugging Face back end.

The server runs the real default model with the transformers engine in float32. Nothing of the harness is adapted: it finds
the remote tokenizer, sends token ids and reads the log-probabilities of the echoed prompt.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import socket
from typing import Any

import pytest
import uvicorn
import yaml

from trimtab.artifacts import DEFAULT_MODEL, resolve
from trimtab.server.app import create_app
from trimtab.server.settings import ModelConfig, Settings, TransformersConfig

TASK = Path(__file__).parents[2] / "data" / "lm_eval" / "everyday.yaml"
NAME = "trimtab_everyday"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]


class Server(uvicorn.Server):
    """Tells when its start is over."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.settled = threading.Event()

    async def startup(self, sockets: list[socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        finally:
            self.settled.set()


@contextmanager
def listening(settings: Settings) -> Iterator[str]:
    """The server of these settings on a free port; its base URL."""
    server = Server(uvicorn.Config(create_app(settings), port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert server.settled.wait(300)
        assert server.started, "the server did not start"
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def evaluated(back_end: str, cache: Path, **model_args: Any) -> dict[str, Any]:
    """The harness' results and samples of the task."""
    evaluator = pytest.importorskip("lm_eval.evaluator", reason="lm-eval is part of the extra `test`")
    task = yaml.safe_load(TASK.read_text())
    task["dataset_kwargs"] = {"data_files": {"test": str(TASK.with_name("everyday.jsonl"))}, "cache_dir": str(cache)}
    results: dict[str, Any] = evaluator.simple_evaluate(
        model=back_end, model_args=model_args, tasks=[task], log_samples=True, bootstrap_iters=0, verbosity="WARNING"
    )
    return results


def loglikelihoods(results: dict[str, Any]) -> list[tuple[float, bool]]:
    """One (log-likelihood in nats, is it the greedy continuation) a choice."""
    samples = sorted(results["samples"][NAME], key=lambda sample: sample["doc_id"])
    return [(float(value), bool(greedy)) for sample in samples for value, greedy in sample["filtered_resps"]]


def test_local_completions_equals_the_hugging_face_back_end(tmp_path: Path) -> None:
    model = ModelConfig(engine=TransformersConfig(dtype="float32"))
    with listening(Settings(models={DEFAULT_MODEL: model})) as url:
        served = evaluated(
            "local-completions",
            tmp_path,
            model=DEFAULT_MODEL,
            base_url=f"{url}/v1/completions",
            num_concurrent=4,
            batch_size=4,
        )
    own = evaluated("hf", tmp_path, pretrained=str(resolve(DEFAULT_MODEL).path), dtype="float32", device="cpu", batch_size=1)
    for metric in ("acc,none", "acc_norm,none"):
        assert served["results"][NAME][metric] == pytest.approx(own["results"][NAME][metric], abs=1e-3)
    got, expected = loglikelihoods(served), loglikelihoods(own)
    assert len(got) == len(expected) == 80
    assert [value for value, _ in got] == pytest.approx([value for value, _ in expected], abs=1e-3)
    assert [greedy for _, greedy in got] == [greedy for _, greedy in expected]
