"""What revisers cost: one critique round against its three generations by hand, and an aligner against the plain answer.

    python benchmarks/revising.py [--rounds 5] [--tokens 64]

Critique: on one Trimtab server with vLLM, `critique_refine` against the same three requests sent one after the other (draft,
critique, revision), on the same questions, both with everything in the prefix cache; rounds alternate who goes first, and both
must give the same answer. Prints the ratio of the median times (goal at most 1.05).

Aligner: a second engine of the same server holds the correction model, as `roles.aligner` starts it. An identity-like
correction is what most answers get; here the default model itself gives it. Its template, stored beside its weights as a
trained aligner's is, shows it two copied texts before the one to be copied: nothing but the model decides what is copied, and
how much of the drafts came back unchanged is printed. Prints the ratio of the median times with and without `aligner` (goal at
most 1.6), and the same with speculation turned off in the aligner's engine.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path
from statistics import mean, median
from typing import Any

from _client import Connection
from _ratios import ratio_line
from _servers import HOST, KV_CACHE_GIB, MAX_MODEL_LEN, MODEL, Server, free_port, trimtab_command

from trimtab.artifacts import CorrectionTemplate, resolve, write_correction
from trimtab.strategies.prompts.critiques import CRITIQUE_FORM, PAIRS, REVISION_FORM
from trimtab.strategies.revising.forms import drawn

CHAT = "/v1/chat/completions"
QUESTIONS = (
    "How do I keep house plants alive in winter?",
    "What should I pack for a week of walking in the mountains?",
    "Explain to a child why the sky is blue.",
    "How can I learn to cook a few good meals?",
    "What makes a good letter of thanks?",
    "Tell me how a bicycle stays upright.",
)
SEED = 7
COPYING = CorrectionTemplate(
    message=(
        "Question: Where is the post office?\n"
        "Text: It is next to the town hall, on the left. It closes at six.\n"
        "Copy: It is next to the town hall, on the left. It closes at six.\n\n"
        "Question: What is a violin?\n"
        "Text: A violin is a small string instrument.\nIt is played with a bow.\n"
        "Copy: A violin is a small string instrument.\nIt is played with a bow.\n\n"
        "Question: {question}\nText: {answer}\nCopy:"
    ),
    separators=("Question:", "Text:", "Copy:"),
    stops=("\n\nQuestion:",),
)
Turns = list[dict[str, str]]


def body(turns: Turns, tokens: int, **fields: Any) -> dict[str, Any]:
    """A greedy request."""
    return {"model": MODEL, "messages": turns, "temperature": 0, "max_tokens": tokens, "seed": SEED, **fields}


def asked(question: str) -> Turns:
    """The question as a conversation."""
    return [{"role": "user", "content": question}]


async def answer(connection: Connection, request: dict[str, Any]) -> tuple[float, str]:
    """Seconds and the text of an answer."""
    seconds, wire = await connection.post(CHAT, request)
    return seconds, wire["choices"][0]["message"]["content"]


async def by_hand(connection: Connection, question: str, tokens: int) -> tuple[float, str]:
    """Draft, critique and revision as a client would ask for them: seconds over all, and the answer."""
    pair, turns, total = drawn(PAIRS, SEED, 0), asked(question), 0.0
    for request in (None, f"{pair.critique} {CRITIQUE_FORM}", f"{pair.revision} {REVISION_FORM}"):
        if request is not None:
            turns = [*turns, {"role": "user", "content": request}]
        seconds, text = await answer(connection, body(turns, tokens))
        total += seconds
        turns = [*turns, {"role": "assistant", "content": text}]
    return total, turns[-1]["content"]


async def strategy(connection: Connection, question: str, tokens: int, spec: Any) -> tuple[float, str, dict[str, Any]]:
    """Seconds, the answer, and what the strategy did."""
    alignment = {"strategy": spec, "trace": "full"}
    seconds, wire = await connection.post(CHAT, body(asked(question), tokens, alignment=alignment))
    return seconds, wire["choices"][0]["message"]["content"], wire["alignment"]["steps"][-1]


async def critique(server: Server, rounds: int, tokens: int) -> tuple[list[float], list[float]]:
    """Median seconds of each round: `critique_refine`, by hand."""
    spec = [{"kind": "critique_refine", "critique_tokens": tokens}]
    ours, theirs = [], []
    async with Connection(HOST, server.port) as connection:
        for turn in range(rounds + 1):
            times: tuple[list[float], list[float]] = ([], [])
            for place, question in enumerate(QUESTIONS):
                for which in (0, 1) if (place + turn) % 2 else (1, 0):
                    if which == 0:
                        seconds, _, step = await strategy(connection, question, tokens, spec)
                        revised = step["rounds"][0]["revision"]
                    else:
                        seconds, own = await by_hand(connection, question, tokens)
                    times[which].append(seconds)
                if turn == 0 and revised != own.strip():
                    raise RuntimeError(f"not the same work: {revised!r} and {own!r}")
            if turn:
                ours.append(median(times[0]))
                theirs.append(median(times[1]))
            print(f"critique: round {turn}/{rounds} done", file=sys.stderr, flush=True)
    return ours, theirs


async def aligner(server: Server, rounds: int, tokens: int) -> tuple[list[float], list[float], float]:
    """Median seconds of each round with `aligner` and without, and the share of words that it left as they were."""
    ours, theirs, unchanged = [], [], []
    async with Connection(HOST, server.port) as connection:
        for turn in range(rounds + 1):
            times: tuple[list[float], list[float]] = ([], [])
            for place, question in enumerate(QUESTIONS):
                for which in (0, 1) if (place + turn) % 2 else (1, 0):
                    if which == 0:
                        seconds, _, step = await strategy(connection, question, tokens, "aligner")
                        words = len(step["draft"].split())
                        unchanged.append(max(0.0, 1 - step["words_removed"] / words))
                    else:
                        seconds, _ = await answer(connection, body(asked(question), tokens))
                    times[which].append(seconds)
            if turn:
                ours.append(median(times[0]))
                theirs.append(median(times[1]))
            print(f"aligner: round {turn}/{rounds} done", file=sys.stderr, flush=True)
    return ours, theirs, mean(unchanged)


def checkpoint(directory: Path) -> Path:
    """The default model's files, with the template of a model that copies."""
    directory.mkdir()
    for file in resolve(MODEL).path.iterdir():
        (directory / file.name).symlink_to(file)
    write_correction(directory, COPYING)
    return directory


def config(directory: Path, name: str, aligner_args: dict[str, Any] | None) -> Path:
    """A server's settings; with an aligner where its engine's arguments are given."""
    engine = {"kind": "vllm", "max_model_len": MAX_MODEL_LEN, "dtype": "bfloat16", "kv_cache_gib": KV_CACHE_GIB}
    tree: dict[str, Any] = {"models": {MODEL: {"source": MODEL, "engine": engine}}}
    if aligner_args is not None:
        tree["roles"] = {"aligner": {"source": str(directory / "copier"), "engine": {**engine, "args": aligner_args}}}
    path = directory / f"{name}.yaml"
    path.write_text(json.dumps(tree))
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=64)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        checkpoint(directory / "copier")
        port = free_port()
        with Server("trimtab", trimtab_command(port, config=config(directory, "one", None)), port, "/readyz") as server:
            print(ratio_line("critique_refine, s", *asyncio.run(critique(server, given.rounds, given.tokens)), "<= 1.05"))
        for title, args, goal in (
            ("aligner, s", {}, "<= 1.60"),
            ("... without speculation, s", {"speculative_config": None}, "-"),
        ):
            port = free_port()
            command = trimtab_command(port, config=config(directory, "two", args))
            with Server("trimtab with an aligner", command, port, "/readyz") as server:
                ours, theirs, unchanged = asyncio.run(aligner(server, given.rounds, given.tokens))
            print(ratio_line(title, ours, theirs, goal), f" {unchanged:.0%} of the words unchanged")


if __name__ == "__main__":
    main()
