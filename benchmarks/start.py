"""How long servers take to start, weights cached: from the process' start to its first ready answer.

    python benchmarks/start.py [--rounds 5] [--only vllm|transformers]

With vLLM: against vLLM's own API server with the same settings (goal at most 1.1x). With the transformers engine: against a
script that imports torch and transformers and loads the same weights (goal at most 1.5x). Runs alternate; nothing else runs.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _ratios import ratio_line
from _servers import MODEL, Server, environment, free_port, trimtab_command, trimtab_config, vllm_command

BY_HAND = """
import sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
AutoTokenizer.from_pretrained(sys.argv[1])
AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.bfloat16).eval()
"""


def started(server: Server) -> float:
    """Seconds until a server was ready; it is ended again."""
    with server:
        return server.started_s


def by_hand(path: Path) -> float:
    """Seconds of importing and loading without a server."""
    begin = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", BY_HAND, str(path)],
        check=True,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - begin


def with_vllm(path: Path, directory: Path, rounds: int) -> str:
    config = trimtab_config(directory)
    ours, theirs = [], []
    for turn in range(rounds + 1):
        port = free_port()
        pair = [
            ("ours", Server("trimtab", trimtab_command(port, config=config), port, "/readyz")),
            ("theirs", Server("vllm", vllm_command(port, path), port)),
        ]
        for who, server in pair if turn % 2 else reversed(pair):
            (ours if who == "ours" else theirs).append(started(server))
        print(f"round {turn}/{rounds}: {ours[-1]:.1f} s, vLLM's own {theirs[-1]:.1f} s", file=sys.stderr, flush=True)
    return ratio_line("start with vLLM, s", ours[1:], theirs[1:], "<= 1.1")


def with_transformers(path: Path, rounds: int) -> str:
    ours, theirs = [], []
    for turn in range(rounds + 1):
        port = free_port()
        ours.append(started(Server("trimtab", trimtab_command(port, "transformers"), port, "/readyz")))
        theirs.append(by_hand(path))
        print(f"round {turn}/{rounds}: {ours[-1]:.1f} s, by hand {theirs[-1]:.1f} s", file=sys.stderr, flush=True)
    return ratio_line("start with transformers, s", ours[1:], theirs[1:], "<= 1.5")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=("vllm", "transformers"))
    asked = parser.parse_args()

    from trimtab.artifacts import resolve

    path = resolve(MODEL).path
    os.environ["HF_HUB_OFFLINE"] = "1"
    lines = []
    with tempfile.TemporaryDirectory() as directory:
        if asked.only != "transformers":
            lines.append(with_vllm(path, Path(directory), asked.rounds))
        if asked.only != "vllm":
            lines.append(with_transformers(path, asked.rounds))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
