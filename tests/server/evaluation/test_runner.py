"""The run on a service with the scripted engine: what is asked, in which order, and what is written down."""

import asyncio
from dataclasses import dataclass, field, replace

import pytest

from tests.server.evaluation.small import OTHER, PLAIN, header, sample
from tests.server.services import MODEL, Spy, service_of
from trimtab.server.evaluation.records import Alignment, Generation
from trimtab.server.evaluation.runner import RunError, cost_of, generate, generation_of, request_of, sample_seed
from trimtab.server.lines.answer import LineAnswer
from trimtab.server.lines.answering import ServiceAnswerer
from trimtab.server.lines.errors import Outage
from trimtab.server.lines.request import RequestLine
from trimtab.server.service import Service
from trimtab.server.settings import Defaults, Settings

SAMPLES = (sample("a", "first question"), sample("b", "second question"))


@dataclass
class Kept:
    records: list[Generation] = field(default_factory=list)

    def add(self, record: Generation) -> None:
        self.records.append(record)

    @property
    def by_key(self) -> dict[tuple[str, str], Generation]:
        return {(one.alignment, one.sample): one for one in self.records}


@dataclass
class Fixed:
    """Answers every line alike and remembers it."""

    status: int = 200
    body: dict[str, object] | None = None
    error: dict[str, object] | None = None
    lines: list[RequestLine] = field(default_factory=list)

    async def answer(self, line: RequestLine) -> LineAnswer:
        self.lines.append(line)
        return LineAnswer(line.number, line.custom_id, self.status, self.body, error=self.error, ms=5.0)


async def answering(service: Service) -> ServiceAnswerer:
    """The service, started; it runs no model, so nothing has to end it."""
    await service.start()
    return ServiceAnswerer(service)


async def test_each_sample_is_asked_under_each_alignment_and_the_costs_are_kept() -> None:
    spy, kept = Spy(("fine words",)), Kept()
    asked = await generate(header(), SAMPLES, await answering(service_of(script=spy)), kept)
    assert asked == 4
    assert set(kept.by_key) == {(name, one) for name in ("plain", "value_prompt") for one in "ab"}
    plain, aligned = kept.by_key["plain", "a"], kept.by_key["value_prompt", "a"]
    assert (plain.answer, plain.finish_reason, plain.error) == ("fine words", "stop", None)
    assert plain.trace is not None
    assert plain.trace["strategy"] == ["plain"]
    assert aligned.trace is not None
    assert (aligned.status, aligned.trace["strategy"]) == ("applied", ["value_prompt"])
    # the scripted engine's tokens are bytes: the value prompt adds to the prompt, not to the answer
    assert aligned.cost.prompt_tokens > plain.cost.prompt_tokens
    assert aligned.cost.completion_tokens == plain.cost.completion_tokens
    assert plain.cost.calls == 1
    assert plain.cost.by_role == {
        "policy": {"calls": 1, "prompt_tokens": plain.cost.prompt_tokens, "completion_tokens": plain.cost.completion_tokens}
    }
    assert plain.cost.ms > 0


async def test_the_trace_is_whole() -> None:
    kept = Kept()
    await generate(header(), SAMPLES[:1], await answering(service_of(script=Spy())), kept)
    trace = kept.by_key["value_prompt", "a"].trace
    assert trace is not None
    assert [step["strategy"] for step in trace["steps"]] == ["value_prompt", "plain"]


async def test_plain_is_plain_where_the_server_has_a_default() -> None:
    spy, kept = Spy(), Kept()
    service = service_of(Settings(defaults=Defaults(strategy="value_prompt")), script=spy)
    await generate(header(alignments=(PLAIN,)), SAMPLES[:1], await answering(service), kept)
    assert spy.prompts == ['[{"role": "user", "content": "first question"}]']


async def test_alignments_of_a_sample_stand_next_to_each_other_with_one_seed() -> None:
    fixed = Fixed(body={"choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}]})
    await generate(header(seed=3), SAMPLES, fixed, Kept(), concurrency=1)
    assert [line.custom_id for line in fixed.lines] == ["plain/a", "value_prompt/a", "plain/b", "value_prompt/b"]
    seeds = [line.body["seed"] for line in fixed.lines]
    assert seeds == [sample_seed(3, "a")] * 2 + [sample_seed(3, "b")] * 2
    assert len({sample_seed(seed, one) for seed in (3, 4) for one in "ab"}) == 4
    first, second = fixed.lines[0].body, fixed.lines[1].body
    assert {**first, "alignment": None} == {**second, "alignment": None}
    assert (first["max_tokens"], first["model"], second["alignment"]) == (
        16,
        MODEL,
        {"strategy": "value_prompt", "on_error": "closed", "trace": "full"},
    )


async def test_what_is_done_is_not_asked_again() -> None:
    fixed = Fixed(body={"choices": [{"message": {"content": "yes"}, "finish_reason": "length"}]})
    kept = Kept()
    asked = await generate(header(), SAMPLES, fixed, kept, done={("plain", "a"), ("value_prompt", "b")})
    assert asked == 2
    assert set(kept.by_key) == {("value_prompt", "a"), ("plain", "b")}
    assert kept.records[0].finish_reason == "length"


async def test_no_more_requests_are_in_work_than_are_allowed() -> None:
    running, most = 0, 0

    class Slow(Fixed):
        async def answer(self, line: RequestLine) -> LineAnswer:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1
            return await super().answer(line)

    slow = Slow(body={"choices": [{"message": {"content": "yes"}}]})
    samples = tuple(sample(str(number)) for number in range(10))
    await generate(header(10), samples, slow, Kept(), concurrency=3)
    assert (most, len(slow.lines)) == (3, 20)


async def test_a_failed_request_is_a_generation_with_its_error() -> None:
    kept, body = Kept(), {"error": {"message": "too long", "code": "context_length_exceeded", "param": "messages"}}
    await generate(header(alignments=(PLAIN,)), SAMPLES, Fixed(400, body), kept)
    assert {(one.answer, one.error, one.cost.ms) for one in kept.records} == {
        (None, "400 context_length_exceeded: too long", 5.0)
    }


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, {"message": "wrong key", "code": "invalid_api_key"}),
        (404, {"message": "no such model", "code": "model_not_found", "param": "model"}),
        (400, {"message": "no aligner", "code": "missing_role", "param": "alignment.strategy"}),
    ],
)
async def test_what_every_request_would_meet_ends_the_run(status: int, error: dict[str, object]) -> None:
    fixed = Fixed(status, {"error": error})
    with pytest.raises(RunError, match=str(error["message"])):
        await generate(header(), SAMPLES, fixed, Kept(), concurrency=1)
    assert len(fixed.lines) == 1


async def test_a_server_that_is_away_ends_the_run() -> None:
    kept, many = Kept(), tuple(sample(str(number)) for number in range(200))
    with pytest.raises(Outage, match="connection refused"):
        await generate(header(200), many, Fixed(0, None, {"code": "no_connection", "message": "connection refused"}), kept)
    assert {one.error for one in kept.records} == {"no_connection: connection refused"}


def test_costs_of_an_aligned_answer_are_those_of_all_calls() -> None:
    used = {"prompt_tokens": 30, "completion_tokens": 12, "total_tokens": 42}
    judged = {"prompt_tokens": 7, "completion_tokens": 1, "total_tokens": 8}
    body = {
        "usage": {"prompt_tokens": 37, "completion_tokens": 13},
        "alignment": {"usage": {"by_role": {"policy": {"calls": 3, **used}, "judge": {"calls": 2, **judged}}, "calls": 5}},
    }
    cost = cost_of(body, 12.5)
    assert (cost.calls, cost.prompt_tokens, cost.completion_tokens, cost.ms) == (5, 37, 13, 12.5)
    assert cost.by_role["judge"] == {"calls": 2, "prompt_tokens": 7, "completion_tokens": 1}


def test_costs_of_a_server_without_alignment_are_one_call() -> None:
    cost = cost_of({"usage": {"prompt_tokens": 4, "completion_tokens": 2}}, 1.0)
    assert (cost.calls, cost.by_role) == (1, {"policy": {"calls": 1, "prompt_tokens": 4, "completion_tokens": 2}})
    assert cost_of({}, 1.0).prompt_tokens == 0


def test_an_answer_without_text_is_an_error_and_an_empty_one_is_not() -> None:
    def of(message: dict[str, object]) -> Generation:
        return generation_of(LineAnswer(1, "x", 200, {"choices": [{"message": message}]}), "plain", "a")

    assert of({"content": None}).error == "the answer holds no text"
    assert (of({"content": ""}).answer, of({"content": ""}).error) == ("", None)
    assert of({"content": None, "refusal": "I won't."}).answer == "I won't."
    assert generation_of(LineAnswer(1, "x", 200, {}), "plain", "a").error == "the answer holds no text"


def test_a_request_repeats_the_conversation() -> None:
    one = replace(SAMPLES[0], messages=({"role": "system", "content": "Be brief."}, *SAMPLES[0].messages))
    spec = [{"kind": "value_prompt"}, "critique_refine"]
    line = request_of(header(), Alignment(name="both", spec=spec), one)
    assert line.body["messages"] == [dict(turn) for turn in one.messages]
    assert line.body["alignment"]["strategy"] == spec
    assert OTHER.name not in line.custom_id
