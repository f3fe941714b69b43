"""A module run as a program that ends with its caller: `python -m trimtab.artifacts.guarded MODULE ARGUMENT...`.

The caller holds this process's standard input open. Its end of file means that the caller is gone, by whatever cause,
and then this process ends at once, so that no orphan goes on writing into the cache.
"""

import os
import runpy
import sys
import threading


def end_with_caller() -> None:
    """Watch standard input in a thread and end the process when it is closed."""

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    end_with_caller()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
