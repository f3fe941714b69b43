"""When and after how long a request is repeated."""

import random
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from trimtab.server.engines.upstream.retry import is_retryable, retry_after_s, wait_s


@pytest.mark.parametrize(
    ("status", "verdict", "expected"),
    [
        (429, "", True),
        (408, "", True),
        (500, "", True),
        (503, "", True),
        (400, "", False),
        (409, "", False),
        (429, "false", False),
        (400, "true", True),
    ],
)
def test_what_is_repeated(status: int, verdict: str, expected: bool) -> None:
    assert is_retryable(status, {"x-should-retry": verdict} if verdict else {}) is expected


def test_milliseconds_win_over_seconds_and_a_date_is_understood() -> None:
    assert retry_after_s({"retry-after-ms": "1500", "retry-after": "9"}) == 1.5
    assert retry_after_s({"retry-after": "9"}) == 9
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert 25 < (retry_after_s({"retry-after": soon}) or 0) <= 30
    assert retry_after_s({"retry-after": "nonsense"}) is None


def test_a_wait_that_is_too_long_is_none() -> None:
    rng = random.Random(0)
    assert wait_s(1, {"retry-after": "120"}, rng) == 120
    assert wait_s(1, {"retry-after": "121"}, rng) is None


def test_backoff_doubles_to_eight_seconds_less_a_quarter_at_most() -> None:
    # 0.5 * 2^(attempt - 1), capped at 8, times 0.75 to 1
    rng = random.Random(0)
    for attempt, full in [(1, 0.5), (2, 1), (3, 2), (5, 8), (9, 8)]:
        assert 0.75 * full <= (wait_s(attempt, {}, rng) or 0) <= full
