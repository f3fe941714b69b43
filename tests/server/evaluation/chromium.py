"""A headless Chromium driven over its debugging pipe: no network, no other library."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FOUND = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome", "chrome") if (path := shutil.which(name)) is not None),
    None,
)
"""The browser of this machine; None where there is none."""
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions")


class Browser:
    """One page; what it complained of and what it asked the network for are kept."""

    def __init__(self, reads: int, writes: int) -> None:
        self._reads, self._writes = reads, writes
        self._pending = b""
        self._last = 0
        self._loaded = False
        self._session: str | None = None
        self.complaints: list[str] = []
        self.requests: list[str] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """What the browser answers to a command."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": params}
        session = {} if self._session is None else {"sessionId": self._session}
        os.write(self._writes, json.dumps({**message, **session}).encode() + b"\0")
        while (answer := self._next()).get("id") != self._last:
            pass
        assert "error" not in answer, (method, answer)
        result: dict[str, Any] = answer["result"]
        return result

    def open(self, url: str) -> None:
        """Go there and wait until it is loaded."""
        self._go("about:blank")  # else another part of the same page would load nothing
        self.complaints.clear()
        self.requests.clear()
        self._go(url)

    def _go(self, url: str) -> None:
        self._loaded = False
        self.send("Page.navigate", url=url)
        while not self._loaded:
            self._next()

    def ask(self, expression: str) -> Any:
        """The value of an expression in the page. Raises AssertionError where it throws."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """A key, as a person presses it."""
        for kind in ("keyDown", "keyUp"):
            text = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=13, **text)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._pending:
            read = os.read(self._reads, 1 << 16)
            assert read, "the browser ended"
            self._pending += read
        line, _, self._pending = self._pending.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        self._keep(message.get("method"), message.get("params", {}))
        return message

    def _keep(self, event: str | None, params: dict[str, Any]) -> None:
        if event == "Page.loadEventFired":
            self._loaded = True
        elif event == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"]))
        elif event == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(params["entry"]["text"])
        elif event == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.complaints.append(json.dumps(params["args"]))
        elif event == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A browser that resolves no name but reaches this machine by its address; its profile lies in the folder."""
    assert FOUND is not None
    (to_read, to_send), (from_read, from_send) = os.pipe(), os.pipe()
    moved = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 20) for fd in (to_read, from_send)]  # away from 3 and 4, which it reads
    quiet = os.open(os.devnull, os.O_RDWR)
    flags = [
        *FLAGS,
        "--remote-debugging-pipe",
        f"--user-data-dir={folder}",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ]
    actions = [(os.POSIX_SPAWN_DUP2, quiet, 1), (os.POSIX_SPAWN_DUP2, quiet, 2)]
    actions += [(os.POSIX_SPAWN_DUP2, moved[0], 3), (os.POSIX_SPAWN_DUP2, moved[1], 4)]
    process = os.posix_spawn(FOUND, [FOUND, *flags], {**os.environ, "HOME": str(folder)}, file_actions=actions)
    for fd in (to_read, from_send, quiet, *moved):
        os.close(fd)
    try:
        made = Browser(from_read, to_send)
        yield made
        made._session = None
        made.send("Browser.close")
    except BaseException:
        os.kill(process, 9)
        raise
    finally:
        os.waitpid(process, 0)
        os.close(to_send)
        os.close(from_read)
