"""The wire request of `/v1/embeddings`."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from trimtab.server.api.schemas.completions import CompletionPrompt


class EmbeddingRequest(BaseModel):
    """Texts or token ids to be embedded."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, strict=True)

    input: CompletionPrompt
    """A text, texts, token ids, or lists of token ids."""
    model: str | None = None
    """An embedding model of `/v1/models`; default its first."""
    encoding_format: Literal["float", "base64"] | None = None
    """Numbers (the default), or base64 of little-endian float32."""
    dimensions: int | None = Field(default=None, ge=1)
    """Shorter vectors, where the model was trained for that."""
    truncate_prompt_tokens: int | None = Field(default=None, ge=-1)
    """Tokens of an input that are read; -1 and 0 = as many as the model can. Without it, too long an input is an error."""
    user: str | None = None
    """A hint."""
