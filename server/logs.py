"""Logging: one line an event, the request's id on each, text or JSON. Keys are never logged.

Prompts and completions are logged where `http.log_content` says so, by the logger `CONTENT` alone. Without it the stack of an
error inside a request is logged with its kind and not its words: whoever raised it may have put a prompt into them.
"""

import json
import logging
import sys
import time
import traceback
from contextvars import ContextVar
from types import TracebackType
from typing import Any

from trimtab.server.settings import HttpConfig

REQUEST_ID: ContextVar[str | None] = ContextVar("trimtab_request_id", default=None)
"""The id of the request in work, as the client sees it in `x-request-id`."""
STARTED_AT: ContextVar[float] = ContextVar("trimtab_started_at", default=0.0)
"""When it came, on `time.perf_counter()`."""

NEVER = logging.CRITICAL + 1
"""A level that nothing reaches; `disabled` would not do, because libraries that configure logging set it back."""
CONTENT = logging.getLogger("trimtab.content")
"""What was asked and answered; off until `configure` turns it on."""
CONTENT.setLevel(NEVER)

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "request_id", "taskName", "color_message"}
_NOISY = ("httpx", "httpx2", "httpcore", "urllib3", "filelock", "asyncio", "uvicorn.error")


class RequestIdFilter(logging.Filter):
    """Puts the request's id on every record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always true."""
        record.request_id = REQUEST_ID.get() or "-"
        return True


class TextFormatter(logging.Formatter):
    """`time level logger [request id] message`."""

    def __init__(self, *, content: bool = False) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s [%(request_id)s] %(message)s")
        self._content = content

    def formatException(self, ei: ExcInfo) -> str:
        """The stack, with words only where they may be shown."""
        return super().formatException(ei) if self._content or REQUEST_ID.get() is None else _wordless(ei[1])


class JsonFormatter(logging.Formatter):
    """One JSON object a line; what was given as `extra` becomes members of it."""

    def __init__(self, *, content: bool = False) -> None:
        super().__init__()
        self._content = content

    def formatException(self, ei: ExcInfo) -> str:
        """The stack, with words only where they may be shown."""
        return super().formatException(ei) if self._content or REQUEST_ID.get() is None else _wordless(ei[1])

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "request_id": getattr(record, "request_id", "-"),
            "message": record.getMessage(),
        }
        line.update({name: value for name, value in vars(record).items() if name not in _STANDARD})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def _wordless(error: BaseException | None) -> str:
    """The stacks of an error and of what caused it, the last first; kinds, places and lines of code, no messages."""
    told: list[str] = []
    seen: set[int] = set()
    while error is not None and id(error) not in seen:  # an error that is raised again may stand among its own causes
        seen.add(id(error))
        if told:
            told.append("because of ")
        told += [type(error).__qualname__, "\n", *traceback.format_tb(error.__traceback__)]
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "".join(told).rstrip()


def log_content(event: str, content: Any) -> None:
    """Log what was asked or answered, where that is allowed."""
    if CONTENT.isEnabledFor(logging.INFO):
        CONTENT.info(
            "%s %s", event, content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, default=str)
        )


def configure(http: HttpConfig) -> None:
    """Send all logs to standard error in the configured form; replaces handlers that were set before."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(RequestIdFilter())
    kind = JsonFormatter if http.log_json else TextFormatter
    handler.setFormatter(kind(content=http.log_content))
    CONTENT.setLevel(logging.NOTSET if http.log_content else NEVER)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("trimtab").setLevel(http.log_level.upper())
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
