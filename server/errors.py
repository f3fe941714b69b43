"""Errors of the server itself, beside the strategies' tree (`trimtab.strategies.core.errors`).

ServerError
├── NotFound              404, a model, file, corpus, ... that does not exist
│   └── ModelNotFound
├── Unauthenticated       401
├── Forbidden             403, the key may not do this
├── Conflict              409, the name is taken
├── RateLimited           429
├── Overloaded            503, the queue is full or the server drains
├── BodyTooLarge          413
└── StorageFull           507, the disk is full
"""


class ServerError(Exception):
    """Root of the tree; `param` names the request's field where there is one."""

    code = "internal_error"

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code or self.code


class NotFound(ServerError):
    """Something named in the request does not exist."""

    code = "not_found"


class ModelNotFound(NotFound):
    """No served model or alias has this name."""

    code = "model_not_found"


class Unauthenticated(ServerError):
    """No key, or a wrong one."""

    code = "invalid_api_key"


class Forbidden(ServerError):
    """The key may not do this."""

    code = "insufficient_scope"


class Conflict(ServerError):
    """What is to be made is there already; trying again does not help."""

    code = "conflict"


class RateLimited(ServerError):
    """This key has too many requests in work or in this minute."""

    code = "rate_limit_exceeded"

    def __init__(self, message: str, *, retry_after_s: float, param: str | None = None) -> None:
        super().__init__(message, param=param)
        self.retry_after_s = retry_after_s


class Overloaded(ServerError):
    """The server has too much work, or is shutting down."""

    code = "overloaded"

    def __init__(self, message: str, *, retry_after_s: float, param: str | None = None) -> None:
        super().__init__(message, param=param)
        self.retry_after_s = retry_after_s


class BodyTooLarge(ServerError):
    """The request body is over `limits.body_mib`, or a file over `jobs.file_mib` or what its key may keep."""

    code = "request_too_large"


class StorageFull(ServerError):
    """The disk that the server keeps things on is full; trying again does not help until somebody has made room."""

    code = "insufficient_storage"
