"""Logging: one line an event, the request's id on each, text or JSON. Prompts, completions and keys are never logged here."""

import json
import logging
import sys
import time
from contextvars import ContextVar

from trimtab.server.settings import HttpConfig

REQUEST_ID: ContextVar[str | None] = ContextVar("trimtab_request_id", default=None)
"""The id of the request in work, as the client sees it in `x-request-id`."""
STARTED_AT: ContextVar[float] = ContextVar("trimtab_started_at", default=0.0)
"""When it came, on `time.perf_counter()`."""

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

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s [%(request_id)s] %(message)s")


class JsonFormatter(logging.Formatter):
    """One JSON object a line; what was given as `extra` becomes members of it."""

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


def configure(http: HttpConfig) -> None:
    """Send all logs to standard error in the configured form; replaces handlers that were set before."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(RequestIdFilter())
    handler.setFormatter(JsonFormatter() if http.log_json else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("trimtab").setLevel(http.log_level.upper())
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
