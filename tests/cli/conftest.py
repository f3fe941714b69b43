"""Commands that run in this process configure its logging; it is as it was before after each test."""

import logging
from collections.abc import Iterator

import pytest

from trimtab.server.logs import CONTENT


@pytest.fixture(autouse=True)
def _logging_stays() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in (None, "trimtab", *logging.root.manager.loggerDict)]
    levels, handlers = {one: one.level for one in (*loggers, CONTENT)}, list(logging.getLogger().handlers)
    yield
    logging.getLogger().handlers[:] = handlers
    for logger, level in levels.items():
        logger.setLevel(level)
