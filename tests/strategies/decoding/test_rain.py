"""The strategy: streaming, ends, budgets, refusals, cancellation, traces; on a language model by rule and on the server."""

import asyncio
import json
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.server.services import asking, said, service_of
from tests.strategies.decoding.doubles import EOS, WORDS, LetterEncoder, RuleModel, ending_after, level, number, short
from tests.strategies.doubles import ListEngine, context
from tests.strategies.doubles import said as asked
from tests.strategies.judging.doubles import LetterJudge, honest
from trimtab.server.settings import Limits, Settings
from trimtab.strategies.core.budget import Budget
from trimtab.strategies.core.context import RequestContext
from trimtab.strategies.core.engine import Call, Capabilities, Params, Ports
from trimtab.strategies.core.errors import (
    BudgetExceeded,
    ContextLengthExceeded,
    DeadlineExceeded,
    EngineFailure,
    MissingCapability,
    MissingRole,
    RequestRefused,
)
from trimtab.strategies.core.messages import Conversation, Delta, Prompt, Segment, Text
from trimtab.strategies.decoding.rain import RainConfig
from trimtab.strategies.decoding.rain_profile import CLAUSE_ENDS, OFFICIAL, SERVING, Profile, Task
from trimtab.strategies.decoding.rain_text import Spoken, begun_stop, cut_at
from trimtab.strategies.decoding.rain_tree import Rules
from trimtab.strategies.pipeline import Pipeline

GOOD = RainConfig(value="fixed")  # type: ignore[arg-type]
SCORED = RainConfig(value="reward")  # type: ignore[arg-type]
QUICK = RainConfig(value="reward", max_iterations=10)  # type: ignore[arg-type]
WHY = asked("Why?")


@dataclass
class Taste:
    """A reward engine by rule: score of the answer's text."""

    asked: list[Conversation] = field(default_factory=list)
    pause: float = 0.0

    async def score(self, conversations: Sequence[Conversation], call: Call) -> tuple[float, ...]:
        self.asked += conversations
        return tuple(float(number(one.messages[-1].text) % 3 - 1) * 9 for one in conversations)


@dataclass
class Purse(Taste):
    """Remembers what had been spent at each call."""

    budget: Budget = field(default_factory=Budget)
    spent: list[int] = field(default_factory=list)

    async def score(self, conversations: Sequence[Conversation], call: Call) -> tuple[float, ...]:
        self.spent.append(self.budget.tokens)
        return await super().score(conversations, call)


@dataclass
class HangingJudge(LetterJudge):
    """Never answers."""

    running: int = 0
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by the first call."""

    async def next_logprobs(self, prompt_token_ids: Sequence[int], candidates: Sequence[int], call: Call) -> tuple[float, ...]:
        self.running += 1
        self.reached.set()
        try:
            return await asyncio.Future()
        finally:
            self.running -= 1


def ctx_of(
    model: RuleModel, *, params: Params | None = None, seed: int = 3, budget: Budget | None = None, **more: Any
) -> RequestContext:
    roles = {"reward": Ports(scores=more.pop("taste", None) or Taste()), **more.pop("roles", {})}
    ctx = context(policy=model.ports, params=params, roles=roles, budget=budget, seed=seed, **more)
    ctx.trace.level = "full"
    return ctx


async def decoded(
    config: RainConfig, ctx: RequestContext, prompt: Prompt = WHY, params: Params | None = None
) -> dict[int, list[Delta]]:
    """The deltas of each choice."""
    choices: dict[int, list[Delta]] = {}
    async with aclosing(config.build().decode(prompt, params or ctx.params, ctx)) as deltas:
        async for delta in deltas:
            choices.setdefault(delta.index, []).append(delta)
    return choices


def text_of(deltas: Sequence[Delta]) -> str:
    return "".join(delta.text for delta in deltas)


def ids_of(deltas: Sequence[Delta]) -> list[int]:
    return [token for delta in deltas for token in delta.token_ids]


class TestStreaming:
    async def test_only_moves_are_said(self) -> None:
        """Sets of 1, 2, 4, 10 tokens; joined they are the answer, and each is text of its own tokens."""
        model = RuleModel(level)
        deltas = (await decoded(GOOD, ctx_of(model, params=Params(max_tokens=27))))[0]
        assert [len(delta.token_ids) for delta in deltas] == [1, 2, 4, 10, 10]
        assert [delta.text for delta in deltas] == [model.decode(delta.token_ids) for delta in deltas]
        assert [delta.finish_reason for delta in deltas] == [None, None, None, None, "length"]

    async def test_the_end_token_ends_it_and_is_not_said(self) -> None:
        model = RuleModel(ending_after(len(model_prompt()) + 12))
        deltas = (await decoded(GOOD, ctx_of(model, params=Params(max_tokens=100))))[0]
        assert deltas[-1].finish_reason == "stop"
        assert ids_of(deltas)[-1] == EOS
        assert text_of(deltas) == model.decode(ids_of(deltas)[:-1])
        assert len(ids_of(deltas)) == 13

    async def test_choices_are_searches_of_their_own(self) -> None:
        choices = await decoded(SCORED, ctx_of(RuleModel(), params=Params(max_tokens=20, n=3)))
        assert sorted(choices) == [0, 1, 2]
        assert len({text_of(deltas) for deltas in choices.values()}) == 3

    async def test_the_same_seed_says_the_same(self) -> None:
        async def answer(seed: int, jitter: int) -> str:
            return text_of(
                (await decoded(SCORED, ctx_of(RuleModel(jitter=jitter), seed=seed, params=Params(max_tokens=20))))[0]
            )

        assert await answer(5, 0) == await answer(5, 4)
        assert len({await answer(seed, 0) for seed in range(4)}) > 1

    async def test_a_raw_prompt(self) -> None:
        model = RuleModel(level)
        prompt = Text((Segment("literal", "Q: "), Segment("content", "why?")), stops=(" c",))
        deltas = (await decoded(GOOD, ctx_of(model, params=Params(max_tokens=30)), prompt))[0]
        assert " c" not in text_of(deltas)
        assert model.calls[0][0] == len("Q: why?")

    async def test_no_room_at_all(self) -> None:
        deltas = (await decoded(GOOD, ctx_of(RuleModel(), params=Params(max_tokens=0))))[0]
        assert deltas == [Delta(0, finish_reason="length")]


def model_prompt() -> tuple[int, ...]:
    return RuleModel().encode_chat(WHY)


class TestStops:
    @pytest.mark.parametrize(
        ("stop", "occurs"),
        [(" a", True), (",", True), (" o o", True), (" k p p", True), (" k g f", True), (" b c", False), (" d e f", False)],
    )
    async def test_a_stop_string_ends_the_answer_and_never_leaks(self, stop: str, occurs: bool) -> None:
        """What is said is a prefix of what would be said without it, up to the string."""
        model = RuleModel()
        params = Params(max_tokens=100, stop=(stop,))
        deltas = (await decoded(QUICK, ctx_of(model, params=params)))[0]
        raw = model.decode(ids_of(deltas))
        assert (stop in raw) is occurs
        assert text_of(deltas) == cut_at(raw, (stop,))
        assert deltas[-1].finish_reason == ("stop" if occurs else "length")

    @pytest.mark.parametrize("moves", [1, 2, 3, 4])
    async def test_a_stop_string_may_begin_in_one_move_and_end_in_the_next(self, moves: int) -> None:
        """A constant value steers nothing: up to the string the answer is what it would be without."""
        free = (await decoded(GOOD, ctx_of(RuleModel(), params=Params(max_tokens=37))))[0]
        before, after = text_of(free[:moves]), text_of(free[moves:])
        stop = before[-5:] + after[:3]
        model = RuleModel()
        deltas = (await decoded(GOOD, ctx_of(model, params=Params(max_tokens=37, stop=(stop,)))))[0]
        assert stop in model.decode(ids_of(deltas))
        assert text_of(deltas) == before[:-5]
        assert len(deltas) == moves + 1
        assert deltas[-1].finish_reason == "stop"

    @pytest.mark.parametrize(("task", "mark"), [("hh", "Human:"), ("adv", "USER:")])
    @pytest.mark.parametrize("conversation", [True, False])
    async def test_a_users_turn_marks_end_nothing(self, task: Task, mark: str, conversation: bool) -> None:
        """Acceptance checks 10 and 15: the words of the user are data."""
        config = RainConfig(profile="official", task=task, value="fixed")  # type: ignore[arg-type]

        async def answer(question: str) -> list[Delta]:
            prompt = asked(question) if conversation else Text((Segment("content", question),))
            return (await decoded(config, ctx_of(RuleModel(level), params=Params(max_tokens=27)), prompt))[0]

        marked = await answer(f"{mark} Why? " * 6)
        assert text_of(marked) == text_of(await answer("Why?")) == " a" * 27
        assert marked[-1].finish_reason == "length"

    @pytest.mark.parametrize(("task", "mark"), [("hh", "Human:"), ("adv", "USER:")])
    async def test_a_turn_mark_of_the_model_ends_the_answer(self, task: Task, mark: str) -> None:
        """It is written in two tokens, the last of one move and the first of the next."""
        place = len(model_prompt()) + 6

        def logits(ids: tuple[int, ...]) -> list[float]:
            due = {place: 18, place + 1: 19}.get(len(ids))
            return [60.0 if i == due else x for i, x in enumerate(level(ids))]

        model = RuleModel(logits, texts=(*WORDS[:18], mark[:3], mark[3:], ""))
        config = RainConfig(profile="official", task=task, value="fixed")  # type: ignore[arg-type]
        deltas = (await decoded(config, ctx_of(model, params=Params(max_tokens=27))))[0]
        assert mark in model.decode(ids_of(deltas))
        assert text_of(deltas) == " a" * 6
        assert deltas[-1].finish_reason == "stop"

    async def test_stop_token_ids(self) -> None:
        deltas = (await decoded(SCORED, ctx_of(RuleModel(), params=Params(max_tokens=200, stop_token_ids=(4,)))))[0]
        assert ids_of(deltas).index(4) == len(ids_of(deltas)) - 1
        assert deltas[-1].finish_reason == "stop"

    async def test_ignored_end_token(self) -> None:
        params = Params(max_tokens=30, ignore_eos=True)
        deltas = (await decoded(SCORED, ctx_of(RuleModel(ending_after(len(model_prompt()) + 2)), params=params)))[0]
        assert ids_of(deltas)[2] == EOS
        assert len(ids_of(deltas)) == 30

    @given(st.text("abé\u20ac ", max_size=30), st.lists(st.text("ab ", min_size=1, max_size=3), max_size=2), st.data())
    def test_however_a_text_grows_the_same_is_shown(self, text: str, stops: list[str], data: st.DataObject) -> None:
        """Cut anywhere, inside characters too: pieces join to the text before the first stop string, and none is taken back."""
        raw = text.encode()
        cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=6)))
        spoken, shown = Spoken(tuple(stops)), ""
        for cut in cuts:
            begun = raw[:cut].decode(errors="replace")
            if any(stop in begun for stop in stops):
                break
            shown += spoken.more(begun, final=False)
            assert text.startswith(shown)
        shown += spoken.more(text, final=True)
        assert shown == cut_at(text, stops)

    def test_begun_stop(self) -> None:
        assert begun_stop("abc##", ("##Answer", "\n")) == 2
        assert begun_stop("abc", ("##Answer",)) == 0
        assert begun_stop("##Answer", ("##Answer",)) == 0


class TestUnfinishedCharacters:
    async def test_bytes_of_a_character_are_held_back_between_moves(self) -> None:
        """A model of single bytes: moves may end inside a character, what is said never does."""
        text = "é€é€é€é€é€é€é€é€é€"
        raw = text.encode()

        @dataclass
        class Bytes(RuleModel):
            def decode(self, token_ids: Sequence[int]) -> str:
                return bytes(raw[i] if i < 1000 else 32 for i in token_ids).decode(errors="replace")

        @dataclass
        class InOrder(Bytes):
            pass

        start = len(model_prompt())

        def next_byte(ids: tuple[int, ...]) -> list[float]:
            place = len(ids) - start
            return [90.0 if i == place % 21 else -90.0 for i in range(21)]

        model = InOrder(next_byte, texts=[""] * 21)
        deltas = (await decoded(GOOD, ctx_of(model, params=Params(max_tokens=20, ignore_eos=True))))[0]
        assert text_of(deltas) == raw[:20].decode(errors="replace")
        assert all("\ufffd" not in delta.text for delta in deltas[:-1])


class TestBudgets:
    async def test_calls(self) -> None:
        """The best so far is said, the reason told, and no further call is made."""
        model, budget = RuleModel(), Budget(max_calls=60)
        ctx = ctx_of(model, params=Params(max_tokens=200), budget=budget)
        deltas = (await decoded(SCORED, ctx))[0]
        assert text_of(deltas)
        assert deltas[-1].finish_reason == "length"
        assert budget.calls == 60
        assert ctx.step.status == "degraded"
        assert "max_calls=60" in ctx.step.reason
        assert any("best so far" in warning for warning in ctx.trace.warnings)
        assert model.running == 0

    async def test_tokens(self) -> None:
        ctx = ctx_of(RuleModel(), params=Params(max_tokens=200), budget=Budget(max_tokens=3000))
        deltas = (await decoded(SCORED, ctx))[0]
        assert text_of(deltas)
        assert ctx.step.status == "degraded"

    @pytest.mark.parametrize("cap", [500, 2000, 5000])
    @pytest.mark.parametrize("ahead", [0, 16])
    async def test_a_cap_of_tokens_holds_within_the_iterations_begun(self, cap: int, ahead: int) -> None:
        """None takes more than the largest one under a higher cap; words are level so that no text comes twice."""
        params, budget = Params(max_tokens=200), Budget(max_tokens=15_000)
        purse = Purse(budget=budget)
        free = ctx_of(RuleModel(level), params=params, budget=budget, taste=purse)
        await decoded(SCORED.model_copy(update={"ahead": 0}), free)
        assert len(purse.spent) == free.step.details["iterations"]
        most = cap + (1 + ahead) * max(after - before for before, after in pairwise([0, *purse.spent]))
        assert most < budget.tokens
        capped = ctx_of(RuleModel(level), params=params, budget=Budget(max_tokens=cap))
        await decoded(SCORED.model_copy(update={"ahead": ahead}), capped)
        assert cap <= capped.budget.tokens <= most
        assert f"max_tokens={cap} is spent" in capped.step.reason

    async def test_deadline(self) -> None:
        budget = Budget(deadline=time.monotonic() + 0.4)
        ctx = ctx_of(RuleModel(), params=Params(max_tokens=4000), budget=budget)
        begin = time.monotonic()
        deltas = (await decoded(SCORED, ctx))[0]
        assert time.monotonic() - begin < 3
        assert text_of(deltas)
        assert "deadline" in ctx.step.reason

    async def test_a_budget_that_allows_nothing(self) -> None:
        with pytest.raises(BudgetExceeded):
            await decoded(SCORED, ctx_of(RuleModel(), budget=Budget(max_calls=0)))
        with pytest.raises(DeadlineExceeded):
            await decoded(SCORED, ctx_of(RuleModel(), budget=Budget(deadline=time.monotonic() - 1)))

    async def test_iterations(self) -> None:
        """The cap holds for every move, also where the released minimum of 15 is higher."""
        ctx = ctx_of(RuleModel(), params=Params(max_tokens=40))
        await decoded(SCORED.model_copy(update={"max_iterations": 3}), ctx)
        assert ctx.step.details["iterations"] <= 3 * ctx.step.details["moves"]

    async def test_a_single_iteration_a_move_takes_the_likeliest(self) -> None:
        model = RuleModel()
        deltas = (await decoded(GOOD.model_copy(update={"max_iterations": 1}), ctx_of(model, params=Params(max_tokens=1))))[0]
        logits = model.logits(model_prompt())
        assert ids_of(deltas) == [max(range(len(logits)), key=logits.__getitem__)]

    @given(st.integers(1, 80))
    @settings(max_examples=10, deadline=None)
    def test_any_cap_of_calls_holds(self, calls: int) -> None:
        budget = Budget(max_calls=calls)

        async def run() -> None:
            try:
                await decoded(SCORED, ctx_of(RuleModel(), params=Params(max_tokens=60, n=2), budget=budget))
            except BudgetExceeded:
                assert calls < 10

        asyncio.run(run())
        assert budget.calls <= calls


class TestJudging:
    async def test_the_judge_sees_what_was_asked_not_what_was_rendered(self) -> None:
        taste = Taste()
        shaped = WHY.with_system(before="Rules.")
        await decoded(SCORED, ctx_of(RuleModel(), params=Params(max_tokens=5), taste=taste), shaped)
        assert taste.asked
        assert all(one.messages[:-1] == WHY.messages for one in taste.asked)

    async def test_the_users_own_opening_is_part_of_the_judged_answer(self) -> None:
        taste = Taste()
        prompt = replace(WHY, prefill="Because")
        deltas = (await decoded(SCORED, ctx_of(RuleModel(), params=Params(max_tokens=5), taste=taste), prompt))[0]
        assert all(one.messages[-1].text.startswith("Because") for one in taste.asked)
        assert not text_of(deltas).startswith("Because")

    async def test_a_self_evaluating_judge_steers(self) -> None:
        """A judge that finds ` a` harmful keeps the answer free of it where the model has another choice."""
        judge = LetterJudge(honest(" a"))
        ctx = ctx_of(RuleModel(), params=Params(max_tokens=14), roles={"judge": judge.ports})
        text = text_of((await decoded(RainConfig(), ctx))[0])
        assert " a" not in text
        assert ctx.step.meters["judge"].calls == len(judge.prompts)

    async def test_truth_is_judged_up_to_the_last_full_stop(self) -> None:
        taste = Taste()
        config = RainConfig(profile="official", task="truth", value="reward", max_iterations=5)  # type: ignore[arg-type]
        await decoded(config, ctx_of(RuleModel(short), params=Params(max_tokens=30), taste=taste))
        texts = [one.messages[-1].text for one in taste.asked]
        whole = [text for text in texts if "." in text]
        assert whole
        assert all(text.endswith(".") for text in whole)

    @pytest.mark.parametrize(("task", "mark"), [("hh", "Human:"), ("adv", "USER:")])
    async def test_a_users_turn_marks_cut_nothing(self, task: Task, mark: str) -> None:
        """Acceptance check 15: the same answers are judged as behind a question without them."""
        config = RainConfig(profile="official", task=task, value="reward", max_iterations=5)  # type: ignore[arg-type]
        plain, marked = Taste(), Taste()
        for taste, question in ((plain, "Why?"), (marked, f"{mark} Why? " * 6)):
            await decoded(config, ctx_of(RuleModel(level), params=Params(max_tokens=17), taste=taste), asked(question))
        assert [one.messages[-1] for one in marked.asked] == [one.messages[-1] for one in plain.asked]

    async def test_a_failing_judge_is_the_steps_failure(self) -> None:
        @dataclass
        class Broken(Taste):
            async def score(self, conversations: Sequence[Conversation], call: Call) -> tuple[float, ...]:
                raise EngineFailure("the judge broke")

        model = RuleModel()
        with pytest.raises(EngineFailure, match="the judge broke"):
            await decoded(SCORED, ctx_of(model, taste=Broken()))
        assert model.running == 0


class TestCancellation:
    async def test_closing_the_stream_frees_the_engine(self) -> None:
        model = RuleModel(jitter=3)
        stream = SCORED.build().decode(WHY, Params(max_tokens=400, n=3), ctx_of(model))
        async with aclosing(stream):
            async for _ in stream:
                break
        assert model.running == 0
        assert model.most_running > 3

    async def test_cancelling_in_the_middle_of_a_call(self) -> None:
        model = RuleModel(hang=True)
        task = asyncio.create_task(decoded(SCORED, ctx_of(model)))
        await model.asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert model.running == 0

    async def test_cancelling_while_a_judge_of_its_own_is_asked(self) -> None:
        model, judge = RuleModel(), HangingJudge(honest(" a"))
        ctx = ctx_of(model, params=Params(n=2), roles={"judge": judge.ports})
        task = asyncio.create_task(decoded(RainConfig(), ctx))
        await judge.reached.wait()
        assert judge.running > 0
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (judge.running, model.running) == (0, 0)


class TestRefusals:
    @pytest.mark.parametrize(
        ("params", "name"),
        [
            (Params(repetition_penalty=1.3), "repetition_penalty"),
            (Params(presence_penalty=0.5), "presence_penalty"),
            (Params(frequency_penalty=-1.0), "frequency_penalty"),
            (Params(logit_bias={3: 5.0}), "logit_bias"),
            (Params(allowed_token_ids=(1, 2)), "allowed_token_ids"),
            (Params(min_tokens=4), "min_tokens"),
            (Params(native={"tools": [{"type": "function"}]}), "tools"),
            (Params(native={"response_format": {"type": "json_object"}}), "response_format"),
            (Params(native={"chat_template_kwargs": {"thinking": True}}), "chat_template_kwargs"),
        ],
    )
    async def test_what_a_search_cannot_honour(self, params: Params, name: str) -> None:
        with pytest.raises(RequestRefused, match=name) as caught:
            await decoded(GOOD, ctx_of(RuleModel()), params=params)
        assert caught.value.param == name

    async def test_neutral_values_are_fine(self) -> None:
        params = Params(max_tokens=3, repetition_penalty=1.0, presence_penalty=0.0, native={"tools": [], "tool_choice": "none"})
        assert (await decoded(GOOD, ctx_of(RuleModel()), params=params))[0]

    async def test_sampling_parameters_do_not_apply_and_it_is_said(self) -> None:
        ctx = ctx_of(RuleModel(), params=Params(max_tokens=5, temperature=0.0, top_p=0.5))
        warm = (await decoded(SCORED, ctx))[0]
        plain = (await decoded(SCORED, ctx_of(RuleModel(), params=Params(max_tokens=5))))[0]
        assert text_of(warm) == text_of(plain)
        assert "temperature, top_p" in ctx.trace.warnings[0]

    async def test_a_prompt_beyond_the_window(self) -> None:
        with pytest.raises(ContextLengthExceeded, match="4096"):
            await decoded(GOOD, ctx_of(RuleModel()), asked("x" * 5000))
        with pytest.raises(ContextLengthExceeded, match="max_tokens is 4090"):
            await decoded(GOOD, ctx_of(RuleModel(), params=Params(max_tokens=4090)))

    def test_a_chat_only_engine(self) -> None:
        with pytest.raises(MissingCapability, match="rain needs the engine's tokens port; this engine has messages"):
            Pipeline.of((RainConfig(),)).check({"policy": Ports(messages=ListEngine([]))})

    def test_too_few_logprobs(self) -> None:
        few = Ports(tokens=RuleModel(), capabilities=Capabilities(logprobs=5))
        with pytest.raises(MissingCapability, match="20 likeliest tokens; this engine shows 5"):
            Pipeline.of((GOOD,)).check({"policy": few})

    def test_a_missing_reward_engine(self) -> None:
        with pytest.raises(MissingRole, match="reward"):
            Pipeline.of((SCORED,)).check({"policy": RuleModel().ports})

    @pytest.mark.parametrize(
        ("given", "named"),
        [
            ({"task": "adv"}, "official"),
            ({"candidates": 12, "max_candidates": 11}, "max_candidates"),
            ({"max_iterations": 0}, "max_iterations"),
            ({"value_threshold": 2}, "value_threshold"),
            ({"lengths": ()}, "lengths"),
            ({"value": {"kind": "taste"}}, "taste"),
        ],
    )
    def test_parameters_that_make_no_sense(self, given: dict[str, Any], named: str) -> None:
        with pytest.raises(ValidationError, match=named):
            RainConfig.model_validate(given)


class TestNumbers:
    def test_unless_given_are_the_released_codes(self) -> None:
        """Section 1.1 of the spec."""
        rules = Rules(
            lengths=(1, 2, 4, 10),
            children=10,
            max_children=20,
            max_iterations=50,
            min_iterations=15,
            min_visits=6,
            value_threshold=0.8,
            c_puct=2.0,
            gamma=0.2,
            similarity=0.95,
            variance=0.03,
            root_mix=0.25,
        )
        serving = Profile(
            rules,
            temperature=1.0,
            top_k=15,
            spare_draws=0,
            rollout="clause",
            end="set_ends",
            turn_marks=(),
            max_length=None,
            judged_to_full_stop=False,
            eager=False,
        )
        released = replace(serving, max_length=2048, eager=True)
        assert RainConfig().search() == SERVING == serving
        tasks = {
            "hh": replace(released, end="answer_goes_on", turn_marks=("Human:",)),
            "adv": replace(
                released,
                rules=replace(rules, min_visits=5),
                temperature=2.0,
                spare_draws=1,
                end="answer_ends",
                turn_marks=("USER:",),
            ),
            "truth": replace(
                released,
                rules=replace(rules, min_visits=16),
                rollout="answer",
                end="answer_is_cut",
                judged_to_full_stop=True,
            ),
        }
        assert tasks == OFFICIAL
        assert tasks == {task: RainConfig(profile="official", task=task).search() for task in OFFICIAL}
        assert RainConfig(profile="official").search() == OFFICIAL["hh"]
        assert set(",.?:;\n") == CLAUSE_ENDS

    def test_given_ones_are_kept(self) -> None:
        config = RainConfig(
            lengths=(3,),
            candidates=4,
            max_candidates=5,
            max_iterations=16,
            min_visits=2,
            value_threshold=0.5,
            c_puct=1.0,
            gamma=0.1,
            similarity=0.9,
            variance=0.01,
            root_mix=0.2,
            temperature=0.7,
            rollout="none",
        )
        rules = Rules((3,), 4, 5, 16, 15, 2, 0.5, 1.0, 0.1, 0.9, 0.01, 0.2)
        assert config.search() == replace(SERVING, rules=rules, temperature=0.7, rollout="none")

    def test_official_tasks(self) -> None:
        """minT 6, 5, 16; adv samples at 2.0 and draws up to 19; truth judges truthfulness."""
        tasks = {task: RainConfig(profile="official", task=task) for task in ("hh", "adv", "truth")}  # type: ignore[arg-type]
        assert [config.search().rules.min_visits for config in tasks.values()] == [6, 5, 16]
        assert tasks["adv"].search().temperature == 2.0
        assert tasks["adv"].search().draws(9) == 19
        assert tasks["adv"].search().draws(1) == 3
        assert tasks["hh"].search().draws(9) == 9
        assert tasks["truth"].judge.aspect == "truthfulness"  # type: ignore[union-attr]


class TestTrace:
    async def test_summary_and_tree(self) -> None:
        ctx = ctx_of(RuleModel(), params=Params(max_tokens=17), encoder=LetterEncoder())
        deltas = (await decoded(SCORED, ctx))[0]
        told = ctx.step.details
        assert told["moves"] == len(deltas) == len(told["values"]) == len(ctx.step.full["tree"])
        assert told["iterations"] >= told["evaluations"] > 0
        assert told["tokens_forwarded"] > 17
        first = ctx.step.full["tree"][0]
        chosen = [candidate for candidate in first["candidates"] if candidate.get("chosen")]
        assert [candidate["text"] for candidate in chosen] == [deltas[0].text]
        assert set(chosen[0]) >= {"visits", "real_visits", "value", "prior", "text", "candidates"}
        json.dumps(ctx.step.full)

    async def test_choices_are_told_apart(self) -> None:
        ctx = ctx_of(RuleModel(), params=Params(max_tokens=3, n=2))
        await decoded(GOOD, ctx)
        assert len(ctx.step.details["choices"]) == 2
        assert ctx.step.details["similarity"] == "off: no encoder"

    async def test_forwarded_tokens_without_a_cache_are_all_of_them(self) -> None:
        model = RuleModel()
        ctx = ctx_of(model, params=Params(max_tokens=9))
        await decoded(GOOD, ctx)
        expected = sum(length * params.n for length, params in model.calls) + model.tokens
        assert ctx.step.details["tokens_forwarded"] == expected

    def test_cost_is_the_worst_case(self) -> None:
        """10 tokens: sets of 1, 2, 4 and 10 make 4 moves of 50 iterations, each 3 policy calls and 2 of the judge."""
        assert RainConfig().cost(Params(max_tokens=10)).calls == 4 * 50 * 5
        assert GOOD.cost(Params(max_tokens=7, n=2)).calls == 2 * 3 * 50 * 3


class TestServer:
    """Over the service, on the scripted engine: byte tokens, an echo of the prompt."""

    async def test_stream_and_answer_are_the_same(self) -> None:
        service = service_of()
        await service.start()
        spec = {"kind": "rain", "value": "fixed", "max_iterations": 4}
        whole = (await service.chat(asking(spec_of(spec), max_tokens=30, seed=4))).body
        stream = await service.chat_stream(asking(spec_of(spec), max_tokens=30, seed=4))
        chunks = [json.loads(event) async for event in stream.events]
        text = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
        assert text == said(whole)
        assert text
        assert whole["choices"][0]["finish_reason"] == "length"
        assert whole["alignment"]["status"] == "applied"
        assert whole["alignment"]["usage"]["final"]["completion_tokens"] == 30
        assert whole["usage"]["completion_tokens"] > 30

    async def test_by_its_bare_name(self) -> None:
        service = service_of()
        await service.start()
        body = (await service.chat(asking("rain", max_tokens=3, seed=1))).body
        assert body["alignment"]["steps"][0]["strategy"] == "rain"
        assert set(body["alignment"]["usage"]["by_role"]) == {"policy", "judge"}

    async def test_a_servers_limits_cut_it_short_and_refuse_nothing(self) -> None:
        service = service_of(Settings(limits=Limits(alignment_calls=60)))
        await service.start()
        body = (await service.chat(asking("rain", max_tokens=200, seed=1))).body
        assert body["alignment"]["status"] == "degraded"
        assert body["alignment"]["usage"]["calls"] <= 60
        assert said(body)


def spec_of(step: dict[str, Any]) -> dict[str, Any]:
    return {"strategy": [step]}
