"""Server-sent events from bytes, as they arrive: the `data` of each event; comments, names and ids are passed over."""

import codecs
from dataclasses import dataclass, field

LONGEST_EVENT_CHARS = 32 * 1024 * 1024
"""A stream that sends more without ending an event is not a stream of events."""


class EventTooLong(ValueError):
    """An event exceeds `LONGEST_EVENT_CHARS`."""


@dataclass(slots=True)
class EventDecoder:
    """Cuts a byte stream into events. Lines may end with LF, CRLF or CR; `data` lines of one event are joined by LF."""

    _text: codecs.IncrementalDecoder = field(default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace"))
    _rest: str = ""
    _data: list[str] = field(default_factory=list)

    def feed(self, chunk: bytes) -> list[str]:
        """The data of the events that this chunk completes. Raises EventTooLong."""
        self._rest += self._text.decode(chunk)
        if len(self._rest) > LONGEST_EVENT_CHARS:
            raise EventTooLong(f"an event is longer than {LONGEST_EVENT_CHARS} characters")
        events = []
        for line in self._lines():
            if line:
                self._field(line)
            elif self._data:
                events.append(self._take())
        return events

    def end(self) -> list[str]:
        """The event that the stream's end leaves without its blank line, if any."""
        if self._rest:
            self._field(self._rest.rstrip("\r"))
            self._rest = ""
        return [self._take()] if self._data else []

    def _lines(self) -> list[str]:
        text, held = self._rest, ""
        if text.endswith("\r"):
            text, held = text[:-1], "\r"
        *lines, self._rest = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self._rest += held
        return lines

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        if name == "data":
            self._data.append(value.removeprefix(" "))

    def _take(self) -> str:
        data = "\n".join(self._data)
        self._data.clear()
        return data
