"""The guard of engine processes."""

import subprocess
import sys
import time

from trimtab.server.engines.vllm.guard import Guard

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]

DYING_SERVER = """
import os, signal, subprocess, sys
from trimtab.server.engines.vllm.guard import Guard
engine = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
Guard([engine.pid])
print(engine.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def is_running(process_id: int) -> bool:
    """Whether a process runs; one that ended and was not collected does not."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(process_id)], capture_output=True, text=True, check=False)
    return bool(state.stdout.strip()) and not state.stdout.startswith("Z")


def test_a_killed_server_takes_its_engine_along() -> None:
    died = subprocess.run([sys.executable, "-c", DYING_SERVER], stdout=subprocess.PIPE, text=True, check=False)
    engine = int(died.stdout)
    deadline = time.monotonic() + 20
    while is_running(engine):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_dismissed_guard_harms_nobody() -> None:
    engine = subprocess.Popen(SLEEP)
    try:
        Guard([engine.pid]).dismiss()
        assert engine.poll() is None
    finally:
        engine.kill()
        engine.wait()
