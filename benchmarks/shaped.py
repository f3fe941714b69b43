"""What a shaped request costs: `value_prompt` against the same final prompt sent plain, on one Trimtab server with vLLM.

    python benchmarks/shaped.py [--rounds 5]

After a warm-up, pairs of streamed requests in alternating order, each pair with a question of its own. Prints the ratio of the
median times to first token (goal at most 1.10).
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from _client import Connection
from _ratios import ratio_line
from _servers import HOST, MODEL, Server, free_port, trimtab_command, trimtab_config

from trimtab.strategies.core.messages import Conversation
from trimtab.strategies.prompts.principles import PACKS, as_rules

CHAT = "/v1/chat/completions"
PAIRS = 12
"""Pairs of requests a round."""


def bodies(number: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The shaped request of a question, and the plain one with the prompt that shaping makes of it."""
    asked = [{"role": "user", "content": f"Question {number}: how do I keep {number} plants alive in winter?"}]
    rules = as_rules(PACKS["helpful-honest-harmless"], prevail=True)
    final = Conversation.from_wire(asked).with_system(before=rules).wire()
    common = {"model": MODEL, "temperature": 0, "max_tokens": 4}
    return (
        {**common, "messages": asked, "alignment": {"strategy": "value_prompt"}},
        {**common, "messages": final},
    )


async def check_same_prompt(connection: Connection) -> None:
    """Both requests of a pair must have prompts of the same length; else the comparison means nothing."""
    counts = [(await connection.post(CHAT, body))[1]["usage"]["prompt_tokens"] for body in bodies(0)]
    if counts[0] != counts[1]:
        raise RuntimeError(f"the shaped prompt has {counts[0]} tokens, the plain one {counts[1]}")


async def measure(server: Server, rounds: int) -> tuple[list[float], list[float]]:
    """Median times to first token of each round, in ms: shaped, plain."""
    shaped, plain = [], []
    async with Connection(HOST, server.port) as connection:
        await check_same_prompt(connection)
        for turn in range(rounds + 1):
            times: tuple[list[float], list[float]] = ([], [])
            for pair in range(PAIRS):
                both = bodies(1 + turn * PAIRS + pair)
                for which in (0, 1) if pair % 2 else (1, 0):
                    times[which].append(1000 * (await connection.stream(CHAT, both[which])).ttft_s)
            if turn:
                shaped.append(median(times[0]))
                plain.append(median(times[1]))
            print(f"round {turn}/{rounds} done", file=sys.stderr, flush=True)
    return shaped, plain


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        command = trimtab_command(port, config=trimtab_config(Path(directory)))
        with Server("trimtab", command, port, "/readyz") as server:
            shaped, plain = asyncio.run(measure(server, asked.rounds))
    print(ratio_line("p50 TTFT of value_prompt, ms", shaped, plain, "<= 1.10"))


if __name__ == "__main__":
    main()
