"""Each strategy over every conversation of a file, through a server with the default model: does it answer, and without error?

    python benchmarks/end_to_end.py --data FILE [--kinds urial,rain] [--limit 200] [--max-tokens 16] [--at-once 8]

FILE has one JSON object a line, with the conversation so far under `prompt`: messages with `role` and `content`, the last one
the user's. With --limit conversations are taken evenly from the file. The model is judge and aligner too. RAIN runs with fewer
iterations than its default, which take minutes a conversation on a CPU. Prints a line for each strategy: answers, how many were
aligned, left as they were or partly aligned, empty answers, and what was warned of; exits with 1 if a request failed.
"""

import argparse
import asyncio
import json
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
from _servers import MODEL, Server, free_port
from cost import SPECS, config_of

from trimtab.strategies.config import BUILT_IN, kind_of

CHEAPER: dict[str, Any] = {**SPECS, "rain": {"kind": "rain", "max_iterations": 8}}
"""In place of the bare name."""
Turns = list[dict[str, str]]


@dataclass
class Tally:
    """What became of a strategy's requests."""

    states: Counter[str] = field(default_factory=Counter)
    """Of `alignment.status`."""
    warnings: Counter[str] = field(default_factory=Counter)
    """By their wording, numbers and quotations left out."""
    errors: list[str] = field(default_factory=list)
    empty: int = 0
    seconds: float = 0.0

    def line(self, kind: str) -> str:
        """All of it."""
        states = ", ".join(f"{count} {state}" for state, count in sorted(self.states.items()))
        return f"{kind:<18}{states or 'no answer'}; {self.empty} empty; {len(self.errors)} failed; {self.seconds:.0f} s"


def conversations(path: Path, limit: int | None) -> list[Turns]:
    """Those of a file, evenly spaced."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    found: list[Turns] = [json.loads(line)["prompt"] for line in lines]
    if limit is None or limit >= len(found):
        return found
    return [found[index * len(found) // limit] for index in range(limit)]


async def over(client: openai.AsyncOpenAI, kind: str, asked: Sequence[Turns], max_tokens: int, at_once: int) -> Tally:
    """One strategy, so many requests at a time."""
    tally, gate, begin = Tally(), asyncio.Semaphore(at_once), time.perf_counter()
    extra = {"alignment": {"strategy": [CHEAPER.get(kind, kind)]}}

    async def one(number: int, turns: Turns) -> None:
        async with gate:
            try:
                answer = await client.chat.completions.create(
                    model=MODEL, messages=turns, max_tokens=max_tokens, seed=number, extra_body=extra
                )
            except openai.OpenAIError as error:
                tally.errors.append(f"conversation {number}: {type(error).__name__}: {error}")
                return
        told = (answer.model_extra or {})["alignment"]
        tally.states[told["status"]] += 1
        tally.warnings.update({re.sub(r"'.*?'|\d+", "_", warning) for warning in told["warnings"]})
        tally.empty += not (answer.choices[0].message.content or "").strip()

    await asyncio.gather(*(one(number, turns) for number, turns in enumerate(asked)))
    tally.seconds = time.perf_counter() - begin
    return tally


async def run(port: int, kinds: Sequence[str], asked: Sequence[Turns], max_tokens: int, at_once: int) -> bool:
    """Print a line for each strategy; whether all requests were answered."""
    failed = 0
    async with openai.AsyncOpenAI(
        base_url=f"http://127.0.0.1:{port}/v1", api_key="none", timeout=3600, max_retries=0
    ) as client:
        for kind in kinds:
            tally = await over(client, kind, asked, max_tokens, at_once)
            print(tally.line(kind), flush=True)
            for warning, count in tally.warnings.most_common(5):
                print(f"{'':<18}{count} x {warning[:150]}", flush=True)
            for error in tally.errors[:5]:
                print(f"{'':<18}{error[:300]}", file=sys.stderr, flush=True)
            failed += len(tally.errors)
    return not failed


def main() -> None:
    known = [kind_of(config) for config in BUILT_IN]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="FILE")
    parser.add_argument("--kinds", default=",".join(known), help="comma-separated; default all")
    parser.add_argument("--limit", type=int, help="how many conversations; default all")
    parser.add_argument("--max-tokens", type=int, default=16)
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--engine", choices=["vllm", "transformers"], default="vllm")
    asked = parser.parse_args()
    kinds = asked.kinds.split(",")
    if unknown := sorted(set(kinds) - set(known)):
        parser.error(f"unknown strategies: {', '.join(unknown)}; known: {', '.join(known)}")
    turns = conversations(asked.data, asked.limit)
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        config = config_of(Path(directory), asked.engine)
        command = [sys.executable, "-m", "trimtab", "serve", "--config", str(config), "--port", str(port)]
        command += ["--log-level", "warning"]
        with Server("trimtab", command, port, "/readyz") as server:
            good = asyncio.run(run(server.port, kinds, turns, asked.max_tokens, asked.at_once))
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
