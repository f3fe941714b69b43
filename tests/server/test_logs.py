"""Log lines of errors."""

import logging

from trimtab.server.logs import REQUEST_ID, TextFormatter


def test_an_error_that_stands_among_its_own_causes_is_told_once() -> None:
    first, second = ValueError("a prompt"), KeyError("another")
    first.__context__, second.__context__ = second, first
    record = logging.LogRecord("trimtab", logging.WARNING, __file__, 1, "failed", None, (ValueError, first, None))
    record.request_id = "r1"
    token = REQUEST_ID.set("r1")
    try:
        told = TextFormatter().format(record)
    finally:
        REQUEST_ID.reset(token)
    assert told.endswith("failed\nValueError\nbecause of KeyError")
    assert "prompt" not in told
