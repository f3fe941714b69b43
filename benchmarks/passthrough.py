"""Trimtab against vLLM's own API server: what a request that nothing shapes costs.

    python benchmarks/passthrough.py [--rounds 5] [--tokens 64]

Same weights, engine settings, client and prompts. Both servers run; the one that is not measured is stopped (SIGSTOP). Rounds
alternate who goes first. Every prompt is new in each round and the same for both. Prints, for 1, 8 and 32 requests at a time,
the ratios of output tokens/s (goal at least 0.98) and of the median time to first token (goal at most 1.05), and the median
latency that Trimtab adds to a request of one token (goal at most 1 ms).
"""

import argparse
import asyncio
import random
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from _client import Connection, load
from _ratios import difference_line, ratio_line
from _servers import HOST, MODEL, Server, free_port, trimtab_command, trimtab_config, vllm_command

CHAT = "/v1/chat/completions"
REQUESTS = {1: 4, 8: 24, 32: 64}
"""Requests at a time -> requests of a round."""
LATENCY_REQUESTS = 40
WORDS = [
    "river",
    "stone",
    "light",
    "garden",
    "window",
    "paper",
    "music",
    "bridge",
    "winter",
    "letter",
    "market",
    "forest",
    "silver",
    "morning",
    "answer",
    "question",
]


def bodies(number: int, seed: int, tokens: int) -> list[dict[str, Any]]:
    """Chat requests of about 60 prompt tokens and exactly `tokens` answer tokens; the same for the same seed."""
    chance = random.Random(seed)
    return [
        {
            "model": MODEL,
            "messages": [{"role": "user", "content": f"Tell a story with: {' '.join(chance.choices(WORDS, k=24))}."}],
            "temperature": 0,
            "max_tokens": tokens,
            "ignore_eos": True,
        }
        for _ in range(number)
    ]


async def latency_ms(server: Server, seed: int) -> float:
    """Median latency of a request of one token, one at a time, in ms."""
    async with Connection(HOST, server.port) as connection:
        return 1000 * median([(await connection.post(CHAT, body))[0] for body in bodies(LATENCY_REQUESTS, seed, 1)])


async def measure(server: Server, seed: int, tokens: int, levels: Sequence[int]) -> dict[str, float]:
    """One round on one server: tokens/s and median time to first token (ms) by concurrency, and latency."""
    found = {"latency": await latency_ms(server, seed)}
    for concurrency in levels:
        asked = bodies(REQUESTS[concurrency], seed + concurrency, tokens)
        elapsed, answers = await load(HOST, server.port, CHAT, asked, concurrency)
        if any(answer.tokens != tokens for answer in answers):
            raise RuntimeError(f"{server.name} answered {sorted({a.tokens for a in answers})} tokens instead of {tokens}")
        found[f"tokens {concurrency}"] = sum(answer.tokens for answer in answers) / elapsed
        found[f"ttft {concurrency}"] = 1000 * median(answer.ttft_s for answer in answers)
    return found


def rounds(ours: Server, theirs: Server, number: int, tokens: int, levels: Sequence[int]) -> dict[str, dict[str, list[float]]]:
    """All rounds, after one that warms both up and is not counted."""
    results: dict[str, dict[str, list[float]]] = {s.name: defaultdict(list) for s in (ours, theirs)}
    for turn in range(number + 1):
        order = (ours, theirs) if turn % 2 else (theirs, ours)
        for server in order:
            other = theirs if server is ours else ours
            with other.paused():
                found = asyncio.run(measure(server, 1000 * turn, tokens, levels))
            if turn:
                for name, value in found.items():
                    results[server.name][name].append(value)
        print(f"round {turn}/{number} done", file=sys.stderr, flush=True)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--concurrency", type=int, nargs="+", default=list(REQUESTS), choices=list(REQUESTS))
    asked = parser.parse_args()

    from trimtab.artifacts import resolve

    path = resolve(MODEL).path
    ports = free_port(), free_port()
    with tempfile.TemporaryDirectory() as directory:
        config = trimtab_config(Path(directory))
        with (
            Server("vllm", vllm_command(ports[1], path), ports[1]) as theirs,
            Server("trimtab", trimtab_command(ports[0], config=config), ports[0], "/readyz") as ours,
        ):
            results = rounds(ours, theirs, asked.rounds, asked.tokens, asked.concurrency)
    mine, other = results["trimtab"], results["vllm"]
    for concurrency in asked.concurrency:
        name = f"tokens {concurrency}"
        print(ratio_line(f"output tokens/s, {concurrency} at a time", mine[name], other[name], ">= 0.98"))
    for concurrency in asked.concurrency:
        name = f"ttft {concurrency}"
        print(ratio_line(f"p50 TTFT ms, {concurrency} at a time", mine[name], other[name], "<= 1.05"))
    print(difference_line("p50 latency of one token", mine["latency"], other["latency"], "ms", "<= 1 ms"))


if __name__ == "__main__":
    main()
