"""Doubles for strategies: an engine that answers from a list, and configurations that fail or revise on purpose."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from trimtab.strategies.core.budget import Budget
from trimtab.strategies.core.config import Cost, RoleName, StrategyConfig, Streaming
from trimtab.strategies.core.context import RequestContext, Step, Trace
from trimtab.strategies.core.engine import Call, Capabilities, MessagesPort, Params, Ports
from trimtab.strategies.core.errors import EngineFailure
from trimtab.strategies.core.messages import Conversation, Delta, Message, Prompt, Segment, Text, Usage
from trimtab.strategies.core.stores import Corpora, TextEncoder


@dataclass
class ListEngine:
    """Answers in turn; remembers what it was asked."""

    answers: list[str]
    asked: list[Conversation] = field(default_factory=list)
    params: list[Params] = field(default_factory=list)
    closed: int = 0

    async def chat(self, conversation: Conversation, params: Params, call: Call) -> AsyncGenerator[Delta, None]:
        self.asked.append(conversation)
        self.params.append(params)
        try:
            for index in range(params.n):
                words = self.answers.pop(0).split(" ")
                for word in words[:-1]:
                    yield Delta(index, f"{word} ", token_ids=(1,))
                yield Delta(index, words[-1], "stop", token_ids=(1,))
            yield Delta(usage=Usage(10, 5, 2))
        finally:
            self.closed += 1


def context(
    engine: MessagesPort | None = None,
    *,
    budget: Budget | None = None,
    params: Params | None = None,
    prefill: bool = True,
    policy: Ports | None = None,
    roles: Mapping[str, Ports] | None = None,
    corpora: Corpora | None = None,
    encoder: TextEncoder | None = None,
    seed: int = 0,
) -> RequestContext:
    """A request's context. `engine` is a policy that answers conversations; `policy` gives all its ports instead."""
    own = policy or Ports(messages=engine, capabilities=Capabilities(prefill=prefill))
    return RequestContext(
        request_id="req-1",
        engines={"policy": own, **(roles or {})},
        params=params or Params(),
        budget=budget or Budget(),
        trace=Trace("trace-1"),
        step=Step("test", "shaper"),
        seed=seed,
        corpora=corpora,
        encoder=encoder,
    )


def said(text: str) -> Conversation:
    return Conversation((Message("user", text),))


class BrokenShaperConfig(StrategyConfig):
    """Fails on every prompt."""

    kind: Literal["broken_shaper"] = "broken_shaper"
    role: ClassVar[RoleName] = "shaper"

    def build(self) -> "BrokenShaperConfig":
        return self

    async def shape(self, prompt: Prompt, ctx: RequestContext) -> Prompt:
        raise EngineFailure("the shaper broke")


class RawShaperConfig(StrategyConfig):
    """Renders a raw prompt."""

    kind: Literal["raw_shaper"] = "raw_shaper"
    role: ClassVar[RoleName] = "shaper"

    def renders_text(self) -> bool:
        return True

    def build(self) -> "RawShaperConfig":
        return self

    async def shape(self, prompt: Prompt, ctx: RequestContext) -> Prompt:
        return Text((Segment("content", "raw"),))


class BuggyShaperConfig(BrokenShaperConfig):
    """Fails with an error that is nobody's."""

    kind: Literal["buggy_shaper"] = "buggy_shaper"  # type: ignore[assignment]

    async def shape(self, prompt: Prompt, ctx: RequestContext) -> Prompt:
        raise KeyError("a secret detail")


class ShoutConfig(StrategyConfig):
    """Answers in capitals."""

    kind: Literal["shout"] = "shout"
    fails: bool = False
    """Fail instead."""
    role: ClassVar[RoleName] = "reviser"
    streaming: ClassVar[Streaming] = "buffered"

    def cost(self, params: Params) -> Cost:
        return Cost(1, 7)

    def build(self) -> "ShoutConfig":
        return self

    async def revise(self, prompt: Prompt, draft: str, ctx: RequestContext) -> AsyncGenerator[Delta, None]:
        if self.fails:
            raise EngineFailure("the reviser broke")
        yield Delta(0, draft.upper(), "stop")
