"""Deltas from the chunks of an upstream, and the requests that ask for them."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from trimtab.server.engines.base import Wire
from trimtab.server.wire import usage_of
from trimtab.strategies.core.messages import Delta, Usage

_KNOWN = frozenset({"role", "content"})
_FINISH = {"repetition": "length"}
"""vLLM's own finish reasons, in OpenAI's words."""


def chat_deltas(chunk: Wire) -> list[Delta]:
    """The deltas of a `chat.completion.chunk`."""
    return [_chat_delta(choice) for choice in chunk.get("choices") or ()]


def text_deltas(chunk: Wire) -> list[Delta]:
    """The deltas of a `text_completion` chunk."""
    return [
        Delta(
            index=choice.get("index", 0),
            text=choice.get("text") or "",
            finish_reason=finish_of(choice),
            logprobs=_legacy_logprobs(choice.get("logprobs")),
            token_ids=tuple(choice.get("token_ids") or ()),
        )
        for choice in chunk.get("choices") or ()
    ]


def finish_of(choice: Mapping[str, Any]) -> str | None:
    """Why a choice ended, in OpenAI's words; None while it goes on."""
    reason = choice.get("finish_reason")
    return _FINISH.get(reason, reason) if reason else None


def _chat_delta(choice: Mapping[str, Any]) -> Delta:
    delta = choice.get("delta") or {}
    return Delta(
        index=choice.get("index", 0),
        text=delta.get("content") or "",
        finish_reason=finish_of(choice),
        logprobs=tuple((choice.get("logprobs") or {}).get("content") or ()),
        fields={key: value for key, value in delta.items() if key not in _KNOWN and value is not None},
        token_ids=tuple(choice.get("token_ids") or ()),
    )


def _legacy_logprobs(wire: Mapping[str, Any] | None) -> tuple[Mapping[str, Any], ...]:
    """Entries of the chat shape from the parallel lists of `/v1/completions`."""
    if not wire:
        return ()
    tokens, tops = wire.get("tokens") or (), wire.get("top_logprobs") or ()
    return tuple(
        {**_entry(token, value), "top_logprobs": [_entry(*item) for item in _pairs(tops, place)]}
        for place, (token, value) in enumerate(zip(tokens, wire.get("token_logprobs") or (), strict=False))
    )


def _pairs(tops: Sequence[Mapping[str, float] | None], place: int) -> list[tuple[str, float]]:
    return list((tops[place] or {}).items()) if place < len(tops) else []


def _entry(token: str, logprob: float | None) -> Wire:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}


async def merged(sources: Sequence[AsyncGenerator[Delta, None]]) -> AsyncGenerator[tuple[int, Delta], None]:
    """The deltas of several calls as they come, each with the number of its source.

    Raises what the first failing call raises; the others are closed then.
    """
    queue: asyncio.Queue[tuple[int, Delta | Exception | None]] = asyncio.Queue()

    async def pump(number: int, source: AsyncGenerator[Delta, None]) -> None:
        outcome: Exception | None = None
        try:
            async with aclosing(source):
                async for delta in source:
                    queue.put_nowait((number, delta))
        except Exception as error:  # noqa: BLE001 - handed to the consumer, who raises it
            outcome = error
        queue.put_nowait((number, outcome))

    tasks = [asyncio.create_task(pump(number, source)) for number, source in enumerate(sources)]
    running = len(tasks)
    try:
        while running:
            number, item = await queue.get()
            if item is None:
                running -= 1
            elif isinstance(item, Exception):
                raise item
            else:
                yield number, item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def usage_in(chunk: Wire) -> Usage | None:
    """The counts in a chunk; None without, or for an empty object."""
    return usage_of(chunk["usage"]) if chunk.get("usage") else None
