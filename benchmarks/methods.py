"""A short run of every training method on real preference data, through the command line: `trimtab train METHOD`.

    python benchmarks/methods.py --data PAIRS.jsonl --eval-data PAIRS.jsonl [--steps 8] [--methods dpo,reward] [--output DIR]

The data are preference pairs (prompt, chosen, rejected). Methods that want scores get the same pairs as lists, 1 for the chosen
and 0 for the rejected answer; methods that sample are scored by the reward model that `reward` makes in the same run. Prints a
Markdown table: seconds from the start of the command to its end (loading, reference and evaluation included), the training loss
at the first and the last step, the held-out loss, and the held-out accuracy where a method orders answers.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimtab.training.methods.catalogue import PRESETS
from trimtab.training.reports.metrics import read_metrics

SCORED = frozenset({"rrhf", "pro", "pl", "stable", "choice", "value", "reward_weighted"})
SAMPLING = frozenset({"ppo", "rloo", "grpo", "rest"})
ROLLOUTS: Mapping[str, Sequence[str]] = {
    "ppo": ("prompts=8", "samples=1", "rollout_epochs=2"),
    "rloo": ("prompts=4", "samples=2"),
    "grpo": ("prompts=4", "samples=2"),
    "rest": ("prompts=8", "samples=2", "improve_steps=1"),
}
"""Small ones, so that a short run holds several."""
HELD_OUT = 24
"""Pairs of the evaluation."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a run told."""

    method: str
    seconds: float
    rows: Sequence[Mapping[str, Any]]

    def cells(self) -> tuple[str, ...]:
        losses = [row["loss"] for row in self.rows if row.get("loss") is not None]
        rewards = [row["reward"] for row in self.rows if self.method in SAMPLING and row.get("reward") is not None]
        held_out = next((row for row in reversed(self.rows) if "eval_loss" in row or "eval_reward" in row), {})
        shown = f"reward {rewards[0]:.3f} to {rewards[-1]:.3f}" if rewards else f"{losses[0]:.3f} to {losses[-1]:.3f}"
        ends = [held_out.get(name) for name in ("eval_loss", "eval_accuracy")]
        return (f"`{self.method}`", f"{self.seconds:.0f}", shown, *("-" if end is None else f"{end:.3f}" for end in ends))


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.output or Path(scratch)
        files = _files(arguments, folder)
        print("| method | seconds | training loss | held-out loss | held-out accuracy |\n| --- | --- | --- | --- | --- |")
        for method in arguments.methods:
            run = _run(method, arguments, files, folder)
            print(f"| {' | '.join(run.cells())} |", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--eval-data", type=Path, required=True)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--methods", type=lambda told: told.split(","), default=_ordered())
    parser.add_argument("--output", type=Path, help="where the runs are kept; default nowhere")
    return parser.parse_args()


def _ordered() -> list[str]:
    """The reward model first: others need it."""
    return sorted(PRESETS, key=lambda method: (method != "reward", method in SAMPLING))


def _files(arguments: argparse.Namespace, folder: Path) -> dict[str, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    made = {}
    for name, source, limit in (("train", arguments.data, None), ("eval", arguments.eval_data, HELD_OUT)):
        rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()][:limit]
        for form, records in (("pairs", rows), ("lists", list(map(_as_list, rows)))):
            made[f"{name}-{form}"] = folder / f"{name}-{form}.jsonl"
            made[f"{name}-{form}"].write_text("".join(f"{json.dumps(row)}\n" for row in records), encoding="utf-8")
    return made


def _as_list(row: Mapping[str, Any]) -> dict[str, Any]:
    answers = ((row["chosen"], 1.0), (row["rejected"], 0.0))
    return {"prompt": row["prompt"], "responses": [{"content": content, "score": score} for content, score in answers]}


def _run(method: str, arguments: argparse.Namespace, files: Mapping[str, Path], folder: Path) -> Run:
    form = "lists" if method in SCORED else "pairs"
    output = folder / method
    command = [sys.executable, "-m", "trimtab", "train", method, "--model", arguments.model, "--output", str(output)]
    command += ["--data", str(files[f"train-{form}"]), "--eval-data", str(files[f"eval-{form}"])]
    command += ["--max-steps", str(arguments.steps), "--max-length", "256", "--batch-size", "4"]
    command += list(_sampling(method, folder))
    begin = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{method} failed:\n{done.stderr[-3000:]}")
    return Run(method, time.monotonic() - begin, read_metrics(output / "metrics.jsonl"))


def _sampling(method: str, folder: Path) -> Iterator[str]:
    if method in SAMPLING:
        told = (f"reward={folder / 'reward'}", "max_new_tokens=32", *ROLLOUTS[method])
        for setting in told:
            yield from ("--set", setting)


if __name__ == "__main__":
    main()
