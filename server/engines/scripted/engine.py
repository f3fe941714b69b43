"""The scripted engine: every port, real streaming, exact counts and cancellation, no model."""

import asyncio
import hashlib
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from trimtab.server.engines.base import Health
from trimtab.server.engines.faces import PortsWire
from trimtab.server.engines.prompt_scores import PromptLogprob
from trimtab.server.engines.scripted.script import GivenAnswers, Script, ScriptedAnswer
from trimtab.server.engines.scripted.tokens import EOS, VOCABULARY, ScriptedTokenizer
from trimtab.server.settings import ScriptedConfig
from trimtab.strategies.core.engine import Call, Capabilities, Params, Ports, TokenDelta
from trimtab.strategies.core.errors import ContextLengthExceeded, EngineUnavailable
from trimtab.strategies.core.messages import Conversation, Delta, Text, Usage

Pace = Callable[[], Awaitable[None]]
_PIECES = re.compile(r"\s*\S+|\s+")


class ScriptedEngine:
    """Answers from a script.

    script: decides the answers; default `config.answers` in turn, or an echo.
    pace: awaited before each piece of an answer; default the pace of `config.tokens_per_s`. Tests hand in an event.
    """

    kind = "scripted"

    def __init__(self, config: ScriptedConfig, *, name: str, script: Script | None = None, pace: Pace | None = None) -> None:
        self.name = name
        self._config = config
        self._script = script or GivenAnswers(config.answers)
        self._pace = pace
        self._flights: dict[str, _Flight] = {}
        self._state: Health = Health("starting")
        self.running = 0
        self.tokenizer = ScriptedTokenizer()
        self.capabilities = Capabilities(
            tools=True,
            response_format=frozenset({"text", "json_object", "json_schema"}),
            prompt_logprobs=True,
            safe_content="segment",
            max_model_len=config.max_model_len,
            notes=("a test double: it runs no model",),
        )
        self.ports = Ports(self, self, self, self, self.capabilities)
        self.wire = PortsWire(self.ports, self.tokenizer, self)

    async def start(self) -> None:
        """Ready at once."""
        self._state = Health("ready")

    async def close(self) -> None:
        """End running answers."""
        self._state = Health("closed")
        for request_id in list(self._flights):
            await self.abort(request_id)

    def health(self) -> Health:
        """Ready between start and close."""
        return self._state

    async def abort(self, request_id: str) -> None:
        """End the answers that run under this id."""
        if request_id in self._flights:
            self._flights[request_id].aborted.set()

    def metrics(self) -> Mapping[str, float]:
        """How many answers are being given."""
        return {"running": float(self.running)}

    @property
    def eos_token_ids(self) -> frozenset[int]:
        """The end-of-sequence token."""
        return frozenset({EOS})

    def encode_chat(self, conversation: Conversation) -> tuple[int, ...]:
        """Ids of a conversation."""
        return tuple(self.tokenizer.chat(conversation))

    def encode_text(self, text: Text) -> tuple[int, ...]:
        """Ids of a raw prompt."""
        return tuple(self.tokenizer.text(text))

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of ids."""
        return self.tokenizer.decode(token_ids)

    async def chat(self, conversation: Conversation, params: Params, call: Call) -> AsyncGenerator[Delta, None]:
        """The script's answers, choices in turn."""
        ids = self.tokenizer.chat(conversation, tools=params.native.get("tools") or ())
        async with aclosing(self._answered(conversation, ids, params, call)) as deltas:
            async for delta in deltas:
                yield delta

    async def complete(self, text: Text, params: Params, call: Call) -> AsyncGenerator[Delta, None]:
        """The script's answers to a raw prompt."""
        params = replace(params, stop=(*params.stop, *text.stops))
        async with aclosing(self._answered(text.text, self.tokenizer.text(text), params, call)) as deltas:
            async for delta in deltas:
                yield delta

    async def generate(self, prompt_token_ids: Sequence[int], params: Params, call: Call) -> AsyncGenerator[TokenDelta, None]:
        """The script's answers to the text of these ids."""
        prompt = self.tokenizer.decode(prompt_token_ids)
        for index in range(params.n):
            answer = self._script.answer(prompt, params, index).text
            async with aclosing(self._pieces(answer, len(prompt_token_ids), params, call)) as pieces:
                async for piece in pieces:
                    yield self._token_delta(index, piece, params)

    def _token_delta(self, index: int, piece: "_Piece", params: Params) -> TokenDelta:
        if params.logprobs is None and not params.logprob_token_ids:
            return TokenDelta(index, piece.ids, text=piece.text, finish_reason=piece.finish)
        tops = tuple(self._top(token, params) for token in piece.ids)
        values = tuple(top[token] for top, token in zip(tops, piece.ids, strict=True))
        return TokenDelta(index, piece.ids, values, tops, piece.text, piece.finish)

    async def next_logprobs(self, prompt_token_ids: Sequence[int], candidates: Sequence[int], call: Call) -> tuple[float, ...]:
        """Fixed pseudo-random values that depend on prompt and candidate alone."""
        await self._tick(call)
        return tuple(_pseudo_logprob(prompt_token_ids, candidate) for candidate in candidates)

    async def prompt_logprobs(self, token_ids: Sequence[int], top: int, call: Call) -> list[PromptLogprob | None]:
        """Fixed pseudo-random values of each prompt token."""
        await self._tick(call)
        scored: list[PromptLogprob | None] = [None]
        for place in range(1, len(token_ids)):
            value = _pseudo_logprob(token_ids[place - 1 : place], token_ids[place])
            scored.append(PromptLogprob(token_ids[place], value, {token_ids[place]: value} if top else {}))
        return scored[: len(token_ids)]

    async def score(self, conversations: Sequence[Conversation], call: Call) -> tuple[float, ...]:
        """A fixed number in (-20, 0) for each conversation."""
        await self._tick(call)
        return tuple(_pseudo_logprob(self.tokenizer.chat(c), 0) for c in conversations)

    async def _answered(
        self, prompt: Conversation | str, ids: list[int], params: Params, call: Call
    ) -> AsyncGenerator[Delta, None]:
        produced = 0
        for index in range(params.n):
            answer = self._script.answer(prompt, params, index)
            if answer.tool_calls:
                produced += len(self.tokenizer.plain(str(answer.tool_calls)))
                yield _tool_delta(answer, index)
                continue
            async with aclosing(self._pieces(answer.text, len(ids), params, call)) as pieces:
                async for piece in pieces:
                    produced += len(piece.ids)
                    logprobs = tuple(self._entry(token, params) for token in piece.ids) if params.logprobs is not None else ()
                    yield Delta(index, piece.text, piece.finish, logprobs, token_ids=piece.ids)
        yield Delta(usage=Usage(len(ids), produced))

    async def _pieces(self, answer: str, prompt_tokens: int, params: Params, call: Call) -> AsyncGenerator["_Piece", None]:
        """Word-like pieces of an answer, cut at stop strings and at the longest length."""
        window = self._config.max_model_len - prompt_tokens
        if window < 1 or (params.max_tokens or 0) > window:
            raise ContextLengthExceeded(
                f"the prompt has {prompt_tokens} tokens and {params.max_tokens or 1} are to be generated; "
                f"the context window has {self._config.max_model_len}"
            )
        self.running += 1
        flight = self._flights.setdefault(call.request_id, _Flight())
        flight.answers += 1
        try:
            for piece in self._cut(answer, params, min(window, params.max_tokens or window)):
                await self._tick(call, len(piece.ids))
                yield piece
        finally:
            self.running -= 1
            flight.answers -= 1
            if not flight.answers:
                self._flights.pop(call.request_id, None)

    def _cut(self, answer: str, params: Params, limit: int) -> Iterator["_Piece"]:
        ends = [place for place in (answer.find(stop) for stop in params.stop) if place >= 0]
        text = answer[: min(ends)] if ends else answer
        left = limit
        for match in _PIECES.finditer(text):
            ids = tuple(self.tokenizer.plain(match.group()))
            if len(ids) >= left:
                kept = ids[:left]
                whole = len(ids) == left and match.end() == len(text) and bool(ends)
                yield _Piece(_whole_text(kept), kept, "stop" if whole else "length")
                return
            left -= len(ids)
            yield _Piece(match.group(), ids, None)
        yield _Piece("", () if ends else (EOS,), "stop")

    async def _tick(self, call: Call, tokens: int = 1) -> None:
        """The time a piece takes. Raises EngineUnavailable where the engine is closed or the request is aborted."""
        flight = self._flights.get(call.request_id)
        pause = asyncio.ensure_future(self._pause(tokens))
        aborted = asyncio.ensure_future(flight.aborted.wait()) if flight is not None else None
        try:
            await asyncio.wait({pause, aborted} if aborted is not None else {pause}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            pause.cancel()
            if aborted is not None:
                aborted.cancel()
        if self._state.state != "ready":
            raise EngineUnavailable("the engine is closed")
        if flight is not None and flight.aborted.is_set():
            raise EngineUnavailable("the request was aborted")

    async def _pause(self, tokens: int) -> None:
        if self._pace is not None:
            await self._pace()
        elif self._config.tokens_per_s is not None:
            await asyncio.sleep(tokens / self._config.tokens_per_s)

    def _top(self, token: int, params: Params) -> dict[int, float]:
        known = {token: -0.25}
        for rank in range(max(params.logprobs or 0, 1) - 1):
            known[(token + rank + 1) % VOCABULARY] = -2.0 - rank
        return known | {token_id: known.get(token_id, -9.0) for token_id in params.logprob_token_ids}

    def _entry(self, token: int, params: Params) -> dict[str, object]:
        def named(one: int, value: float) -> dict[str, object]:
            string = self.tokenizer.token_strings([one])[0]
            return {"token": string, "logprob": value, "bytes": [one] if one < 256 else list(string.encode())}

        tops = [named(one, value) for one, value in self._top(token, params).items()] if params.logprobs else []
        return {**named(token, -0.25), "top_logprobs": tops[: params.logprobs or 0]}


@dataclass(slots=True)
class _Flight:
    """The answers under one request id."""

    answers: int = 0
    aborted: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True)
class _Piece:
    text: str
    ids: tuple[int, ...]
    finish: str | None


def _whole_text(ids: Sequence[int]) -> str:
    """The text of bytes cut anywhere; an unfinished last character is left out."""
    return bytes(ids).decode("utf-8", errors="ignore")


def _tool_delta(answer: ScriptedAnswer, index: int) -> Delta:
    calls = [{"index": place, **call} for place, call in enumerate(answer.tool_calls)]
    return Delta(index, finish_reason="tool_calls", fields={"tool_calls": calls})


def _pseudo_logprob(context: Sequence[int], token: int) -> float:
    digest = hashlib.sha256(repr((tuple(context), token)).encode()).digest()
    return -20.0 * (int.from_bytes(digest[:4], "big") + 1) / 2**32
