"""Downloads: the bytes of a file, sent as fast as its reader takes them and never whole in memory."""

import asyncio
from collections.abc import Callable
from typing import BinaryIO
from urllib.parse import quote

from fastapi import Response
from starlette.types import Receive, Scope, Send

from trimtab.server.api.interrupt import Interrupt

CHUNK_BYTES = 256 * 1024


class Download(Response):
    """Reads when the server sends it, and stops where the client goes."""

    media_type = "application/octet-stream"

    def __init__(self, opened: Callable[[], BinaryIO], size: int, filename: str) -> None:
        """`opened` opens the bytes, of which there are `size`; `filename` is what the client calls them."""
        super().__init__()
        self._opened = opened
        self.headers["content-length"] = str(size)
        self.headers["content-disposition"] = f"attachment; filename*=UTF-8''{quote(filename, safe='')}"
        self.headers["x-content-type-options"] = "nosniff"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file. Raises NotFound where it was deleted meanwhile."""
        with self._opened() as file:
            async with Interrupt(receive):
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                await send({"type": "http.response.body", "body": b"", "more_body": False})
