"""How many tokens texts have: exactly where the policy's tokenizer is at hand, by an upper estimate where it is not."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from trimtab.strategies.core.context import RequestContext
from trimtab.strategies.core.messages import Segment, Text

BYTES_PER_TOKEN = 3
"""Of the estimate: fewer than tokenizers reach on prose, so that a budget holds."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """Token counts of several texts."""

    counts: tuple[int, ...]
    exact: bool
    """False where the policy shows no tokenizer and bytes were counted instead."""


async def token_lengths(texts: Sequence[str], ctx: RequestContext) -> Lengths:
    """Tokens of each text, special tokens left out. The tokenizer may be another server's, so it is asked in a thread."""
    tokens = ctx.engine().tokens
    if tokens is None:
        return Lengths(tuple(-(-len(text.encode()) // BYTES_PER_TOKEN) for text in texts), exact=False)
    prompts = [Text((Segment("content", text),), add_bos=False) for text in texts]
    counts = await asyncio.to_thread(lambda: tuple(len(tokens.encode_text(prompt)) for prompt in prompts))
    return Lengths(counts, exact=True)
