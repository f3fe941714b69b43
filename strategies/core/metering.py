"""Metered ports: the same ports, counted by step and role, held to the request's budget and deadline."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from trimtab.strategies.core.budget import Budget, Meter
from trimtab.strategies.core.engine import (
    Call,
    MessagesPort,
    Params,
    Ports,
    ScoresPort,
    TextPort,
    TokenDelta,
    TokensPort,
)
from trimtab.strategies.core.errors import DeadlineExceeded
from trimtab.strategies.core.messages import Conversation, Delta, Text, Usage
from trimtab.strategies.core.trimming import trimmed

T = TypeVar("T")


@dataclass(slots=True)
class Metered:
    """Counts every call of one engine role inside one step."""

    ports: Ports
    budget: Budget
    meter: Meter

    def bound(self) -> Ports:
        """The ports a strategy sees."""
        inner = self.ports
        return Ports(
            messages=_Messages(inner.messages, self) if inner.messages else None,
            text=_Texts(inner.text, self) if inner.text else None,
            tokens=_Tokens(inner.tokens, self) if inner.tokens else None,
            scores=_Scores(inner.scores, self) if inner.scores else None,
            capabilities=inner.capabilities,
        )

    def begin(self) -> None:
        """Count a call before it starts."""
        self.budget.begin_call()
        self.meter.calls += 1

    def end(self, usage: Usage) -> None:
        """Count what a call used."""
        self.meter.usage += usage
        self.meter.last = usage
        self.budget.spend(usage.total_tokens)


def within_budget(params: Params, budget: Budget) -> tuple[Params, bool]:
    """Parameters whose answers stay inside the budget's tokens, and whether they are shorter than was asked for."""
    room = budget.room(params.n)
    if room is None or (params.max_tokens is not None and params.max_tokens <= room):
        return params, False
    return replace(params, max_tokens=room, min_tokens=min(params.min_tokens, room)), True


def _completed(params: Params, sampling: Mapping[str, float]) -> Params:
    """Parameters with those of a raw prompt where they are open."""
    taken: dict[str, Any] = {name: value for name, value in sampling.items() if getattr(params, name) is None}
    return replace(params, **taken) if taken else params


async def within_deadline(stream: AsyncGenerator[T, None], budget: Budget) -> AsyncGenerator[T, None]:
    """The stream, cut with DeadlineExceeded at the budget's deadline; closed with its consumer."""
    async with aclosing(stream):
        while True:
            try:
                async with asyncio.timeout(budget.remaining_s()):
                    item = await anext(stream)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise DeadlineExceeded("alignment.budget.deadline_ms has passed") from None
            yield item


async def in_time(work: Coroutine[Any, Any, T], budget: Budget) -> T:
    """The result of work that ends before the budget's deadline. Raises DeadlineExceeded."""
    try:
        async with asyncio.timeout(budget.remaining_s()):
            return await work
    except TimeoutError:
        raise DeadlineExceeded("alignment.budget.deadline_ms has passed") from None


async def _deltas(stream: AsyncGenerator[Delta, None], metered: Metered, *, clipped: bool) -> AsyncGenerator[Delta, None]:
    produced, usage = 0, None
    try:
        async with aclosing(within_deadline(stream, metered.budget)) as cut:
            async for delta in cut:
                produced += len(delta.token_ids)
                usage = delta.usage or usage
                metered.meter.cut |= clipped and delta.finish_reason == "length"
                yield delta
    finally:
        metered.end(usage or Usage(completion_tokens=produced))


@dataclass(frozen=True, slots=True)
class _Messages:
    inner: MessagesPort
    metered: Metered

    def chat(self, conversation: Conversation, params: Params, call: Call) -> AsyncGenerator[Delta, None]:
        self.metered.begin()
        held, clipped = within_budget(params, self.metered.budget)
        return _deltas(self.inner.chat(conversation, held, call), self.metered, clipped=clipped)


@dataclass(frozen=True, slots=True)
class _Texts:
    inner: TextPort
    metered: Metered

    def complete(self, text: Text, params: Params, call: Call) -> AsyncGenerator[Delta, None]:
        self.metered.begin()
        held, clipped = within_budget(_completed(params, text.sampling), self.metered.budget)
        answer = self.inner.complete(text, held, call)
        return _deltas(trimmed(answer, text.answer), self.metered, clipped=clipped)


@dataclass(frozen=True, slots=True)
class _Tokens:
    inner: TokensPort
    metered: Metered

    @property
    def eos_token_ids(self) -> frozenset[int]:
        return self.inner.eos_token_ids

    def encode_chat(self, conversation: Conversation) -> tuple[int, ...]:
        return self.inner.encode_chat(conversation)

    def encode_text(self, text: Text) -> tuple[int, ...]:
        return self.inner.encode_text(text)

    def decode(self, token_ids: Sequence[int]) -> str:
        return self.inner.decode(token_ids)

    async def generate(self, prompt_token_ids: Sequence[int], params: Params, call: Call) -> AsyncGenerator[TokenDelta, None]:
        self.metered.begin()
        produced, cached = 0, 0
        held, clipped = within_budget(params, self.metered.budget)
        try:
            stream = within_deadline(self.inner.generate(prompt_token_ids, held, call), self.metered.budget)
            async with aclosing(stream) as cut:
                async for delta in cut:
                    produced += len(delta.token_ids)
                    cached = max(cached, delta.cached_tokens)
                    self.metered.meter.cut |= clipped and delta.finish_reason == "length"
                    yield delta
        finally:
            self.metered.end(Usage(len(prompt_token_ids), produced, cached))

    async def next_logprobs(self, prompt_token_ids: Sequence[int], candidates: Sequence[int], call: Call) -> tuple[float, ...]:
        self.metered.begin()
        try:
            return await in_time(self.inner.next_logprobs(prompt_token_ids, candidates, call), self.metered.budget)
        finally:
            self.metered.end(Usage(len(prompt_token_ids), 1))


@dataclass(frozen=True, slots=True)
class _Scores:
    inner: ScoresPort
    metered: Metered

    async def score(self, conversations: Sequence[Conversation], call: Call) -> tuple[float, ...]:
        self.metered.begin()
        try:
            return await in_time(self.inner.score(conversations, call), self.metered.budget)
        finally:
            self.metered.end(Usage())
