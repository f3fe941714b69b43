"""The wire face of an upstream: requests and answers pass through as they are, but for the model's name.

Going out, the name is the upstream's; coming back, the caller's. Stream chunks stay the strings they were. What only the
server may decide (engine ids, priorities, cache salts) is never taken from a body.
"""

import json
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from trimtab.server.engines.base import Wire
from trimtab.server.engines.upstream import faults
from trimtab.server.engines.upstream.content import safe_messages
from trimtab.server.engines.upstream.link import Link
from trimtab.server.engines.upstream.profile import Learned, Profile
from trimtab.server.wire import dumps
from trimtab.strategies.core.engine import Call
from trimtab.strategies.core.errors import RequestRefused, UpstreamError

SERVERS_OWN = frozenset({"request_id", "session_id", "priority", "cache_salt", "alignment"})
"""Body fields of a client that never reach an upstream."""


@dataclass(frozen=True, slots=True)
class UpstreamWire:
    """`WireFace` over a `Link`."""

    link: Link
    profile: Profile
    learned: Learned

    async def chat(self, body: Mapping[str, Any], call: Call) -> Wire:
        """The upstream's `chat.completion`."""
        return await self._whole("/chat/completions", body, call)

    def chat_stream(self, body: Mapping[str, Any], call: Call) -> AsyncGenerator[str, None]:
        """The upstream's chunks."""
        return self._streamed("/chat/completions", body, call)

    async def completion(self, body: Mapping[str, Any], call: Call) -> Wire:
        """The upstream's `text_completion`."""
        return await self._whole("/completions", body, call)

    def completion_stream(self, body: Mapping[str, Any], call: Call) -> AsyncGenerator[str, None]:
        """The upstream's chunks."""
        return self._streamed("/completions", body, call)

    async def _whole(self, path: str, body: Mapping[str, Any], call: Call) -> Wire:
        sent = self.outgoing(body, call, stream=False)
        try:
            answer: Wire = await self.link.post(self.link.base + path, sent, call.request_id)
        except UpstreamError as error:
            raise self._refused(error, sent) from error
        if (body.get("n") or 1) > 1 and len(answer.get("choices") or ()) < choices_of(sent):
            self.learned.one_choice()
            raise RequestRefused(
                f"n={body['n']} is not honoured by the upstream; allowed: 1", param="n", code="unsupported_parameter"
            )
        return {**answer, "model": body["model"]}

    async def _streamed(self, path: str, body: Mapping[str, Any], call: Call) -> AsyncGenerator[str, None]:
        sent = self.outgoing(body, call, stream=True)
        progress = Progress(choices_of(sent))
        try:
            async with aclosing(chunks(self.link, self.link.base + path, sent, call.request_id)) as answer:
                async for chunk in answer:
                    progress.see(chunk.object)
                    yield renamed(chunk, body["model"])
        except UpstreamError as error:
            raise self._refused(error, sent) from error
        if (body.get("n") or 1) > 1 and len(progress.begun) < progress.expected:
            self.learned.one_choice()
            raise UpstreamError(f"the upstream gave {len(progress.begun)} of {progress.expected} choices", status=502)

    def outgoing(self, body: Mapping[str, Any], call: Call, *, stream: bool) -> Wire:
        """The body as the upstream gets it."""
        sent = {key: value for key, value in body.items() if key not in SERVERS_OWN and key not in {"stream", "stream_options"}}
        sent["model"] = self.profile.model
        if "messages" in sent:
            sent["messages"] = safe_messages(sent["messages"])
        if stream:
            sent["stream"] = True
            if body.get("stream_options") is not None:
                sent["stream_options"] = body["stream_options"]
        if self.profile.is_vllm and call.cache_salt:
            sent["cache_salt"] = call.cache_salt
        return sent

    def _refused(self, error: UpstreamError, sent: Wire) -> UpstreamError:
        """The error itself; what it says about the upstream is remembered."""
        if error.status == 400:
            param, message = faults.parameter_of(error)
            self.learned.adapt(param, message, sent)
        return error


@dataclass(frozen=True, slots=True)
class Chunk:
    """One event of a stream: its text and what it says."""

    raw: str
    object: Wire


@dataclass(slots=True)
class Progress:
    """Which choices of a stream have begun and which have ended."""

    expected: int
    begun: set[int] = field(default_factory=set)
    ended: set[int] = field(default_factory=set)

    def see(self, chunk: Wire) -> None:
        """Take note of a chunk."""
        for choice in chunk.get("choices") or ():
            index = choice.get("index", 0)
            self.begun.add(index)
            if choice.get("finish_reason"):
                self.ended.add(index)

    @property
    def complete(self) -> bool:
        """Whether every choice that was asked for has its finish reason."""
        return len(self.ended) >= self.expected


def choices_of(body: Mapping[str, Any]) -> int:
    """How many choices a body asks for: `n` for each prompt."""
    prompt = body.get("prompt")
    many = isinstance(prompt, list | tuple) and bool(prompt) and not isinstance(prompt[0], int)
    prompts = len(prompt) if many and prompt is not None else 1
    return prompts * (body.get("n") or 1)


async def chunks(link: Link, url: str, body: Wire, request_id: str) -> AsyncGenerator[Chunk, None]:
    """The chunks of a streamed answer, without [DONE].

    A missing [DONE] is forgiven where every choice has ended. Raises UpstreamError for an error event and StreamCut for an
    answer that stops before its end.
    """
    progress = Progress(choices_of(body))
    try:
        async with aclosing(link.events(url, body, request_id)) as events:
            async for raw in events:
                if raw.strip() == "[DONE]":
                    return
                chunk = _parsed(raw)
                progress.see(chunk)
                yield Chunk(raw, chunk)
    except faults.StreamCut:
        if not progress.complete:
            raise
    if not progress.complete:
        raise faults.StreamCut(f"{len(progress.ended)} of {progress.expected} choices had ended, and there was no [DONE]")


def _parsed(raw: str) -> Wire:
    try:
        chunk = json.loads(raw)
    except ValueError as error:
        raise UpstreamError("the upstream's stream holds an event that is not JSON", status=502) from error
    if not isinstance(chunk, dict):
        raise UpstreamError("the upstream's stream holds an event that is not a JSON object", status=502)
    if chunk.get("error"):
        raise faults.from_event(chunk["error"])
    return chunk


def renamed(chunk: Chunk, caller: str) -> str:
    """The chunk's text with the caller's model name, on one line; replaced as text where the place is beyond doubt."""
    name = chunk.object.get("model")
    one_line = "\n" not in chunk.raw
    if one_line and name == caller:
        return chunk.raw
    if one_line and isinstance(name, str):
        needle = re.compile(r'("model": ?)' + re.escape(json.dumps(name, ensure_ascii=False)))
        if len(needle.findall(chunk.raw)) == 1:
            return needle.sub(lambda hit: hit[1] + json.dumps(caller), chunk.raw)
    return dumps({**chunk.object, "model": caller})
