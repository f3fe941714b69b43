"""The lines of a batch file: each a request of its own; what is wrong with a line stays with that line."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, get_args

from trimtab.server.api.body import parse_object
from trimtab.server.wire import Endpoint
from trimtab.strategies.core.errors import RequestRefused

ENDPOINTS: tuple[Endpoint, ...] = get_args(Endpoint)
"""Where a line may go."""
MAX_ID_CHARS = 256
_ENDS_OF_URL = re.compile(r"^https?://[^/]+")


@dataclass(frozen=True, slots=True)
class RequestLine:
    """A request."""

    number: int
    """Its line in the file, from 1."""
    custom_id: str
    url: Endpoint
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is no request."""

    number: int
    """From 1."""
    custom_id: str | None
    """Where it could be read."""
    code: str
    message: str
    param: str | None = None


def read_lines(lines: Iterable[bytes], *, endpoint: Endpoint | None = None) -> Iterator[RequestLine | BadLine]:
    """Each line that is not blank, in order; a custom_id that came before makes a line bad. Holds one line at a time.

    endpoint: where every line must go; None = each where it says.
    """
    seen: set[str] = set()
    for number, raw in enumerate(lines, start=1):
        if not raw.strip():
            continue
        line = parse_line(raw, number, endpoint=endpoint)
        if isinstance(line, RequestLine) and line.custom_id in seen:
            message = f"the custom_id {line.custom_id!r} is on an earlier line too; each line needs one of its own"
            line = BadLine(number, line.custom_id, "duplicate_custom_id", message, "custom_id")
        if line.custom_id is not None:
            seen.add(line.custom_id)
        yield line


def parse_line(raw: bytes, number: int, *, endpoint: Endpoint | None = None) -> RequestLine | BadLine:
    """The request of a line, or what is wrong with it."""
    try:
        row = parse_object(raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw)
    except RequestRefused as error:
        return BadLine(number, None, "invalid_json_line", str(error).replace("request body", "line"))
    custom_id = row.get("custom_id")
    if not isinstance(custom_id, str) or not 0 < len(custom_id) <= MAX_ID_CHARS:
        message = f"custom_id must be a string of 1 to {MAX_ID_CHARS} characters, not {_shown(custom_id)}"
        return BadLine(number, None, "invalid_custom_id", message, "custom_id")
    fault = _fault(row, endpoint)
    if fault is not None:
        return BadLine(number, custom_id, *fault)
    return RequestLine(number, custom_id, _path(row["url"]), row["body"])  # type: ignore[arg-type]


def _fault(row: dict[str, Any], endpoint: Endpoint | None) -> tuple[str, str, str] | None:
    """Code, message and field of the first thing that is wrong, custom_id aside."""
    if row.get("method") != "POST":
        return "invalid_method", f"method must be 'POST', not {_shown(row.get('method'))}", "method"
    path = _path(row.get("url"))
    if path not in ENDPOINTS:
        return "invalid_url", f"url must be one of {', '.join(ENDPOINTS)}, not {_shown(row.get('url'))}", "url"
    if endpoint is not None and path != endpoint:
        return "mismatched_url", f"url is {path!r}; the batch is for {endpoint!r}", "url"
    if not isinstance(row.get("body"), dict):
        return "invalid_body", f"body must be a JSON object, not {_shown(row.get('body'))}", "body"
    if row["body"].get("stream"):
        return "invalid_body", "body.stream: a line is answered whole; leave it out", "body.stream"
    return None


def _path(url: Any) -> str:
    """The path of a url that may carry a host."""
    return _ENDS_OF_URL.sub("", url) if isinstance(url, str) else ""


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"
