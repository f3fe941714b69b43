"""The rating page served on a free port of this machine."""

import secrets
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import uvicorn

from trimtab.server.evaluation.raters.page import rating_app
from trimtab.server.evaluation.raters.pairs import Pair, RatersError
from trimtab.server.evaluation.raters.ratings import RatingFile


@contextmanager
def served(pairs: Sequence[Pair], ratings: RatingFile) -> Iterator[str]:
    """The page's address while it can be opened. Raises RatersError where it cannot be served."""
    token = secrets.token_urlsafe(24)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(rating_app(pairs, ratings, token), log_level="warning", access_log=False, lifespan="off")
        server = _Settling(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="rating page")
        thread.start()
        try:
            server.settled.wait()
            if not server.started:
                raise RatersError("the page cannot be served on this machine")
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/{token}/"
        finally:
            server.should_exit = True
            thread.join()


class _Settling(uvicorn.Server):
    """Tells when its start is over."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.settled = threading.Event()

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve to the end; what waits for the start is not left waiting."""
        try:
            super().run(sockets=sockets)
        finally:
            self.settled.set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then tell."""
        await super().startup(sockets=sockets)
        self.settled.set()
