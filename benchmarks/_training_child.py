"""One run of the training benchmark in a process of its own.

    python benchmarks/_training_child.py ORDER.json MEASUREMENT.json

Nothing heavy is imported before the side that runs is known: the peak of resident memory is that side's own.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from _training_terms import Measurement, Order, Result, Settings


def run(order: Order) -> Result:
    if order.side == "ours":
        from _training_ours import run_ours

        return run_ours(order.task, order.rows, order.settings)
    if order.side == "plain":
        from _training_plain import run_plain

        return run_plain(order.task, order.rows, order.settings)
    from _training_trl import run_trl

    return run_trl(order.task, order.rows, order.settings, order.side)


def peak_bytes() -> int:
    """Largest resident memory so far. Linux's own count of this program: `ru_maxrss` would begin with the parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return 1024 * int(line.split()[1])
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def main() -> None:
    read = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    order = Order(read["task"], read["side"], read["rows"], Settings(**read["settings"]))
    import torch

    from trimtab.training.arithmetic import use_fast_float32

    torch.set_num_threads(order.settings.threads)
    product = "oneDNN's float32" if use_fast_float32() else "torch's default"
    measurement = Measurement(run(order), peak_bytes(), product)
    Path(sys.argv[2]).write_text(json.dumps(asdict(measurement)), encoding="utf-8")


if __name__ == "__main__":
    main()
