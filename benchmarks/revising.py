"""What revisers cost: one critique round against its three generations by hand, and an aligner against the plain answer.

    python benchmarks/revising.py [--rounds 5] [--tokens 64]

Critique: on one Trimtab server with vLLM, `critique_refine` against the same three requests sent one after the other (draft,
critique, revision), on the same questions, both with everything in the prefix cache; rounds alternate who goes first, and both
must give the same answer. Prints the ratio of the median times (goal at most 1.05).

Aligner: a second engine of the same server holds the correction model, as `roles.aligner` starts it, asked in the published
format. Most drafts need no correction, and no trained aligner is at hand that would leave them alone, so the default model is
held to the draft's text by a structure that allows nothing else (`structured_outputs: {"choice": [draft]}`), in both engines
and with and without `aligner` alike. The structure decides what is said, not how fast: each pass decodes as it would without
it, and the aligner's guesses come from its prompt as they would for any correction that copies. Prints the ratio of the median
times with and without `aligner` (goal at most 1.6), and the same with speculation turned off in the aligner's engine.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from _client import Connection
from _ratios import ratio_line
from _servers import HOST, KV_CACHE_GIB, MAX_MODEL_LEN, MODEL, Server, free_port, trimtab_command

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
        turns = [*turns, {"role": "assistant", "content": text if request is None else text.strip()}]
    return total, turns[-1]["content"]


async def by_strategy(connection: Connection, question: str, tokens: int) -> tuple[float, str]:
    """The same by one request: seconds, and the revision as it was, also where it was cut off and the draft kept."""
    spec = [{"kind": "critique_refine", "critique_tokens": tokens}]
    request = body(asked(question), tokens, alignment={"strategy": spec, "trace": "full"})
    seconds, wire = await connection.post(CHAT, request)
    return seconds, wire["alignment"]["steps"][-1]["rounds"][0]["revision"]


async def critique(server: Server, rounds: int, tokens: int) -> tuple[list[float], list[float]]:
    """Median seconds of each round: `critique_refine`, by hand."""
    ours, theirs = [], []
    async with Connection(HOST, server.port) as connection:
        for turn in range(rounds + 1):
            times: tuple[list[float], list[float]] = ([], [])
            for place, question in enumerate(QUESTIONS):
                said = ["", ""]
                for which in (0, 1) if (place + turn) % 2 else (1, 0):
                    run = by_hand if which else by_strategy
                    seconds, said[which] = await run(connection, question, tokens)
                    times[which].append(seconds)
                if said[0] != said[1]:
                    raise RuntimeError(f"not the same work: {said[0]!r} and {said[1]!r}")
            if turn:
                ours.append(median(times[0]))
                theirs.append(median(times[1]))
            print(f"critique: round {turn}/{rounds} done", file=sys.stderr, flush=True)
    return ours, theirs


async def aligner(server: Server, rounds: int, tokens: int) -> tuple[list[float], list[float]]:
    """Median seconds of each round with `aligner` and without, the correction held to the draft."""
    spec = [{"kind": "aligner", "template": "question_answer", "structured": "apply"}]
    ours, theirs = [], []
    async with Connection(HOST, server.port) as connection:
        drafts = {question: (await answer(connection, body(asked(question), tokens)))[1] for question in QUESTIONS}
        for turn in range(rounds + 1):
            times: tuple[list[float], list[float]] = ([], [])
            for place, (question, draft) in enumerate(drafts.items()):
                held = body(asked(question), 2 * tokens, structured_outputs={"choice": [draft]})
                for which in (0, 1) if (place + turn) % 2 else (1, 0):
                    request = {**held, "alignment": {"strategy": spec}} if which == 0 else held
                    seconds, wire = await connection.post(CHAT, request)
                    _check_copy(wire, draft)
                    times[which].append(seconds)
            if turn:
                ours.append(median(times[0]))
                theirs.append(median(times[1]))
            print(f"aligner: round {turn}/{rounds} done", file=sys.stderr, flush=True)
    return ours, theirs


def _check_copy(wire: dict[str, Any], draft: str) -> None:
    """Raise unless the answer is the draft, given by the policy and, where it was asked, by the aligner."""
    said = wire["choices"][0]["message"]["content"]
    kept = [step.get("kept", "unchanged") for step in wire.get("alignment", {}).get("steps", ())[1:]]
    if said != draft or kept not in ([], ["unchanged"]):
        raise RuntimeError(f"the copy failed ({kept}): {said!r} in place of {draft!r}")


def config(directory: Path, name: str, aligner_args: dict[str, Any] | None) -> Path:
    """A server's settings; with an aligner where its engine's arguments are given."""
    engine = {"kind": "vllm", "max_model_len": MAX_MODEL_LEN, "dtype": "bfloat16", "kv_cache_gib": KV_CACHE_GIB}
    tree: dict[str, Any] = {"models": {MODEL: {"source": MODEL, "engine": engine}}}
    if aligner_args is not None:
        tree["roles"] = {"aligner": {"source": MODEL, "engine": {**engine, "args": aligner_args}}}
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
                print(ratio_line(title, *asyncio.run(aligner(server, given.rounds, given.tokens)), goal))


if __name__ == "__main__":
    main()
