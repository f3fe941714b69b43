"""The scheduler in the test's own thread: failures, cancellation, priorities, reuse of prefixes, chunks."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch

from tests.server.engines.transformers.running import generated, reference_logprobs
from trimtab.server.engines.transformers.model import LoadedModel
from trimtab.server.engines.transformers.prefill import Prefill, Prompt
from trimtab.server.engines.transformers.prefixes import PrefixStore, shared_length
from trimtab.server.engines.transformers.row import Job
from trimtab.server.engines.transformers.runtime import text_of
from trimtab.server.engines.transformers.sampling import resolve
from trimtab.server.engines.transformers.scheduler import Scheduler
from trimtab.server.engines.transformers.scoring import Scored, Scoring
from trimtab.strategies.core.engine import Params, TokenDelta
from trimtab.strategies.core.errors import EngineFailure

PROMPT = list(range(30, 60))
POISON = 250


@dataclass
class Kept:
    """A sink that keeps what it is given."""

    items: list[Any] = field(default_factory=list)

    def put(self, item: object) -> None:
        self.items.append(item)

    @property
    def ids(self) -> list[int]:
        return [token for item in self.items if isinstance(item, TokenDelta) for token in item.token_ids]

    @property
    def cached(self) -> int:
        return sum(item.cached_tokens for item in self.items if isinstance(item, TokenDelta))


@dataclass
class Fragile:
    """A network that fails on inputs with a certain id."""

    network: Any
    error: Exception

    @property
    def device(self) -> Any:
        return self.network.device

    def __call__(self, *, input_ids: torch.Tensor, **rest: Any) -> Any:
        if bool((input_ids == POISON).any()):
            raise self.error
        return self.network(input_ids=input_ids, **rest)


def scheduler_of(model: LoadedModel, places: int = 4) -> Scheduler:
    return Scheduler(model, text_of(model.tokenizer), places)


def job_of(model: LoadedModel, ids: Sequence[int], name: str = "r", priority: int = 0, **params: Any) -> tuple[Job, Kept]:
    kept = Kept()
    how = Params(**{"temperature": 0.0, "max_tokens": 8, "ignore_eos": True, **params})
    return Job(name, priority, None, tuple(ids), resolve(how, len(ids), model.limits), kept), kept


def run(scheduler: Scheduler, most: int = 500) -> None:
    with torch.inference_mode():
        while scheduler.busy and most:
            scheduler.step()
            most -= 1
    assert most, "the work does not end"


@pytest.mark.parametrize(
    ("error", "message"), [(RuntimeError("boom"), "RuntimeError"), (MemoryError(), "out of memory")], ids=["boom", "memory"]
)
def test_a_failing_prompt_ends_only_its_own_requests(model: LoadedModel, error: Exception, message: str) -> None:
    scheduler = scheduler_of(replace(model, network=Fragile(model.network, error)))
    good, good_kept = job_of(model, PROMPT, "good", max_tokens=20)
    scheduler.add(good)
    with torch.inference_mode():
        scheduler.step()
    bad, bad_kept = job_of(model, [POISON] * 90, "bad", n=2)
    scheduler.add(bad)
    run(scheduler)
    assert [type(item) for item in bad_kept.items] == [EngineFailure]
    assert message in str(bad_kept.items[0])
    assert "boom" not in str(bad_kept.items[0])
    assert good_kept.ids == generated(model, PROMPT, 20, eos_token_id=None)
    assert (scheduler.running, scheduler.waiting, scheduler.counters["failures"]) == (0, 0, 1)


def test_a_failing_step_ends_its_batch_and_the_next_request_is_served(model: LoadedModel) -> None:
    scheduler = scheduler_of(replace(model, network=Fragile(model.network, RuntimeError())))
    doomed = [job_of(model, PROMPT, "a", logit_bias={POISON: 100.0}), job_of(model, PROMPT[1:], "b")]
    for job, _ in doomed:
        scheduler.add(job)
    run(scheduler)
    for _, kept in doomed:
        assert isinstance(kept.items[-1], EngineFailure)
    after, kept = job_of(model, PROMPT)
    scheduler.add(after)
    run(scheduler)
    assert kept.ids == generated(model, PROMPT, 8, eos_token_id=None)


def test_cancelling_frees_the_place_before_the_next_step(model: LoadedModel) -> None:
    scheduler = scheduler_of(model, places=2)
    jobs = [job_of(model, PROMPT[place:], str(place), max_tokens=200) for place in range(3)]
    for job, _ in jobs:
        scheduler.add(job)
    with torch.inference_mode():
        for _ in range(4):
            scheduler.step()
        assert (scheduler.running, scheduler.waiting) == (2, 1)
        before = len(jobs[0][1].items)
        scheduler.cancel(jobs[0][0])
        scheduler.step()
        assert len(jobs[0][1].items) == before
        assert (scheduler.running, scheduler.waiting) == (2, 0)
        for job, _ in jobs:
            scheduler.cancel(job)
        scheduler.step()
    assert (scheduler.running, scheduler.waiting, scheduler.busy) == (0, 0, False)


def test_ending_a_request_by_its_id_tells_its_reader(model: LoadedModel) -> None:
    scheduler = scheduler_of(model)
    (one, one_kept), (two, two_kept) = job_of(model, PROMPT, "one"), job_of(model, PROMPT, "two")
    scheduler.add(one)
    scheduler.add(two)
    scheduler.fail(EngineFailure("gone"), request_id="one")
    run(scheduler)
    assert [str(item) for item in one_kept.items] == ["gone"]
    assert len(two_kept.ids) == 8


def test_lower_priorities_go_first_then_arrival(model: LoadedModel) -> None:
    scheduler = scheduler_of(model, places=1)
    order: list[str] = []

    class Noting(Kept):
        def put(self, item: object) -> None:
            assert isinstance(item, TokenDelta)
            if item.finish_reason:
                order.append(self.name)

        name = ""

    for name, priority in (("late", 5), ("first", 0), ("second", 0), ("urgent", -1)):
        job, _ = job_of(model, PROMPT, name, priority, max_tokens=2)
        sink = Noting()
        sink.name = name
        job.sink = sink
        scheduler.add(job)
    run(scheduler)
    assert order == ["urgent", "first", "second", "late"]


def test_a_known_prompt_is_not_computed_again(model: LoadedModel) -> None:
    scheduler = scheduler_of(model)
    answers = []
    for _ in range(2):
        job, kept = job_of(model, PROMPT)
        scheduler.add(job)
        run(scheduler)
        answers.append((kept.ids, kept.cached))
    expected = generated(model, PROMPT, 8, eos_token_id=None)
    assert answers == [(expected, 0), (expected, len(PROMPT))]


def test_the_next_turn_reuses_prompt_and_answer(model: LoadedModel) -> None:
    scheduler = scheduler_of(model)
    first, kept = job_of(model, PROMPT, max_tokens=20)
    scheduler.add(first)
    run(scheduler)
    longer = PROMPT + kept.ids + [40, 41, 42]
    others = [list(range(100, 180)), longer]
    jobs = [job_of(model, prompt) for prompt in others]
    for job, _ in jobs:
        scheduler.add(job)
    run(scheduler)
    assert [k.cached for _, k in jobs] == [0, len(PROMPT) + 19]
    assert [k.ids for _, k in jobs] == [generated(model, prompt, 8, eos_token_id=None) for prompt in others]


def test_samples_and_twins_share_one_prefill(model: LoadedModel) -> None:
    scheduler = scheduler_of(model, places=2)
    (many, many_kept), (twin, twin_kept) = job_of(model, PROMPT, n=5, temperature=1.0, seed=3), job_of(model, PROMPT)
    scheduler.add(many)
    scheduler.add(twin)
    run(scheduler)
    assert (many_kept.cached, twin_kept.cached) == (0, len(PROMPT))
    assert len(many_kept.ids) == 40


def test_a_burst_with_a_long_common_start_computes_it_once(model: LoadedModel) -> None:
    scheduler = scheduler_of(model)
    common = list(range(3, 203))
    jobs = [job_of(model, [*common, 210 + place]) for place in range(4)]
    for job, _ in jobs:
        scheduler.add(job)
    run(scheduler)
    assert [k.cached for _, k in jobs] == [0, 200, 200, 200]
    assert [k.ids for _, k in jobs] == [generated(model, [*common, 210 + i], 8, eos_token_id=None) for i in range(4)]


def test_salts_keep_prefixes_apart(model: LoadedModel) -> None:
    scheduler = scheduler_of(model)
    cached = []
    for salt in (None, "a", "b", "a"):
        job, kept = job_of(model, PROMPT)
        job.salt = salt
        scheduler.add(job)
        run(scheduler)
        cached.append(kept.cached)
    assert cached == [0, 0, 0, len(PROMPT)]


def test_the_store_keeps_to_its_capacity() -> None:
    """A stored sequence of 8 tokens takes 2 x 8 x 4 float32 numbers: 256 bytes."""
    store = PrefixStore(capacity_bytes=600)

    def states(tokens: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return [(torch.zeros(1, tokens, 4), torch.zeros(1, tokens, 4))]

    logits = torch.zeros(0)
    for start in (0, 100, 200):
        store.add(tuple(range(start, start + 8)), None, states(8), {8: logits})
    assert store.find(tuple(range(8)), None) is None
    assert store.find(tuple(range(200, 208)), None) is not None
    store.add(tuple(range(40)), None, states(40), {})
    assert store.find(tuple(range(40)), None) is None, "larger than half of the store"


@pytest.mark.parametrize(
    ("one", "other", "expected"), [("", "abc", 0), ("abc", "abc", 3), ("abcd", "abxd", 2), ("ab", "abc", 2)]
)
def test_shared_length(one: str, other: str, expected: int) -> None:
    assert shared_length([ord(c) for c in one], [ord(c) for c in other]) == expected


@pytest.mark.parametrize("columns", [1, 7, 1000])
def test_prompts_in_chunks(model: LoadedModel, gemma_model: LoadedModel, columns: int) -> None:
    """Rows of different lengths, in chunks that may hold nothing but padding of a row."""
    for loaded in (model, gemma_model):
        prompts = [PROMPT, PROMPT[:2], PROMPT[3:20]]
        with torch.inference_mode():
            prefill = Prefill(loaded, [Prompt(tuple(prompt)) for prompt in prompts])
            while True:
                logits = prefill.advance(columns)
                if not prefill.remaining:
                    break
        for row, prompt in enumerate(prompts):
            expected = reference_logprobs(loaded, prompt)[-1]
            torch.testing.assert_close(logits[row, -1].log_softmax(-1), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("columns", [1, 4, 13])
def test_scores_in_chunks(gemma_model: LoadedModel, columns: int) -> None:
    prompts = [PROMPT, PROMPT[:2], PROMPT[:1], PROMPT[3:20]]
    with torch.inference_mode():
        scoring = Scoring(gemma_model, [Scored(tuple(prompt), 1) for prompt in prompts])
        while (results := scoring.advance(columns)) is None:
            pass
    for prompt, entries in zip(prompts, results, strict=True):
        reference = reference_logprobs(gemma_model, prompt)
        assert [entry.token_id for entry in entries if entry] == prompt[1:]
        values = [entry.logprob for entry in entries if entry]
        assert values == pytest.approx([float(reference[i, t]) for i, t in enumerate(prompt[1:])], abs=1e-4)
