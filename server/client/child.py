"""The child's side of a private server: it ends when the process that started it is gone, however that ended."""

import os
import signal
import threading

PARENT_FD = "TRIMTAB_PARENT_FD"
"""Environment variable that holds the number of the pipe's reading end; the parent holds the other end and never writes."""
GRACE_S = 15.0
"""How long the server may drain once nobody is left to read its answers."""


def exit_with_parent(fd: int) -> None:
    """Watch the pipe `fd` in a thread; at its end send this process SIGTERM, and end it `GRACE_S` seconds later.

    A pipe, not a parent-death signal: that one fires when the *thread* that started the child ends.
    """
    os.set_inheritable(fd, False)
    threading.Thread(target=_watch, args=(fd,), name="parent-watch", daemon=True).start()


def _watch(fd: int) -> None:
    while os.read(fd, 1):
        pass
    last = threading.Timer(GRACE_S, os._exit, (128 + signal.SIGTERM,))
    last.daemon = True
    last.start()
    os.kill(os.getpid(), signal.SIGTERM)
