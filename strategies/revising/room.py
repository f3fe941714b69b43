"""Room in the context window: a longer prompt leaves less for the answer than the request allowed for its own."""

import asyncio
import json
from dataclasses import replace

from trimtab.strategies.core.engine import Params, Ports
from trimtab.strategies.core.lengths import BYTES_PER_TOKEN
from trimtab.strategies.core.messages import Conversation, Prompt

TURN_TOKENS = 16
"""At least what a chat template puts around a turn."""


async def fitted(params: Params, prompt: Prompt, engine: Ports) -> Params:
    """The parameters with at most as many tokens as the window has left behind this prompt.

    Counted with the engine's tokenizer where it shows one, else estimated from above. A prompt that leaves no room is left for
    the engine to refuse.
    """
    window, longest = engine.capabilities.max_model_len, params.max_tokens
    if window is None or longest is None or _bytes(prompt, params) + longest <= window:
        return params
    room = window - await _length(prompt, params, engine)
    if room < 1 or longest <= room:
        return params
    return replace(params, max_tokens=room, min_tokens=min(params.min_tokens, room))


async def _length(prompt: Prompt, params: Params, engine: Ports) -> int:
    """Tokens of a prompt; the tokenizer may be another server's, so it is asked in a thread."""
    tokens = engine.tokens
    if tokens is None:
        return -(-_bytes(prompt, params) // BYTES_PER_TOKEN)
    if not isinstance(prompt, Conversation):
        return await asyncio.to_thread(lambda: len(tokens.encode_text(prompt)))
    return await asyncio.to_thread(lambda: len(tokens.encode_chat(prompt))) + _shown(params) // BYTES_PER_TOKEN


def _bytes(prompt: Prompt, params: Params) -> int:
    """More than a prompt has tokens: its bytes, and what a template adds."""
    if not isinstance(prompt, Conversation):
        return len(prompt.text.encode()) + TURN_TOKENS
    said = sum(len(message.text.encode()) + TURN_TOKENS for message in prompt.messages)
    return said + len((prompt.prefill or "").encode()) + 4 * TURN_TOKENS + _shown(params)


def _shown(params: Params) -> int:
    """Bytes of what a template shows beside the messages."""
    return len(json.dumps(dict(params.native), default=str)) if params.native else 0
