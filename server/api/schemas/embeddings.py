"""The wire request of `/v1/embeddings`."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from trimtab.server.api.schemas.completions import Ids


def _shape(value: Any) -> str:
    """Which of the four forms an input has."""
    if not isinstance(value, list):
        return "text"
    first = value[0] if value else ""
    return "ids" if isinstance(first, int) else "id_lists" if isinstance(first, list) else "texts"


EmbeddingInput = Annotated[
    Annotated[str, Tag("text")]
    | Annotated[list[str], Field(min_length=1), Tag("texts")]
    | Annotated[Ids, Tag("ids")]
    | Annotated[list[Ids], Tag("id_lists")],
    Discriminator(_shape),
]


class EmbeddingRequest(BaseModel):
    """Texts or token ids to be embedded."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, strict=True)

    input: EmbeddingInput
    """A text, texts, token ids, or lists of token ids."""
    model: str | None = None
    """An embedding model of `/v1/models`; default its first."""
    encoding_format: Literal["float", "base64"] | None = None
    """Numbers (the default), or base64 of little-endian float32."""
    dimensions: int | None = Field(default=None, ge=1)
    """Shorter vectors, where the model was trained for that."""
    truncate_prompt_tokens: int | None = Field(default=None, ge=-1)
    """Longest input in tokens, the rest is not read; -1 and 0 = what the model reads. Without it, too long an input is an error."""
    user: str | None = None
    """A hint."""
