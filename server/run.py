"""Running a server: bind first, then load models, serve, and end in good order.

The first SIGTERM or SIGINT drains: /readyz turns red, new requests get a 503, batches stop where they are, running requests
have `limits.drain_s`, then they are aborted and the engines closed (exit status 0). A second signal ends the process at once
(status 128 + signal).
"""

import asyncio
import errno
import logging
import os
import signal
import socket
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import uvicorn
from fastapi import FastAPI

from trimtab.server import logs
from trimtab.server.api.respond import drained
from trimtab.server.app import Build, create_app
from trimtab.server.errors import ServerError
from trimtab.server.service import Service
from trimtab.server.settings import HttpConfig, Settings

logger = logging.getLogger(__name__)

BACKLOG = 2048
KEEP_ALIVE_S = 75
"""Idle connections outlive those of common client pools, so that a client never writes into a closing one."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)
LAST_S = 3.0
"""How long the process may take after a second signal."""

OnReady = Callable[[str, Service], None]
"""Called once with the URL (`http://127.0.0.1:8000`, or `unix:PATH`) and the service when requests can be served."""


class CannotListen(ServerError, OSError):
    """The address cannot be bound; the message says why and what to change."""


def serve(settings: Settings, *, on_ready: OnReady | None = None, build: Build | None = None) -> None:
    """Serve until a signal ends it. Raises CannotListen before any model is loaded, and whatever the start raises.

    build: what makes the service, default `trimtab.server.assembly.build` of the settings.
    """
    logs.configure(settings.http)
    listener = bind(settings.http)
    try:
        app = create_app(settings, build=build, in_background=True)
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="on",
            ws="none",
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=1,
            backlog=BACKLOG,
        )
        server = _Server(config, app, url_of(settings.http, listener), on_ready)
        server.run(sockets=[listener])
    finally:
        listener.close()
        _remove_socket(settings.http)
    if app.state.failure is not None:
        raise app.state.failure
    if server.forced:
        sys.exit(128 + server.forced)


def bind(http: HttpConfig) -> socket.socket:
    """A bound socket of the configured address. Raises CannotListen."""
    return _bind_unix(http) if http.uds is not None else _bind_tcp(http)


def url_of(http: HttpConfig, listener: socket.socket) -> str:
    """Where clients find the socket."""
    if http.uds is not None:
        return f"unix:{http.uds}"
    host = f"[{http.host}]" if ":" in http.host else http.host
    return f"http://{host}:{listener.getsockname()[1]}"


def _bind_tcp(http: HttpConfig) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(http.host, http.port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise CannotListen(f"http.host {http.host!r} is no address of this machine: {error.strerror}") from None
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise CannotListen(_why(http, error)) from None
    return listener


def _why(http: HttpConfig, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {http.port} on {http.host} is in use by another program; choose another one with --port (0 = any free one)"
        )
    if error.errno == errno.EACCES:
        return f"port {http.port} on {http.host} may not be bound by this user; choose one from 1024 up with --port"
    return f"cannot listen on {http.host}:{http.port}: {error.strerror or error}"


def _bind_unix(http: HttpConfig) -> socket.socket:
    path = str(http.uds)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _clear_stale(path)
        before = os.umask(0o177)
        try:
            listener.bind(path)
        finally:
            os.umask(before)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise CannotListen(f"cannot listen on the socket {path}: {error.strerror or error}") from None
    return listener


def _clear_stale(path: str) -> None:
    """Remove a socket nobody listens on any more. Raises CannotListen where somebody does, or where it is no socket."""
    if not os.path.lexists(path):
        return
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise CannotListen(f"{path} exists and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        if probe.connect_ex(path) == 0:
            raise CannotListen(f"another server listens on the socket {path}")
    os.unlink(path)


def _remove_socket(http: HttpConfig) -> None:
    if http.uds is not None:
        with suppress(OSError):
            http.uds.unlink()


class _Server(uvicorn.Server):
    """Uvicorn, with a start that tells when it is ready and an end that drains."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, url: str, on_ready: OnReady | None) -> None:
        super().__init__(config)
        self._app = app
        self._url = url
        self._on_ready = on_ready
        self._signals = 0
        self.forced = 0
        """The signal that ended the server without order."""
        self._draining: asyncio.Task[None] | None = None
        self._waiting: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer; the engines start meanwhile."""
        await super().startup(sockets)
        self._waiting = asyncio.create_task(self._tell_when_ready(), name="wait for engines")

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals while serving; unlike uvicorn's own, a signal that was obeyed is not raised again afterwards."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        before = {number: signal.signal(number, self._on_signal(loop)) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, loop: asyncio.AbstractEventLoop) -> Callable[[int, FrameType | None], None]:
        """The handler: a second signal does not wait for a loop that may be blocked."""

        def handle(number: int, frame: FrameType | None) -> None:
            self._signals += 1
            if self._signals == 2:
                last = threading.Timer(LAST_S, os._exit, (128 + number,))
                last.daemon = True
                last.start()
            loop.call_soon_threadsafe(self._obey, number)

        return handle

    def _obey(self, number: int) -> None:
        """Drain; when already draining, end."""
        if self._draining is None:
            logger.info("got %s; draining", signal.Signals(number).name)
            self._draining = asyncio.create_task(self._drain(), name="drain")
        else:
            logger.warning("got %s again; ending at once", signal.Signals(number).name)
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
            self.forced = number
            self.force_exit = self.should_exit = True

    async def _drain(self) -> None:
        settings: Settings = self._app.state.settings
        await asyncio.gather(drained(self._app.state.gate, settings.limits.drain_s), self._app.state.batches.stop())
        self.should_exit = True

    async def _tell_when_ready(self) -> None:
        starting: asyncio.Task[None] = self._app.state.starting
        await asyncio.wait({starting})
        if starting.cancelled() or starting.exception() is not None:
            self.should_exit = True
        elif self._on_ready is not None:
            self._on_ready(self._url, self._app.state.service)
