"""`/v1/embeddings`: unit vectors of texts or token ids, as floats or as base64 of little-endian float32."""

import asyncio
import base64
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, Request

from trimtab.retrieval.encoder import Encoder, EncoderInputError, Vectors
from trimtab.server.api.auth import require
from trimtab.server.api.body import documented, read_object
from trimtab.server.api.refusal import validated
from trimtab.server.api.respond import within_limits
from trimtab.server.api.schemas.caps import check_caps
from trimtab.server.api.schemas.embeddings import EmbeddingRequest
from trimtab.server.engines.base import Wire
from trimtab.server.exchange import Principal
from trimtab.server.service import Service
from trimtab.strategies.core.errors import ContextLengthExceeded, RequestRefused

router = APIRouter(tags=["embeddings"])


@dataclass(frozen=True, slots=True)
class Embedded:
    """What an encoder made of a request."""

    vectors: Vectors
    tokens: int
    """Tokens that were read."""


@router.post("/v1/embeddings", openapi_extra=documented(EmbeddingRequest))
async def create_embeddings(request: Request, caller: Annotated[Principal, Depends(require("infer"))]) -> dict[str, Any]:
    """One vector an input, in order."""
    service: Service = request.app.state.service
    work = embedding_work(service, await read_object(request), caller)
    embedded: Wire = await within_limits(request, caller, work)
    return embedded


async def embeddings_of(service: Service, body: dict[str, Any], caller: Principal) -> Wire:
    """The answer to an embedding request. Raises what is wrong with it."""
    return await embedding_work(service, body, caller)()


def embedding_work(service: Service, body: dict[str, Any], caller: Principal) -> Callable[[], Awaitable[Wire]]:
    """What answers an embedding request once its turn has come. Raises what can be refused before."""
    wanted = validated(EmbeddingRequest, body)
    check_caps(body, service.settings.limits, "embeddings")
    encoder = service.embedder(wanted.model, caller)

    async def work() -> Wire:
        embedded = await asyncio.to_thread(embed, encoder, wanted)
        return embeddings_object(embedded, wanted, encoder.name)

    return work


def embeddings_object(embedded: Embedded, wanted: EmbeddingRequest, model: str) -> Wire:
    """OpenAI's object of vectors."""
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": rendered(vector, wanted.encoding_format)}
            for index, vector in enumerate(embedded.vectors)
        ],
        "model": model,
        "usage": {"prompt_tokens": embedded.tokens, "total_tokens": embedded.tokens},
    }


def embed(encoder: Encoder, wanted: EmbeddingRequest) -> Embedded:
    """Vectors of the inputs, cut to `dimensions` where the model was trained for that. Blocks; raises RequestRefused."""
    width = _width(encoder, wanted.dimensions)
    sequences = _sequences(encoder, wanted)
    try:
        vectors = encoder.encode_ids(sequences)
    except EncoderInputError as error:
        raise RequestRefused(str(error), param=f"input.{error.index}") from error
    if width < encoder.dimension:
        vectors = vectors[:, :width] / np.linalg.norm(vectors[:, :width], axis=1, keepdims=True)
    return Embedded(vectors, sum(len(ids) for ids in sequences))


def _width(encoder: Encoder, dimensions: int | None) -> int:
    """The length of the vectors. Raises RequestRefused for one the model was not trained to be cut to."""
    if dimensions is None or dimensions == encoder.dimension:
        return encoder.dimension
    allowed = sorted({*encoder.nested_dimensions, encoder.dimension})
    if dimensions not in allowed:
        shown = ", ".join(map(str, allowed))
        raise RequestRefused(
            f"{encoder.name!r} has no vectors of {dimensions} dimensions; allowed: {shown}", param="dimensions"
        )
    return dimensions


def _sequences(encoder: Encoder, wanted: EmbeddingRequest) -> list[list[int]]:
    """The ids of each input. Raises ContextLengthExceeded for one that is too long and may not be cut."""
    truncate, limit = wanted.truncate_prompt_tokens, None
    if truncate is not None:
        limit = min(truncate, encoder.max_tokens) if truncate > 0 else encoder.max_tokens
    texts, sequences = split_input(wanted.input)
    sequences = encoder.token_ids(texts, limit=limit) if texts else [ids[:limit] for ids in sequences]
    for index, ids in enumerate(sequences):
        if len(ids) > encoder.max_tokens:
            raise ContextLengthExceeded(
                f"input {index} has {len(ids)} tokens; {encoder.name!r} reads {encoder.max_tokens} "
                "(truncate_prompt_tokens=-1 reads the beginning)",
                param=f"input.{index}",
            )
    return sequences


def split_input(given: str | Sequence[str | int | Sequence[int]]) -> tuple[list[str], list[list[int]]]:
    """The texts of an input, or its token id lists; one of the two is empty."""
    if isinstance(given, str):
        return [given], []
    if all(isinstance(one, int) for one in given):
        return [], [[one for one in given if isinstance(one, int)]]
    return [one for one in given if isinstance(one, str)], [list(one) for one in given if not isinstance(one, str | int)]


def rendered(vector: Vectors, encoding_format: str | None) -> list[float] | str:
    """A vector on the wire."""
    if encoding_format == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return [float(value) for value in vector]
