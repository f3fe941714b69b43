"""Best of n: the highest value wins, ties go to the first drawn, unscored answers rank last, budgets return what there is."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.strategies.doubles import ListEngine, context, said
from tests.strategies.judging.doubles import LetterJudge, Scorer, honest
from trimtab.strategies.config import parse_spec
from trimtab.strategies.core.budget import Budget
from trimtab.strategies.core.config import Cost
from trimtab.strategies.core.context import RequestContext
from trimtab.strategies.core.engine import Call, Params, Ports
from trimtab.strategies.core.errors import DeadlineExceeded, EngineFailure, MissingCapability, MissingRole, RequestRefused
from trimtab.strategies.core.messages import Conversation, Delta, Message, Prompt, Segment, Text, Usage
from trimtab.strategies.decoding.best_of_n import BestOfNConfig
from trimtab.strategies.pipeline import Pipeline

QUESTION = said("What may I eat?")
REWARD = {"kind": "reward"}


@dataclass
class Drawing:
    """Gives its answers as the choices of one call, interleaved as engines do; may break off or end the deadline."""

    answers: list[str]
    whole: int | None = None
    """So many choices are completed, then the deadline passes."""
    params: list[Params] = field(default_factory=list)
    asked: list[Prompt] = field(default_factory=list)
    closed: int = 0

    async def chat(self, prompt: Prompt, params: Params, call: Call) -> AsyncGenerator[Delta, None]:
        self.params.append(params)
        self.asked.append(prompt)
        try:
            for index in range(params.n):
                yield Delta(index, self.answers[index][:3], token_ids=(index,), logprobs=({"token": "t", "logprob": -1.0},))
            for index in range(params.n if self.whole is None else self.whole):
                yield Delta(index, self.answers[index][3:], "stop", token_ids=(index, 7))
            if self.whole is not None:
                raise DeadlineExceeded("alignment.budget.deadline_ms has passed")
            yield Delta(usage=Usage(10, 3 * params.n, 2))
        finally:
            self.closed += 1

    complete = chat


def drawing(engine: Any, reward: Scorer | None = None, judge: LetterJudge | None = None, **how: Any) -> RequestContext:
    roles = {**({"reward": reward.ports} if reward else {}), **({"judge": judge.ports} if judge else {})}
    return context(policy=Ports(messages=engine, text=engine), roles=roles, **how)


async def given_by(
    ctx: RequestContext, *, n: int = 4, choices: int = 1, prompt: Prompt = QUESTION, params: Params | None = None, **how: Any
) -> list[str]:
    deltas = await deltas_of(ctx, n=n, prompt=prompt, params=replace(params or Params(), n=choices), **how)
    return ["".join(delta.text for delta in deltas if delta.index == index) for index in range(choices)]


async def deltas_of(ctx: RequestContext, *, prompt: Prompt = QUESTION, params: Params | None = None, **how: Any) -> list[Delta]:
    decoder = BestOfNConfig(**how).build()
    return [delta async for delta in decoder.decode(prompt, params or Params(), ctx)]


async def test_the_highest_reward_wins_and_passes_as_it_was_drawn() -> None:
    engine, scorer = Drawing(["soup", "bread", "cheese", "salt"]), Scorer(len)
    ctx = drawing(engine, scorer)
    deltas = await deltas_of(ctx, value=REWARD)
    assert [(d.index, d.text, d.token_ids, len(d.logprobs)) for d in deltas] == [(0, "che", (2,), 1), (0, "ese", (2, 7), 0)]
    assert [params.n for params in engine.params] == [4]
    assert [len(batch) for batch in scorer.asked] == [4]
    assert ctx.step.details == {
        "drawn": 4,
        "value": "reward",
        "chosen": 2,
        "values": pytest.approx([0.964, 0.9866, 0.9951, 0.964], abs=1e-4),
    }
    assert [one["text"] for one in ctx.step.full["candidates"][0]] == ["soup", "bread", "cheese", "salt"]


@given(st.lists(st.sampled_from([-2.0, -1.0, 0.0, 1.0, float("nan")]), min_size=2, max_size=6))
async def test_the_first_of_the_best_is_chosen(scores: list[float]) -> None:
    """By brute force over the scores; a score that is no number is no value, behind even the worst."""
    answers = [f"answer {place}" for place in range(len(scores))]
    ctx = drawing(Drawing(answers), Scorer(lambda answer: scores[int(answer.split()[1])]))
    ranks = [(float("-inf") if score != score else score, -place) for place, score in enumerate(scores)]
    assert await given_by(ctx, n=len(scores), value=REWARD) == [answers[-max(ranks)[1]]]
    assert ctx.step.status == ("degraded" if any(score != score for score in scores) else "applied")


async def test_by_default_the_policy_judges_itself() -> None:
    policy = LetterJudge(honest("poison"))
    engine = Drawing(["poison", "more poison", "bread", "cheese"])
    ctx = context(policy=Ports(messages=engine, tokens=policy))
    assert await given_by(ctx) == ["bread"]
    assert ctx.step.details["values"] == [-1.0, -1.0, 1.0, 1.0]
    assert (ctx.step.meters["policy"].calls, ctx.step.meters["judge"].calls) == (1, 8)


async def test_a_judge_engine_judges_where_there_is_one() -> None:
    judge = LetterJudge(honest("poison"))
    assert await given_by(drawing(Drawing(["poison", "bread"]), judge=judge), n=2) == ["bread"]
    assert len(judge.prompts) == 4


async def test_equal_texts_are_judged_once() -> None:
    judge = LetterJudge(honest("poison"))
    assert await given_by(drawing(Drawing(["poison", "bread", "bread", "bread"]), judge=judge)) == ["bread"]
    assert len(judge.prompts) == 4


async def test_each_choice_has_draws_of_its_own() -> None:
    engine = Drawing(["a", "aaa", "aa", "b", "bb", "bbb"])
    ctx = drawing(engine, Scorer(len))
    deltas = await deltas_of(ctx, n=3, params=Params(n=2), value=REWARD)
    assert [(d.index, d.text) for d in deltas if d.text] == [(0, "aaa"), (1, "bbb")]
    assert [params.n for params in engine.params] == [6]
    assert [choice["chosen"] for choice in ctx.step.details["choices"]] == [1, 2]


async def test_too_many_draws_are_refused() -> None:
    engine = Drawing([])
    with pytest.raises(RequestRefused, match="n is 3, and best_of_n draws 64 answers for each: 192 in all; at most 128"):
        await deltas_of(drawing(engine, Scorer(len)), n=64, params=Params(n=3), value=REWARD)
    assert not engine.params


@pytest.mark.parametrize(
    ("own", "asked", "used"), [(None, None, None), (None, 0.0, 1.0), (None, 0.3, 0.3), (0.8, 0.3, 0.8), (0.8, None, 0.8)]
)
async def test_draws_differ_even_where_the_request_is_greedy(
    own: float | None, asked: float | None, used: float | None
) -> None:
    engine = Drawing(["a", "b"])
    await deltas_of(
        drawing(engine, Scorer(len)), n=2, params=Params(temperature=asked, seed=5, stop=("x",)), value=REWARD, temperature=own
    )
    assert engine.params == [Params(temperature=used, seed=5, stop=("x",), n=2)]


async def test_a_raw_prompt_is_continued_and_judged_by_what_was_asked() -> None:
    engine, scorer = Drawing(["a", "bb"]), Scorer(len)
    prompt = Text((Segment("literal", "# Query: "), Segment("content", "x")), asked=QUESTION)
    assert await given_by(drawing(engine, scorer), n=2, prompt=prompt, value=REWARD) == ["bb"]
    assert engine.asked == [prompt]
    assert scorer.asked[0][1].messages == (*QUESTION.messages, Message("assistant", "bb"))


async def test_a_shaped_conversation_is_judged_by_what_was_asked() -> None:
    scorer = Scorer(len)
    prompt = QUESTION.with_system(before="Be kind.")
    assert await given_by(drawing(Drawing(["a", "bb"]), scorer), n=2, prompt=prompt, value=REWARD) == ["bb"]
    assert scorer.asked[0][0].messages == (*QUESTION.messages, Message("assistant", "a"))


async def test_what_the_user_began_is_judged_with_the_answer() -> None:
    scorer = Scorer(len)
    prompt = Conversation(QUESTION.messages, prefill="You may ")
    assert await given_by(drawing(Drawing(["a", "bb"]), scorer), n=2, prompt=prompt, value=REWARD) == ["bb"]
    assert scorer.asked[0][1].messages[-1].text == "You may bb"


async def test_usage_tells_the_given_answer_apart() -> None:
    ctx = drawing(Drawing(["a", "bb"]), Scorer(len))
    await given_by(ctx, n=2, value=REWARD)
    policy = ctx.step.meters["policy"]
    assert (policy.usage, policy.last) == (Usage(10, 6, 2), Usage(10, 3, 2))


class TestUnscored:
    async def test_unscored_answers_rank_behind_the_worst(self) -> None:
        ctx = drawing(Drawing(["odd", "bad", "odd"]), Scorer(lambda answer: float("nan") if answer == "odd" else -9.0))
        assert await given_by(ctx, n=3, value=REWARD) == ["bad"]
        assert ctx.step.status == "degraded"
        assert ctx.trace.warnings == ["test: 2 of 3 answers could not be judged; they rank behind the others"]

    async def test_where_none_is_scored_the_first_is_given(self) -> None:
        ctx = drawing(Drawing(["a", "b"]), Scorer(lambda _: float("nan")))
        assert await given_by(ctx, n=2, value=REWARD) == ["a"]
        assert (ctx.step.status, ctx.step.details["values"]) == ("degraded", [None, None])
        assert "the first one is given" in ctx.trace.warnings[0]

    async def test_empty_answers_are_nothing_to_judge(self) -> None:
        scorer = Scorer(lambda answer: -float(len(answer)))
        ctx = drawing(Drawing(["", " \n", "bread"]), scorer)
        assert await given_by(ctx, n=3, value=REWARD) == ["bread"]
        assert len(scorer.asked[0]) == 1
        assert ctx.step.status == "applied"

    async def test_only_empty_answers_are_left_alone(self) -> None:
        scorer = Scorer(len)
        ctx = drawing(Drawing(["", ""]), scorer)
        assert await given_by(ctx, n=2, value=REWARD) == [""]
        assert (ctx.step.status, ctx.step.reason, scorer.asked) == ("skipped", "empty answers", [])


class Calling(Drawing):
    """Its first draws call a tool, the others answer."""

    calls: int = 1

    async def chat(self, prompt: Prompt, params: Params, call: Call) -> AsyncGenerator[Delta, None]:
        async for delta in super().chat(prompt, params, call):
            if delta.usage is None and delta.index < self.calls:
                yield Delta(delta.index, "", delta.finish_reason and "tool_calls", fields={"tool_calls": [{"index": 0}]})
            else:
                yield delta


async def test_a_tool_call_drawn_first_is_kept() -> None:
    ctx = drawing(Calling(["a", "bbb"]), Scorer(len))
    deltas = await deltas_of(ctx, n=2, value=REWARD)
    assert [(d.fields, d.finish_reason) for d in deltas] == [({"tool_calls": [{"index": 0}]}, r) for r in (None, "tool_calls")]


async def test_tool_calls_alone_are_left_alone() -> None:
    engine = Calling(["a", "b"])
    engine.calls = 2
    ctx = drawing(engine, Scorer(len))
    await deltas_of(ctx, n=2, value=REWARD)
    assert (ctx.step.status, ctx.step.reason) == ("skipped", "tool call")


class TestBudgets:
    async def test_calls_for_the_draws_alone_give_the_first(self) -> None:
        ctx = drawing(Drawing(["a", "bb"]), judge=LetterJudge(honest("x")), budget=Budget(max_calls=1))
        assert await given_by(ctx, n=2) == ["a"]
        assert ctx.step.status == "degraded"
        assert ctx.trace.warnings == [
            "test: no answer was judged, the first one is given: alignment.budget.max_calls=1 is spent"
        ]

    async def test_calls_for_some_judgements_give_the_best_of_those(self) -> None:
        """One call draws, two judge the first answer, two the second; the third stays unscored."""
        ctx = drawing(Drawing(["poison", "bread", "cheese"]), judge=LetterJudge(honest("poison")), budget=Budget(max_calls=5))
        assert await given_by(ctx, n=3) == ["bread"]
        assert (ctx.step.status, ctx.step.details["values"]) == ("degraded", [-1.0, 1.0, None])

    async def test_a_deadline_gives_the_best_of_what_was_completed(self) -> None:
        engine = Drawing(["soup", "bread", "cheese cake"], whole=2)
        ctx = drawing(engine, Scorer(len))
        assert await given_by(ctx, n=3, value=REWARD) == ["bread"]
        assert ctx.step.details["drawn"] == 2
        assert (ctx.step.status, engine.closed) == ("degraded", 1)
        assert "fewer answers were drawn: alignment.budget.deadline_ms has passed" in ctx.trace.warnings[0]

    @pytest.mark.parametrize(("whole", "choices"), [(0, 1), (1, 2)])
    async def test_a_choice_without_a_whole_draw_is_an_error(self, whole: int, choices: int) -> None:
        with pytest.raises(DeadlineExceeded):
            await given_by(drawing(Drawing(["a"] * 4, whole=whole), Scorer(len)), n=2, choices=choices, value=REWARD)

    async def test_tokens_are_shared_by_the_draws(self) -> None:
        """The budget's 40 tokens leave 10 for each of four draws."""
        engine = Drawing(["a", "b", "c", "d"])
        await given_by(drawing(engine, Scorer(len), budget=Budget(max_tokens=40)), value=REWARD)
        assert [params.max_tokens for params in engine.params] == [10]


async def test_a_failing_judge_fails_the_step() -> None:
    def broken(answer: str) -> float:
        raise EngineFailure("the judge broke")

    with pytest.raises(EngineFailure, match="the judge broke"):
        await given_by(drawing(Drawing(["a", "b"]), Scorer(broken)), n=2, value=REWARD)


async def test_a_disconnect_ends_the_drawing() -> None:
    started = asyncio.Event()

    class Slow(Drawing):
        async def chat(self, prompt: Prompt, params: Params, call: Call) -> AsyncGenerator[Delta, None]:
            try:
                yield Delta(0, "begun")
                started.set()
                await asyncio.Event().wait()
            finally:
                self.closed += 1

    engine = Slow([])
    task = asyncio.create_task(deltas_of(drawing(engine, Scorer(len)), n=2, value=REWARD))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert engine.closed == 1


class TestConfiguration:
    def test_its_bare_name_draws_four(self) -> None:
        (config,) = parse_spec("best_of_n")
        assert isinstance(config, BestOfNConfig)
        assert (config.n, config.value.kind, config.streaming) == (4, "self_evaluation", "buffered")

    @pytest.mark.parametrize("wrong", [{"n": 1}, {"n": 65}, {"temperature": 0}, {"value": "best"}, {"wrong": 1}])
    def test_what_makes_no_sense_is_refused(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            BestOfNConfig(**wrong)

    def test_costs(self) -> None:
        """Per choice three draws beside the plain answer, and four judgements of two calls."""
        assert BestOfNConfig(value="fixed").cost(Params(max_tokens=100)) == Cost(0, 300)  # type: ignore[arg-type]
        assert BestOfNConfig().cost(Params(max_tokens=100, n=2)).calls == 16
        assert BestOfNConfig(value=REWARD).cost(Params()) == Cost(1, 0)  # type: ignore[arg-type]

    def test_who_judges_is_checked_with_the_pipeline(self) -> None:
        policy = Ports(messages=ListEngine([]))
        Pipeline.of(parse_spec("best_of_n")).check({"policy": policy})
        with pytest.raises(MissingRole, match="reward"):
            Pipeline.of(parse_spec({"kind": "best_of_n", "value": "reward"})).check({"policy": policy})
        graded = {"kind": "best_of_n", "value": {"kind": "self_evaluation", "graded": True}}
        with pytest.raises(MissingCapability, match="tokens port"):
            Pipeline.of(parse_spec(graded)).check({"policy": policy})
