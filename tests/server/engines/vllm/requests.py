"""Bodies and readings that the tests of the vLLM engine share."""

import json
from collections.abc import Mapping
from contextlib import aclosing
from itertools import count
from typing import Any

from trimtab.server.engines.vllm import VllmEngine
from trimtab.strategies.core.engine import Call

_numbers = count()

PARIS = ({"role": "user", "content": "What is the capital of France?"},)


def call(**fields: Any) -> Call:
    """A call under an id of its own."""
    return Call(f"test-{next(_numbers)}", **fields)


def body(*messages: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """A greedy chat request of a few tokens."""
    return {"messages": list(messages or PARIS), "temperature": 0, "max_tokens": 8, **fields}


async def chunks(engine: VllmEngine, request: Mapping[str, Any], under: Call | None = None) -> list[dict[str, Any]]:
    """All chunks of a streamed chat answer."""
    async with aclosing(engine.wire.chat_stream(request, under or call())) as stream:
        return [json.loads(chunk) async for chunk in stream]


async def seen_ids(engine: VllmEngine, request: Mapping[str, Any]) -> list[int]:
    """The prompt ids that the engine saw for a chat request."""
    answer = await engine.wire.chat({**request, "max_tokens": 1, "return_token_ids": True}, call())
    return list(answer["prompt_token_ids"])
