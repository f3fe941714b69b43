"""A server that sends the first piece of an answer, and the rest only once the client has told it that the piece arrived."""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
ALIGNMENT = {"strategy": ["value_prompt"], "status": "applied", "changed": True, "steps": [], "warnings": ["w"], "new": 1}


class Paced:
    """An ASGI app. `arrived` is set by the test; without it the answer never goes on."""

    def __init__(self) -> None:
        self.arrived = threading.Event()
        self.bodies: list[dict[str, Any]] = []

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        self.bodies.append(json.loads((await receive())["body"]))
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": chunk({"role": "assistant", "content": "Hel"}), "more_body": True})
        if not await asyncio.to_thread(self.arrived.wait, 5):
            raise TimeoutError("the first piece did not arrive before the rest was sent")
        last = chunk({"content": "lo"}, finish_reason="stop", alignment=ALIGNMENT)
        await send({"type": "http.response.body", "body": last + b"data: [DONE]\n\n"})


def chunk(delta: dict[str, Any], finish_reason: str | None = None, **top: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice], **top}
    return f"data: {json.dumps(body)}\n\n".encode()
