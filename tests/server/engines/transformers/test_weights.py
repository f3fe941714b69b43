"""Weights pushed into a running engine: what is under way ends on the old ones, and everything after is of the new ones."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from tests.server.engines.transformers.checkpoints import write_llama
from tests.server.engines.transformers.conftest import opened
from tests.server.engines.transformers.running import generated, one
from tests.server.engines.transformers.test_scheduler import Kept, job_of, run, scheduler_of
from trimtab.server.engines.transformers import TransformersEngine
from trimtab.server.engines.transformers.model import LoadedModel, load
from trimtab.server.engines.transformers.row import ScoreJob
from trimtab.server.engines.transformers.weights import WeightJob, read_weights
from trimtab.server.settings import TransformersConfig
from trimtab.strategies.core.engine import Call, Params
from trimtab.strategies.core.errors import EngineFailure, EngineUnavailable, RequestRefused

PROMPT = tuple(range(40, 100))
GREEDY = Params(max_tokens=10, temperature=0.0, ignore_eos=True)


def said(directory: Path, length: int = 10) -> list[int]:
    """What a checkpoint's own `generate` says."""
    model = load(directory, TransformersConfig(dtype="float32", device="cpu"))
    return generated(model, PROMPT, length, min_new_tokens=length)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(tmp_path_factory.mktemp("other"), 7)


@pytest_asyncio.fixture
async def fresh(llama_path: Path) -> AsyncIterator[TransformersEngine]:
    engine = await opened(llama_path, max_batch_size=4)
    yield engine
    await engine.close()


async def test_answers_are_the_new_checkpoints_and_the_version_rises(
    fresh: TransformersEngine, llama_path: Path, other: Path
) -> None:
    """The prompt was answered before each push: its keys and values lie in the prefix cache, and must not be used."""
    assert fresh.weights_version == 0
    for version, directory in enumerate((llama_path, other, llama_path)):
        if version:
            assert await fresh.push_weights(directory) == fresh.weights_version == version
        sample = await one(fresh, PROMPT, GREEDY)
        assert (sample.ids, sample.cached) == (said(directory), 0)


def waiting(model: LoadedModel, directory: Path) -> tuple[WeightJob, Kept]:
    kept = Kept()
    return WeightJob("weights", read_weights(directory, model), kept), kept


def test_what_is_under_way_ends_on_the_old_weights_and_what_comes_waits(llama_path: Path, other: Path) -> None:
    """Two answers of two samples each, in two places: when weights come the second is still queued, and ends on the old ones.

    Then come an answer, before all others by its priority, and a prompt to be scored: both are of the new weights.
    """
    model = load(llama_path, TransformersConfig(dtype="float32", device="cpu"))
    scheduler = scheduler_of(model, 2)
    before = [job_of(model, PROMPT, name, n=2, max_tokens=10) for name in "ab"]
    later, scored = job_of(model, PROMPT, "c", priority=-1, max_tokens=10), Kept()
    weights, told = waiting(model, other)
    with torch.inference_mode():
        for job, _ in before:
            scheduler.add(job)
        scheduler.step()
        scheduler.replace_weights(weights)
        scheduler.add(later[0])
        scheduler.add_score(ScoreJob("d", PROMPT, 0, scored))
        assert (scheduler.running, scheduler.waiting) == (2, 2 + 1 + 1)
    run(scheduler)
    old, new = said(llama_path), said(other)
    for _, kept in before:
        assert sorted(kept.ids) == sorted(old * 2)
    assert told.items == [None]
    assert (later[1].ids, later[1].cached) == (new, 0)
    logits = AutoModelForCausalLM.from_pretrained(other, dtype=torch.float32)(torch.tensor([PROMPT])).logits[0]
    expected = logits.log_softmax(-1)[range(len(PROMPT) - 1), PROMPT[1:]]
    assert [entry.logprob for entry in scored.items[0][1:]] == pytest.approx(expected.tolist(), abs=1e-4)


def test_an_abandoned_push_lets_through_what_waited_for_it(llama_path: Path, other: Path) -> None:
    model = load(llama_path, TransformersConfig(dtype="float32", device="cpu"))
    scheduler = scheduler_of(model)
    (first, kept), (later, after), (gone, nothing) = (job_of(model, PROMPT, name, max_tokens=10) for name in "abc")
    weights, told = waiting(model, other)
    with torch.inference_mode():
        scheduler.add(first)
        scheduler.replace_weights(weights)
        scheduler.add(later)
        scheduler.add(gone)
        scheduler.step()
    scheduler.cancel(gone)
    scheduler.fail(EngineFailure("aborted"), request_id="weights")
    run(scheduler)
    assert [str(item) for item in told.items] == ["aborted"]
    assert kept.ids == after.ids == said(llama_path)
    assert nothing.items == []


def _nothing(directory: Path) -> None:
    for path in directory.iterdir():
        path.unlink()
    directory.rmdir()


def _no_weights(directory: Path) -> None:
    (directory / "model.safetensors").unlink()


def _cut_short(directory: Path) -> None:
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-64])


def _one_weight_less(directory: Path) -> None:
    weights = load_file(directory / "model.safetensors")
    weights.pop("model.norm.weight")
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})


def _an_adapter(directory: Path) -> None:
    (directory / "config.json").unlink()
    (directory / "adapter_config.json").write_text("{}")


def _a_classifier(directory: Path) -> None:
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**config, "architectures": ["LlamaForSequenceClassification"]}))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_nothing, "there is no directory"),
        (_no_weights, "no \\*.safetensors"),
        (_cut_short, "cannot be read"),
        (_one_weight_less, "lacks weights: model.norm.weight"),
        (_an_adapter, "LoRA adapter"),
        (_a_classifier, "classifier"),
    ],
)
async def test_a_bad_checkpoint_leaves_the_old_weights(
    fresh: TransformersEngine, llama_path: Path, tmp_path: Path, spoil: object, told: str
) -> None:
    directory = write_llama(tmp_path / "bad", 3)
    spoil(directory)  # type: ignore[operator]
    with pytest.raises(RequestRefused, match=told) as caught:
        await fresh.push_weights(directory)
    assert caught.value.param == "path"
    assert fresh.weights_version == 0
    assert (await one(fresh, PROMPT, GREEDY)).ids == said(llama_path)


@pytest.mark.parametrize(
    ("made", "told"),
    [
        ({"layers": 3}, "layers.2.*absent here"),
        ({"layers": 1}, "layers.1.*absent there"),
        ({"intermediate_size": 64}, r"\[64, 64\] there and \[64, 96\] here"),
        ({"tied": True}, "ties other weights"),
    ],
)
async def test_another_shape_is_refused(
    fresh: TransformersEngine, llama_path: Path, tmp_path: Path, made: dict[str, int], told: str
) -> None:
    with pytest.raises(RequestRefused, match=told):
        await fresh.push_weights(write_llama(tmp_path / "bad", 3, **made))
    assert (await one(fresh, PROMPT, GREEDY)).ids == said(llama_path)


async def test_a_closed_engine_takes_none(llama_path: Path) -> None:
    engine = await opened(llama_path)
    await engine.close()
    with pytest.raises(EngineUnavailable):
        await engine.push_weights(llama_path)


async def test_pushes_come_in_one_after_the_other(fresh: TransformersEngine, llama_path: Path, other: Path) -> None:
    versions = await asyncio.gather(fresh.push_weights(other), fresh.push_weights(llama_path), fresh.push_weights(other))
    assert versions == [1, 2, 3]
    assert (await one(fresh, PROMPT, GREEDY, Call("after"))).ids == said(other)
