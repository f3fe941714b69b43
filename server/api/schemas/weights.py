"""The wire request of `/v1/models/{model}/weights`."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from trimtab.server.api.refusal import validated
from trimtab.strategies.core.errors import RequestRefused


class WeightsRequest(BaseModel):
    """New weights for a served model."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, strict=True)

    path: str = Field(max_length=4096)
    """Absolute path of a checkpoint directory, where the server runs."""


def weights_directory(body: dict[str, object]) -> Path:
    """The directory of a request. Raises RequestRefused naming the wrong field."""
    path = validated(WeightsRequest, body).path
    if not Path(path).is_absolute():
        raise RequestRefused(f"path: {path[:200]!r} is not absolute; the server's working directory is its own", param="path")
    return Path(path)
