"""What holds for the whole suite: hypothesis judges no test by the machine's speed, and no test leaves its logging behind."""

import logging
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("trimtab", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("trimtab")


@pytest.fixture(autouse=True)
def _logging_stays() -> Iterator[None]:
    """Commands and servers that run in this process configure its logging; afterwards it is as it was before."""
    loggers = [
        logging.getLogger(),
        *(one for one in logging.root.manager.loggerDict.values() if isinstance(one, logging.Logger)),
    ]
    levels, handlers = [(one, one.level) for one in loggers], list(logging.getLogger().handlers)
    yield
    logging.getLogger().handlers[:] = handlers
    for logger, level in levels:
        logger.setLevel(level)
