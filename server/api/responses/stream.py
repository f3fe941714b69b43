"""From chat chunks to the events of `/v1/responses`: a state machine that knows neither HTTP nor the service.

An answer is a list of output items. Text, refusal and reasoning items close when another item begins, function calls at the
end (their fragments may interleave). Every event carries the next sequence number.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from trimtab.server.api.responses import answer
from trimtab.server.api.responses.answer import ItemStatus

Wire = dict[str, Any]

RATE_LIMIT_CODES = frozenset({"rate_limit_exceeded", "insufficient_quota"})


class _Open(Protocol):
    """An output item that is being written."""

    def close(self, status: ItemStatus) -> tuple[Wire, list[Wire]]:
        """The finished item, and the events that end its parts."""
        ...


@dataclass(slots=True)
class _Text:
    """An assistant message with one part: text or a refusal."""

    at: Wire
    """item_id, output_index and content_index of its events."""
    refusal: bool = False
    pieces: list[str] = field(default_factory=list)
    logprobs: list[Wire] = field(default_factory=list)

    @property
    def part(self) -> Wire:
        text = "".join(self.pieces)
        return answer.refusal_part(text) if self.refusal else answer.text_part(text) | {"logprobs": self.logprobs}

    def add(self, piece: str, logprobs: list[Wire]) -> Wire:
        self.pieces.append(piece)
        self.logprobs += logprobs
        if self.refusal:
            return {"type": "response.refusal.delta", **self.at, "delta": piece}
        return {"type": "response.output_text.delta", **self.at, "delta": piece, "logprobs": logprobs}

    def close(self, status: ItemStatus) -> tuple[Wire, list[Wire]]:
        part = self.part
        if self.refusal:
            done = {"type": "response.refusal.done", **self.at, "refusal": part["refusal"]}
        else:
            done = {"type": "response.output_text.done", **self.at, "text": part["text"], "logprobs": self.logprobs}
        item = answer.message_item(self.at["item_id"], [part], status)
        return item, [done, {"type": "response.content_part.done", **self.at, "part": part}]


@dataclass(slots=True)
class _Thought:
    """What a reasoning model thinks."""

    at: Wire
    pieces: list[str] = field(default_factory=list)

    def add(self, piece: str) -> Wire:
        self.pieces.append(piece)
        return {"type": "response.reasoning_text.delta", **self.at, "delta": piece}

    def close(self, status: ItemStatus) -> tuple[Wire, list[Wire]]:
        text = "".join(self.pieces)
        item = answer.reasoning_item(self.at["item_id"], text)
        part = {"type": "reasoning_text", "text": text}
        return item, [
            {"type": "response.reasoning_text.done", **self.at, "text": text},
            {"type": "response.content_part.done", **self.at, "part": part},
        ]


@dataclass(slots=True)
class _Call:
    """A function call."""

    at: Wire
    call_id: str
    name: str
    pieces: list[str] = field(default_factory=list)

    def add(self, piece: str) -> Wire:
        self.pieces.append(piece)
        return {"type": "response.function_call_arguments.delta", **self.at, "delta": piece}

    def item(self, status: ItemStatus) -> Wire:
        return answer.function_call_item(self.at["item_id"], self.call_id, self.name, "".join(self.pieces), status)

    def close(self, status: ItemStatus) -> tuple[Wire, list[Wire]]:
        item = self.item(status)
        done = {"type": "response.function_call_arguments.done", **self.at, "name": self.name, "arguments": item["arguments"]}
        return item, [done]


class EventWriter:
    """Writes the events of one streamed response; `begin`, then `feed` a chunk at a time, then `end` or `fail`."""

    def __init__(self, response: Wire) -> None:
        self._response = response
        self._number = 0
        self._items: list[Wire] = []
        self._current: _Text | _Thought | None = None
        self._calls: dict[int, _Call] = {}
        self._finish_reason: str | None = None
        self._usage: Mapping[str, Any] | None = None
        self._alignment: Mapping[str, Any] | None = None

    def begin(self) -> list[Wire]:
        """The two events that open the stream."""
        return [self._lifecycle("created"), self._lifecycle("in_progress")]

    def feed(self, chunk: Mapping[str, Any]) -> list[Wire]:
        """The events of one `chat.completion.chunk`."""
        self._usage = chunk.get("usage") or self._usage
        self._alignment = chunk.get("alignment") or self._alignment
        events: list[Wire] = []
        for choice in chunk.get("choices") or ():
            events += self._delta(choice.get("delta") or {}, choice.get("logprobs") or {})
            self._finish_reason = choice.get("finish_reason") or self._finish_reason
        return events

    def end(self) -> list[Wire]:
        """The events that close what is open and the response itself."""
        events = [] if self._items else self._open_text(refusal=False)
        events += self._close_all(answer.item_status(self._finish_reason))
        self._response = answer.finish(
            self._response,
            output=self._items,
            finish_reason=self._finish_reason,
            token_usage=self._usage,
            alignment=self._alignment,
        )
        return [*events, self._lifecycle(self._response["status"])]

    def fail(self, error: Mapping[str, Any]) -> list[Wire]:
        """The events of a stream that broke off; `error` as in the error envelope."""
        events = self._close_all("incomplete")
        code = str(error.get("code") or "internal_error")
        self._response = self._response | {
            "status": "failed",
            "output": self._items,
            "usage": answer.usage(self._usage) if self._usage else None,
            "error": {
                "code": "rate_limit_exceeded" if code in RATE_LIMIT_CODES else "server_error",
                "message": f"{error.get('message', '')} ({code})",
                "type": error.get("type"),
                "param": error.get("param"),
            },
        }
        alignment = error.get("alignment") or self._alignment
        if alignment:
            self._response["alignment"] = dict(alignment)
        return [*events, self._lifecycle("failed")]

    def _delta(self, delta: Mapping[str, Any], logprobs: Mapping[str, Any]) -> list[Wire]:
        events: list[Wire] = []
        if thought := answer.reasoning_text(delta):
            events += self._open_thought()
            events.append(self._numbered(self._thought.add(thought)))
        if text := delta.get("content"):
            events += self._open_text(refusal=False)
            entries = answer.text_part("", logprobs.get("content"))["logprobs"]
            events.append(self._numbered(self._text.add(text, entries)))
        if refusal := delta.get("refusal"):
            events += self._open_text(refusal=True)
            events.append(self._numbered(self._text.add(refusal, [])))
        for fragment in delta.get("tool_calls") or ():
            events += self._call(fragment)
        return events

    @property
    def _text(self) -> _Text:
        if not isinstance(self._current, _Text):
            raise RuntimeError("no text item is open")
        return self._current

    @property
    def _thought(self) -> _Thought:
        if not isinstance(self._current, _Thought):
            raise RuntimeError("no reasoning item is open")
        return self._current

    def _open_text(self, *, refusal: bool) -> list[Wire]:
        if isinstance(self._current, _Text) and self._current.refusal == refusal:
            return []
        events = self._close_current("completed")
        at = self._reserve("msg") | {"content_index": 0}
        self._current = _Text(at, refusal)
        events.append(self._added(at, answer.message_item(at["item_id"], [], "in_progress")))
        events.append(self._numbered({"type": "response.content_part.added", **at, "part": self._current.part}))
        return events

    def _open_thought(self) -> list[Wire]:
        if isinstance(self._current, _Thought):
            return []
        events = self._close_current("completed")
        at = self._reserve("rs") | {"content_index": 0}
        self._current = _Thought(at)
        item = answer.reasoning_item(at["item_id"], "") | {"content": []}
        part = {"type": "reasoning_text", "text": ""}
        events.append(self._added(at, item))
        events.append(self._numbered({"type": "response.content_part.added", **at, "part": part}))
        return events

    def _call(self, fragment: Mapping[str, Any]) -> list[Wire]:
        function = fragment.get("function") or {}
        index = int(fragment.get("index") or 0)
        events: list[Wire] = []
        if index not in self._calls:
            events += self._close_current("completed")
            call = _Call(self._reserve("fc"), fragment.get("id") or answer.new_id("call"), function.get("name") or "")
            self._calls[index] = call
            events.append(self._added(call.at, call.item("in_progress")))
        if piece := function.get("arguments"):
            events.append(self._numbered(self._calls[index].add(piece)))
        return events

    def _reserve(self, prefix: str) -> Wire:
        """The place of a new output item."""
        at = {"item_id": answer.new_id(prefix), "output_index": len(self._items)}
        self._items.append({})
        return at

    def _close_current(self, status: ItemStatus) -> list[Wire]:
        current, self._current = self._current, None
        return self._close(current, current.at, status) if current else []

    def _close_all(self, status: ItemStatus) -> list[Wire]:
        events = self._close_current(status)
        for call in self._calls.values():
            events += self._close(call, call.at, status)
        self._calls = {}
        return events

    def _close(self, item: _Open, at: Wire, status: ItemStatus) -> list[Wire]:
        finished, events = item.close(status)
        self._items[at["output_index"]] = finished
        done = {"type": "response.output_item.done", "output_index": at["output_index"], "item": finished}
        return [self._numbered(event) for event in (*events, done)]

    def _added(self, at: Wire, item: Wire) -> Wire:
        event = {"type": "response.output_item.added", "output_index": at["output_index"], "item": item}
        return self._numbered(event)

    def _lifecycle(self, state: str) -> Wire:
        return self._numbered({"type": f"response.{state}", "response": self._response})

    def _numbered(self, event: Wire) -> Wire:
        event = event | {"sequence_number": self._number}
        self._number += 1
        return event
