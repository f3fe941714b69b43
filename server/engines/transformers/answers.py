"""Token deltas as the deltas of an answer: log-probability entries in OpenAI's shape, and the usage at the end."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from trimtab.server.engines.transformers.pieces import Pieces
from trimtab.strategies.core.engine import Params, TokenDelta
from trimtab.strategies.core.messages import Delta, Usage


async def answer(
    tokens: AsyncGenerator[TokenDelta, None], prompt_tokens: int, params: Params, pieces: Pieces
) -> AsyncGenerator[Delta, None]:
    """The deltas of an answer; the last one carries nothing but the usage."""
    produced = cached = 0
    async with aclosing(tokens):
        async for delta in tokens:
            produced += len(delta.token_ids)
            cached = max(cached, delta.cached_tokens)
            yield Delta(
                index=delta.index,
                text=delta.text,
                finish_reason=delta.finish_reason,
                logprobs=_entries(delta, params.logprobs, pieces),
                token_ids=delta.token_ids,
            )
    yield Delta(usage=Usage(prompt_tokens, produced, cached))


def _entries(delta: TokenDelta, top: int | None, pieces: Pieces) -> tuple[Mapping[str, Any], ...]:
    """One entry a token, `{token, logprob, bytes, top_logprobs}`; the `top` best of each."""
    if top is None:
        return ()
    entries = []
    for token_id, value, best in zip(delta.token_ids, delta.logprobs, delta.top_logprobs, strict=True):
        most_likely = sorted(best.items(), key=lambda item: -item[1])[:top]
        entries.append(
            {**_entry(token_id, value, pieces), "top_logprobs": [_entry(one, number, pieces) for one, number in most_likely]}
        )
    return tuple(entries)


def _entry(token_id: int, logprob: float, pieces: Pieces) -> dict[str, Any]:
    return {"token": pieces.string_of(token_id), "logprob": logprob, "bytes": list(pieces.bytes_of(token_id))}
