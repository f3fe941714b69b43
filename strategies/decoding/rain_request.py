"""One request's searches: what is asked of the policy and the judge, the choices side by side, their moves as deltas."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any, Self

from trimtab.strategies.core.context import RequestContext
from trimtab.strategies.core.engine import Params, TokensPort
from trimtab.strategies.core.errors import ContextLengthExceeded, RequestRefused
from trimtab.strategies.core.messages import Conversation, Delta, Message, Prompt, Text, Usage
from trimtab.strategies.decoding.rain_priors import Tokens
from trimtab.strategies.decoding.rain_profile import Profile
from trimtab.strategies.decoding.rain_sampler import Sampler
from trimtab.strategies.decoding.rain_search import Move, Search
from trimtab.strategies.decoding.rain_text import ANSWER_TOKENS, Spoken, Wording
from trimtab.strategies.decoding.rain_trace import Log
from trimtab.strategies.judging.value import Judged, ValueFunction

OWN_SAMPLING = ("temperature", "top_p", "top_k", "min_p")
"""Parameters of a request that do not reach the search, which samples by its own rule."""
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "repetition_penalty": (None, 1.0),
    "presence_penalty": (None, 0.0),
    "frequency_penalty": (None, 0.0),
    "min_tokens": (0,),
    "logit_bias": ({},),
    "allowed_token_ids": ((),),
}
"""Parameters that would change what a token's probability is -> the values that ask for nothing."""
HINTS = frozenset({"parallel_tool_calls", "reasoning_effort"})
"""Chat-only fields whose neglect changes nothing where there are no tools and no reasoning switch."""


def refuse_unsearchable(params: Params, ctx: RequestContext) -> None:
    """Raise RequestRefused for parameters a search cannot honour; warn of those that do not apply to it."""
    asked = [name for name, idle in NEUTRAL.items() if getattr(params, name) not in idle]
    nothing: tuple[Any, ...] = (None, "none", [], {}, {"type": "text"})
    asked += [name for name, value in params.native.items() if name not in HINTS and value not in nothing]
    for name in asked:
        raise RequestRefused(
            f"{name} cannot be honoured by rain, which searches over the model's own probabilities", param=name
        )
    own = [name for name in OWN_SAMPLING if getattr(params, name) is not None]
    if own:
        ctx.trace.warn(f"rain samples by its own rule; of the request do not apply: {', '.join(own)}")


@dataclass(frozen=True, slots=True)
class Searches:
    """The searches of a request, one for each choice."""

    params: Params
    ctx: RequestContext
    port: TokensPort
    prompt: Tokens
    wording: Wording
    asked: Conversation
    """The user's conversation, as judges see it."""
    value: ValueFunction
    ahead: int
    logs: list[Log] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        prompt: Prompt,
        params: Params,
        ctx: RequestContext,
        port: TokensPort,
        profile: Profile,
        value: ValueFunction,
        ahead: int,
    ) -> Self:
        """The searches behind a prompt, which is encoded once. May block. Raises ContextLengthExceeded."""
        stops = params.stop
        if isinstance(prompt, Text):
            ids = port.encode_text(prompt)
            stops += tuple(stop for stop in prompt.stops if stop not in stops)
        else:
            ids = port.encode_chat(prompt)
        room = _room(len(ids), params.max_tokens, ctx.engine().capabilities.max_model_len)
        complete = room if profile.max_length is None else min(room, max(1, profile.max_length + 1 - len(ids)))
        eos = frozenset(params.stop_token_ids) | (frozenset() if params.ignore_eos else port.eos_token_ids)
        wording = Wording(port.decode, ids, profile, eos, (*stops, *profile.turn_marks), room, complete)
        asked = prompt.original if isinstance(prompt, Conversation) else prompt.asked or _raw(prompt)
        return cls(params, ctx, port, ids, wording, asked, value, ahead)

    async def deltas(self) -> AsyncGenerator[Delta, None]:
        """The moves of all choices as they become certain. Closing it ends all work."""
        queue: asyncio.Queue[Delta | None] = asyncio.Queue()
        searching = asyncio.create_task(self._run(queue))
        try:
            while (delta := await queue.get()) is not None:
                yield delta
            await searching
        finally:
            searching.cancel()
            await asyncio.wait([searching])

    async def _run(self, queue: "asyncio.Queue[Delta | None]") -> None:
        """Search for every choice at once; None ends the queue, whatever happened."""
        try:
            async with asyncio.TaskGroup() as group:
                for index in range(self.params.n):
                    group.create_task(self._choice(index, queue))
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None
        finally:
            self._note()
            queue.put_nowait(None)

    async def _choice(self, index: int, queue: "asyncio.Queue[Delta | None]") -> None:
        """One choice, its moves as deltas."""
        if self.wording.room < 1:
            queue.put_nowait(Delta(index, finish_reason="length"))
            return
        search = Search(self._sampler(index), self.wording, self._value_of, self.ctx.encoder, self.ahead)
        log = Log(search, full=self.ctx.trace.level == "full")
        self.logs.append(log)
        spoken = Spoken(self.wording.stops)

        async def commit(move: Move) -> None:
            raw = await asyncio.to_thread(self.wording.raw, search.answer)
            await asyncio.to_thread(log.add, move)
            if move.spent:
                self._degrade(f"{move.spent}; the answer is the best so far")
            queue.put_nowait(Delta(index, spoken.more(raw, final=move.finish is not None), move.finish, token_ids=move.tokens))

        await search.run(commit)

    def _sampler(self, index: int) -> Sampler:
        seed = f"{self.ctx.seed}:{index}" if self.ctx.engine().capabilities.seed else None
        ends = self.params.stop_token_ids
        return Sampler(self.port, self.ctx.call(), self.prompt, self.wording.profile, seed, ends, self.params.ignore_eos)

    async def _value_of(self, answer: str) -> float | None:
        judged = Judged(self.asked, f"{self.asked.prefill or ''}{answer}")
        return (await self.value.values([judged], self.ctx))[0]

    def _degrade(self, reason: str) -> None:
        self.ctx.step.degrade(reason)
        self.ctx.trace.warn(f"rain: {reason}")

    def _note(self) -> None:
        """Tell what the searches did."""
        step = self.ctx.step
        if self.ctx.encoder is None:
            step.note(similarity="off: no encoder")
        step.meter("policy").last = Usage(len(self.prompt), sum(len(log.search.answer) for log in self.logs))
        unscored = sum(log.search.counts.unscored for log in self.logs)
        if unscored:
            self._degrade(f"{unscored} judgements could not be read and counted as the worst")
        summaries = [log.summary() for log in self.logs]
        step.note(**(summaries[0] if len(summaries) == 1 else {"choices": summaries}))
        if self.ctx.trace.level == "full":
            trees = [log.moves for log in self.logs]
            step.note_full(tree=trees[0] if len(trees) == 1 else trees)


def _room(prompt: int, max_tokens: int | None, window: int | None) -> int:
    """Tokens that an answer may have. Raises ContextLengthExceeded where it would not fit behind its prompt."""
    asked = 1 if max_tokens is None else max_tokens
    if window is not None and prompt + asked > window:
        raise ContextLengthExceeded(
            f"the prompt has {prompt} tokens and the answer at least {asked}; the context window is {window}"
            if max_tokens is None
            else f"the prompt has {prompt} tokens and max_tokens is {max_tokens}; the context window is {window}"
        )
    if max_tokens is not None:
        return max_tokens
    return ANSWER_TOKENS if window is None else window - prompt


def _raw(prompt: Text) -> Conversation:
    """A raw prompt that nobody asked as a conversation, as one."""
    return Conversation((Message("user", prompt.text),))
