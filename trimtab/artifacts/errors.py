"""Errors of the artifacts package.

ArtifactError
├── UnknownModel          no source of that name; names the nearest aliases
├── InvalidModel          a directory or file that cannot be served as it is
├── LicenceNotAccepted    gated terms that nobody has accepted yet
├── NotCached             offline, and not in the cache
├── FetchFailed           a download did not succeed
│   ├── PipMissing        wheels cannot be fetched without pip
│   ├── ChecksumMismatch  a downloaded file is not the pinned one
│   └── HubUnreachable    the Hugging Face hub did not answer, or refused
├── ConversionFailed      a GGUF file could not be made into safetensors
└── StorageFailed         the cache directory could not be written
    └── DiskFull          ... because no space is left

Every message names the value at fault and what would work instead.
"""


class ArtifactError(Exception):
    """Root of the errors raised while a model is found, fetched or converted."""


class UnknownModel(ArtifactError):
    """No catalogue alias, path or hub id fits the given source."""


class InvalidModel(ArtifactError):
    """The source exists but holds no model that can be served as it is."""


class LicenceNotAccepted(ArtifactError):
    """The model's terms have to be accepted first; the message shows where they are and how."""


class NotCached(ArtifactError):
    """Work is offline and the model is not in the cache."""


class FetchFailed(ArtifactError):
    """A download did not succeed."""


class PipMissing(FetchFailed):
    """The interpreter has no pip to fetch wheels with."""


class ChecksumMismatch(FetchFailed):
    """A file's SHA-256 is not the one that the catalogue pins."""


class HubUnreachable(FetchFailed):
    """The Hugging Face hub did not answer, or refused the request."""


class ConversionFailed(ArtifactError):
    """A GGUF file could not be made into a safetensors directory."""


class StorageFailed(ArtifactError):
    """The cache directory could not be written."""


class DiskFull(StorageFailed):
    """No space is left for the cache directory."""
