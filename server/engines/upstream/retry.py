"""When a failed request is sent again, and after how long: arithmetic on statuses and headers, no input or output."""

import random
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_WAIT_S = 120.0
"""A longer `retry-after` means: do not wait here; it is handed on to the client."""
FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 8.0
JITTER = 0.25
"""Largest share by which a backoff is shortened, so that clients do not return in step."""


def is_retryable(status: int, headers: Mapping[str, str]) -> bool:
    """Whether the same request may succeed later: 408, 429 and 5xx, unless `x-should-retry` says otherwise."""
    verdict = headers.get("x-should-retry", "").strip().lower()
    if verdict in {"true", "false"}:
        return verdict == "true"
    return status in {408, 429} or status >= 500


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds the server asks to wait: `retry-after-ms`, else `retry-after` in seconds or as a date; None without."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = _number(value)
    return _until(value) if value and seconds is None else seconds


def wait_s(attempt: int, headers: Mapping[str, str], rng: random.Random) -> float | None:
    """Seconds before attempt number `attempt` (from 1) is repeated; None = do not repeat, the server asks for too long."""
    asked = retry_after_s(headers)
    if asked is not None and asked > 0:
        return asked if asked <= LONGEST_WAIT_S else None
    backoff = min(FIRST_BACKOFF_S * 2.0 ** (attempt - 1), LONGEST_BACKOFF_S)
    return backoff * (1 - JITTER * rng.random())


def _number(value: str | None) -> float | None:
    try:
        return float(value) if value else None
    except ValueError:
        return None


def _until(value: str) -> float | None:
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
