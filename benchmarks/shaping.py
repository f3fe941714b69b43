"""What each shaper costs against the same final prompt given to the same engine directly, on one Trimtab server with vLLM.

    python benchmarks/shaping.py [--rounds 5] [--shapers urial,norms]

Every final prompt is learned from a full trace, checked token by token, and warm in the prefix cache for both sides. Pairs of
streamed requests in alternating order give the ratios of median times to first token (goal at most 1.05, retrieval taken off
and shown by itself: at most 15 ms; and the two together, less 15 ms) and of output tokens per second of the whole request (goal
at least 0.98). For `urial` it also prints how much of the constant head comes from the prefix cache behind a new question (goal
at least 0.95) and the time to first token against a head that is not cached (goal at most 0.3). The ratio to the request
without a shaper is reported, without a goal.
"""

import argparse
import asyncio
import itertools
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from _client import Connection, Timed
from _ratios import ratio_line
from _servers import HOST, MODEL, Server, free_port, trimtab_command, trimtab_config

from trimtab.strategies.core.messages import Conversation, Message
from trimtab.strategies.prompts.demonstrations import note
from trimtab.strategies.prompts.urial import SYSTEM
from trimtab.strategies.shaping.frames import STOPS
from trimtab.strategies.shaping.urial import UrialConfig, head_of

CHAT, RAW, TOKENIZE = "/v1/chat/completions", "/v1/completions", "/tokenize"
TOKENS = 32
"""Length of every answer."""
STRATEGIES: Mapping[str, Mapping[str, Any]] = {
    "value_prompt": {"kind": "value_prompt"},
    "urial": {"kind": "urial"},
    "demonstrations": {"kind": "demonstrations", "budget_tokens": 1000, "min_similarity": -1.0},
    "norms": {"kind": "norms", "budget_tokens": 500},
}
"""With budgets that leave room in a window of 2,048 tokens."""
QUESTIONS = (
    "How do I keep herbs alive in winter?",
    "May I record a phone call with a colleague?",
    "What should I say to a friend who lost a job?",
    "How much water should I drink on a hike?",
    "Is it all right to read my partner's messages?",
    "What is a good first book about astronomy?",
    "How do I ask my landlord to fix the heating?",
    "Why does bread dough need to rest?",
)
PENALTY = UrialConfig().frequency_penalty
RETRIEVAL_MS = 15
"""What retrieval may take."""
GREEDY = {"model": MODEL, "temperature": 0, "max_tokens": TOKENS, "ignore_eos": True}


@dataclass(frozen=True)
class Pair:
    """A shaped request, and the direct one whose prompt is the same."""

    shaped: Mapping[str, Any]
    direct_path: str
    direct: Mapping[str, Any]


@dataclass
class Figures:
    """Medians of each round."""

    ttft: list[list[float]] = field(default_factory=lambda: [[], []])
    """Milliseconds, shaped (retrieval taken off) and direct."""
    rate: list[list[float]] = field(default_factory=lambda: [[], []])
    """Output tokens a second, shaped (retrieval taken off) and direct."""
    retrieval: list[float] = field(default_factory=list)
    """Milliseconds."""

    def less_allowed(self) -> list[float]:
        """Times to first token of the shaped requests with their retrieval, less what it may take."""
        return [ms + spent - RETRIEVAL_MS for ms, spent in zip(self.ttft[0], self.retrieval, strict=True)]


async def pair_of(connection: Connection, strategy: Mapping[str, Any], question: str) -> Pair:
    """The two requests of a question. Raises RuntimeError where their prompts differ."""
    messages = [{"role": "user", "content": question}]
    shaped = {**GREEDY, "messages": messages, "alignment": {"strategy": [strategy]}}
    asked = {"model": MODEL, "messages": messages, "alignment": {"strategy": [strategy]}}
    _, final = await connection.post(TOKENIZE, asked)
    if strategy["kind"] == "urial":
        direct: dict[str, Any] = {**GREEDY, "prompt": final["tokens"], "stop": list(STOPS), "frequency_penalty": PENALTY}
        return Pair(shaped, RAW, direct)
    full = {**shaped, "max_tokens": 1, "alignment": {"strategy": [strategy], "trace": "full"}}
    _, answer = await connection.post(CHAT, full)
    conversation = final_conversation(answer["alignment"]["steps"][0], question)
    _, rebuilt = await connection.post(TOKENIZE, {"model": MODEL, "messages": conversation.wire()})
    if rebuilt["tokens"] != final["tokens"]:
        raise RuntimeError(f"{strategy['kind']}: the direct prompt differs from the shaped one")
    return Pair(shaped, CHAT, {**GREEDY, "messages": conversation.wire()})


def final_conversation(step: Mapping[str, Any], question: str) -> Conversation:
    """What a full trace says of the final conversation."""
    if "texts" not in step:
        return Conversation((Message("system", step["system"]), Message("user", question)))
    turns = [(role, one[part]) for one in step["texts"] for role, part in (("user", "prompt"), ("assistant", "answer"))]
    spoken = (("system", note(len(step["texts"]))), *turns, ("user", question))
    return Conversation(tuple(Message(role, text) for role, text in spoken))


def rate(timed: Timed) -> float:
    """Output tokens a second of the whole request but for its retrieval: what is held back for a stop string counts alike."""
    return timed.tokens / (timed.total_s - retrieval_ms(timed) / 1000)


def retrieval_ms(timed: Timed) -> float:
    """What retrieval took, 0 where nothing was retrieved."""
    steps = timed.alignment["steps"] if timed.alignment else ()
    return sum(float(step.get("retrieval_ms", 0.0)) for step in steps)


async def measured(connection: Connection, name: str, rounds: int) -> Figures:
    """The figures of one shaper; the first round warms up."""
    pairs = [await pair_of(connection, STRATEGIES[name], question) for question in QUESTIONS]
    figures = Figures()
    for turn in range(rounds + 1):
        shaped, direct = [], []
        for place, pair in enumerate(pairs):
            for is_shaped in (True, False) if (place + turn) % 2 else (False, True):
                if is_shaped:
                    shaped.append(await connection.stream(CHAT, pair.shaped))
                else:
                    direct.append(await connection.stream(pair.direct_path, pair.direct))
        if turn:
            took = [retrieval_ms(timed) for timed in shaped]
            figures.retrieval.append(median(took))
            figures.ttft[0].append(median(1000 * t.ttft_s - ms for t, ms in zip(shaped, took, strict=True)))
            figures.ttft[1].append(median(1000 * t.ttft_s for t in direct))
            figures.rate[0].append(median(map(rate, shaped)))
            figures.rate[1].append(median(map(rate, direct)))
        print(f"{name}: round {turn}/{rounds} done", file=sys.stderr, flush=True)
    return figures


async def unshaped(connection: Connection, rounds: int) -> list[float]:
    """Times to first token of the questions without a shaper, in ms."""
    times = []
    for turn in range(rounds + 1):
        bodies = [{**GREEDY, "messages": [{"role": "user", "content": question}]} for question in QUESTIONS]
        timed = [await connection.stream(CHAT, body) for body in bodies]
        if turn:
            times.append(median(1000 * one.ttft_s for one in timed))
    return times


async def heads(connection: Connection, rounds: int) -> tuple[float, list[float], list[float]]:
    """Of `urial`: the least share of the head that is cached behind a new question, and times to first token, warm and cold."""
    _, head = await connection.post(TOKENIZE, {"model": MODEL, "prompt": head_of(UrialConfig()).segment.text})
    numbers = itertools.count(1)

    def body(strategy: Mapping[str, Any]) -> dict[str, Any]:
        asked = f"What is {next(numbers)} times seven?"
        return {**GREEDY, "messages": [{"role": "user", "content": asked}], "alignment": {"strategy": [strategy]}}

    def cold() -> dict[str, Any]:
        return body({"kind": "urial", "system": f"{next(numbers)}. {SYSTEM}"})

    shares, warm_ms, cold_ms = [], [], []
    await connection.post(CHAT, body({"kind": "urial"}))
    for _ in range(rounds):
        _, answer = await connection.post(CHAT, body({"kind": "urial"}))
        shares.append(answer["usage"]["prompt_tokens_details"]["cached_tokens"] / head["count"])
        times: Sequence[list[float]] = ([], [])
        for _ in range(4):
            times[0].append(1000 * (await connection.stream(CHAT, body({"kind": "urial"}))).ttft_s)
            times[1].append(1000 * (await connection.stream(CHAT, cold())).ttft_s)
        warm_ms.append(median(times[0]))
        cold_ms.append(median(times[1]))
    return min(shares), warm_ms, cold_ms


async def report(port: int, rounds: int, names: Sequence[str]) -> None:
    """Print all lines."""
    async with Connection(HOST, port) as connection:
        bare = await unshaped(connection, rounds)
        for name in names:
            figures = await measured(connection, name, rounds)
            print(ratio_line(f"{name}: p50 TTFT, ms", *figures.ttft, "<= 1.05"))
            print(ratio_line(f"{name}: output tokens/s", *figures.rate, ">= 0.98"))
            if any(figures.retrieval):
                print(f"{f'{name}: retrieval, ms':<34} p50 {median(figures.retrieval):.3f}  goal <= {RETRIEVAL_MS}")
                print(ratio_line(f"{name}: TTFT in all - 15 ms", figures.less_allowed(), figures.ttft[1], "<= 1.05"))
            print(ratio_line(f"{name}: TTFT to unshaped", figures.ttft[0], bare, "none"), flush=True)
        if "urial" in names:
            share, warm, cold = await heads(connection, rounds)
            print(f"{'urial: head from the prefix cache':<34} share {share:.3f}  goal >= 0.95")
            print(ratio_line("urial: TTFT to a cold head, ms", warm, cold, "<= 0.30"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shapers", default=",".join(STRATEGIES), help="which of them, separated by commas")
    asked = parser.parse_args()
    names = asked.shapers.split(",")
    if unknown := sorted(set(names) - set(STRATEGIES)):
        parser.error(f"unknown shapers: {', '.join(unknown)}; known: {', '.join(STRATEGIES)}")
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        command = trimtab_command(port, config=trimtab_config(Path(directory)))
        with Server("trimtab", command, port, "/readyz") as server:
            asyncio.run(report(server.port, asked.rounds, names))


if __name__ == "__main__":
    main()
