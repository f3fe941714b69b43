"""Everything that can go wrong while a request is aligned, as one tree.

StrategyError
├── ConfigError              a strategy or its parameters make no sense           (unknown_strategy, invalid_value)
│   ├── UnknownStrategy
│   ├── CorpusNotFound       no corpus of that name
│   ├── MissingCapability    the engine lacks a port the pipeline needs
│   └── MissingRole          a strategy needs an engine nobody configured
├── RequestRefused           this request cannot be honoured                       (names the field)
│   └── ContextLengthExceeded
├── BudgetExceeded           calls or tokens of `alignment.budget` are spent
├── DeadlineExceeded
├── StrategyNotAllowed       a lock or policy forbids it
└── EngineError
    ├── EngineUnavailable    dead, starting, draining or full: try again
    ├── UpstreamError        another server answered with an error
    │   └── UpstreamTimeout
    └── EngineFailure        the engine failed on this request
"""

from collections.abc import Mapping
from typing import Any


class StrategyError(Exception):
    """Root of the tree."""


class ConfigError(StrategyError):
    """A strategy or its parameters make no sense; the message names the value and what is allowed."""

    def __init__(self, message: str, *, param: str = "alignment.strategy", code: str = "invalid_value") -> None:
        super().__init__(message)
        self.param = param
        self.code = code


class UnknownStrategy(ConfigError):
    """No strategy or pipeline of that name."""

    def __init__(self, message: str, *, param: str = "alignment.strategy") -> None:
        super().__init__(message, param=param, code="unknown_strategy")


class CorpusNotFound(ConfigError):
    """No corpus of that name."""

    def __init__(self, message: str, *, param: str = "alignment.strategy") -> None:
        super().__init__(message, param=param, code="corpus_not_found")


class MissingCapability(ConfigError):
    """The engine lacks a port that the pipeline needs."""

    def __init__(self, message: str, *, param: str = "alignment.strategy") -> None:
        super().__init__(message, param=param, code="unsupported_by_engine")


class MissingRole(ConfigError):
    """A strategy needs an engine (aligner, reward, ...) that nobody configured."""

    def __init__(self, message: str, *, param: str = "alignment.strategy") -> None:
        super().__init__(message, param=param, code="missing_role")


class RequestRefused(StrategyError):
    """This request cannot be honoured as it stands; nothing was generated."""

    def __init__(self, message: str, *, param: str | None = None, code: str = "invalid_value") -> None:
        super().__init__(message)
        self.param = param
        self.code = code


class ContextLengthExceeded(RequestRefused):
    """Prompt (with a strategy's additions) and answer do not fit the context window."""

    def __init__(self, message: str, *, param: str | None = "messages") -> None:
        super().__init__(message, param=param, code="context_length_exceeded")


class BudgetExceeded(StrategyError):
    """The calls or tokens of `alignment.budget` are spent."""


class DeadlineExceeded(StrategyError):
    """`alignment.budget.deadline_ms` has passed."""


class StrategyNotAllowed(StrategyError):
    """A locked pipeline or the key's policy forbids what was asked."""


class EngineError(StrategyError):
    """Root of what engines raise beside RequestRefused."""


class EngineUnavailable(EngineError):
    """The engine cannot take the request now: dead, starting, draining or full."""

    def __init__(self, message: str, *, retry_after_s: float = 5.0, code: str = "engine_unavailable") -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.code = code


class UpstreamError(EngineError):
    """Another server answered with an error; its status and retry-after are kept."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        body: Mapping[str, Any] | None = None,
        retry_after: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = body
        self.retry_after = retry_after


class UpstreamTimeout(UpstreamError):
    """Another server did not answer in time (status 504)."""


class EngineFailure(EngineError):
    """The engine failed on this request; others are not affected."""
