"""Training against TRL 1.16, and lists against their responses one by one; float32, default model, CPU.

    python benchmarks/training.py --data hh_harmless_train.jsonl [--tasks dpo reward sft lora pro rrhf] [--steps 12]

DATA is JSONL with `prompt`, `chosen` and `rejected`, each a list of messages. Every side trains the same model from the same
weights on the same rows in batches of 4, at most 512 tokens, with AdamW at the same constant rate and the same number of
threads, each in a fresh process, the sides by turns. Takes some 25 minutes a round.
  ours      `trimtab train`'s trainer
  tuned     TRL with the reference's log-probabilities computed before training, no checkpointing, float32
  defaults  TRL as it comes (bfloat16 autocast, checkpointing, live reference), on the same rows in random batches
  plain     pro and rrhf: a loop over lists of 4, each response a sequence of its own, no padding
`ours`, `tuned` and `plain` see the same batches of rows of like length in the same order; that their token ids agree is
checked, and how far the losses of their steps are apart is printed. Matrix products go to the same kernel on every side.

Prints, for each task, examples/s over the steps after the warm-up, tokens/s (the prompt counted once a response on every
side), and the peak of resident memory; then the ratios. How much there is to gain depends on the data: the lengths of prompts
and completions stand above each task, with the tokens of an example padded, unpadded, and with its prompt shared,
and how many tokens all prompts of a batch begin with (a template's system prompt), which `ours` reads once a batch.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

from _ratios import ratio_line
from _training_data import Prepared, prepare
from _training_terms import LEARNING_RATES, Measurement, Order, Result, Settings, Side, Task

from trimtab.artifacts import resolve

SPEED_GOALS: dict[Task, tuple[str, str]] = {
    "dpo": ("at least 2.5", "at least 5"),
    "reward": ("at least 1.6", "none"),
    "sft": ("at least 1.6", "none"),
    "lora": ("at least 2.3", "none"),
    "pro": ("at least 1.9", ""),
    "rrhf": ("at least 1.9", ""),
}
"""Against the tuned or plain side, and against TRL's defaults."""
MEMORY_GOALS: dict[Task, str] = {"dpo": "at most 0.6"}
LISTS: tuple[Task, ...] = ("pro", "rrhf")
CHILD = Path(__file__).with_name("_training_child.py")


@dataclass(frozen=True)
class Figures:
    """What one run of a side comes to."""

    examples: float
    """Per second."""
    tokens: float
    """Per second."""
    gigabytes: float
    losses: Sequence[float]


def sides_of(task: Task) -> tuple[Side, ...]:
    return ("ours", "plain") if task in LISTS else ("ours", "tuned", "defaults")


def run_child(order: Order, directory: Path) -> Measurement:
    """Runs a side in a fresh process."""
    ordered, measured = directory / "order.json", directory / "measurement.json"
    ordered.write_text(json.dumps(asdict(order)), encoding="utf-8")
    measured.unlink(missing_ok=True)
    threads = str(order.settings.threads)
    environment = os.environ | {
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(directory / "datasets"),
    }
    command = [sys.executable, str(CHILD), str(ordered), str(measured)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode or not measured.exists():
        raise SystemExit(
            f"{order.task}, {order.side} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        )
    read: dict[str, Any] = json.loads(measured.read_text(encoding="utf-8"))
    return Measurement(Result(**read["result"]), read["peak_bytes"], read["product"])


def figures_of(measurement: Measurement, prepared: Prepared, settings: Settings) -> Figures:
    ends = measurement.result.ends
    seconds = ends[settings.all_steps - 1] - ends[settings.warm_up - 1]
    return Figures(
        examples=settings.steps * settings.batch / seconds,
        tokens=prepared.tokens / seconds,
        gigabytes=measurement.peak_bytes / 1e9,
        losses=measurement.result.losses,
    )


def measure(task: Task, prepared: Prepared, settings: Settings, chosen: argparse.Namespace) -> dict[Side, list[Figures]]:
    """Every side's figures, a round each; every second round in the opposite order."""
    sides = [side for side in sides_of(task) if side in chosen.sides]
    found: dict[Side, list[Figures]] = {side: [] for side in sides}
    for number in range(chosen.rounds):
        for side in sides[:: -1 if number % 2 else 1]:
            rows, digest = (
                (prepared.mixed, prepared.mixed_digest) if side == "defaults" else (prepared.sorted, prepared.sorted_digest)
            )
            with tempfile.TemporaryDirectory(prefix=f"{task}-{side}-", dir=settings.work) as work:
                order = Order(task, side, rows, replace(settings, work=str(Path(work) / "run")))
                measurement = run_child(order, Path(work))
            if measurement.result.digest != digest:
                raise SystemExit(f"{task}: the batches of {side} do not hold the token ids that they should")
            own = figures_of(measurement, prepared, settings)
            found[side].append(own)
            print(
                f"  {side:<9} {own.examples:7.3f} examples/s  {own.tokens:8.1f} tokens/s  {own.gigabytes:6.2f} GB  "
                f"loss {own.losses[0]:.5f} to {own.losses[-1]:.5f}  ({measurement.product})",
                flush=True,
            )
    return found


def report(task: Task, found: dict[Side, list[Figures]]) -> None:
    ours = found.get("ours", [])
    for side, goal in zip(sides_of(task)[1:], SPEED_GOALS[task], strict=False):
        theirs = found.get(side, [])
        if not ours or not theirs:
            continue
        print(ratio_line(f"{task}, examples/s, {side}", [f.examples for f in ours], [f.examples for f in theirs], goal))
        memory = MEMORY_GOALS.get(task, "none") if side != "defaults" else "none"
        print(ratio_line(f"{task}, peak GB, {side}", [f.gigabytes for f in ours], [f.gigabytes for f in theirs], memory))
        if side != "defaults":
            apart = max(abs(a - b) for own, other in zip(ours, theirs, strict=True) for a, b in pairs(own.losses, other.losses))
            print(f"{f'{task}, loss of a step, {side}':<34} apart {apart:9.2e} at most  goal under 1e-3")


def pairs(ours: Sequence[float], theirs: Sequence[float]) -> list[tuple[float, float]]:
    return list(zip(ours, theirs, strict=True))


def with_head(model: Path, directory: Path, seed: int) -> Path:
    """The model with a scoring head in place of its language head, the same start for every side."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    path = directory / "with-head"
    scorer = AutoModelForSequenceClassification.from_pretrained(model, num_labels=1, dtype=torch.float32)
    width = scorer.score.in_features
    torch.nn.init.normal_(scorer.score.weight, std=(width + 1) ** -0.5, generator=torch.Generator().manual_seed(seed))
    scorer.save_pretrained(path)
    AutoTokenizer.from_pretrained(model).save_pretrained(path)
    return path


def run_task(task: Task, model: Path, chosen: argparse.Namespace, directory: Path) -> None:
    from transformers import AutoTokenizer

    settings = Settings(
        model=str(model),
        start=str(with_head(model, directory, chosen.seed) if task == "reward" else model),
        learning_rate=LEARNING_RATES[task],
        batch=chosen.batch,
        warm_up=chosen.warm_up,
        steps=chosen.steps,
        max_length=chosen.max_length,
        lora_rank=chosen.lora_r,
        seed=chosen.seed,
        threads=chosen.threads,
        work=str(directory),
    )
    prepared = prepare(task, chosen.data, AutoTokenizer.from_pretrained(model), settings, directory)
    n = prepared.lengths
    print(
        f"\n{task}: prompts {n.prompt:.0f} tokens in the mean, completions {n.completion:.0f}; an example {n.padded:.0f} "
        f"tokens padded, {n.unpadded:.0f} unpadded, {n.shared:.0f} with its prompt shared; "
        f"all prompts of a batch begin with the same {n.prefix:.0f}",
        flush=True,
    )
    report(task, measure(task, prepared, settings, chosen))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="JSONL of preference pairs")
    parser.add_argument("--model", default="smollm2-135m-instruct", help="an alias or a checkpoint directory")
    parser.add_argument("--tasks", nargs="+", choices=get_args(Task), default=list(get_args(Task)))
    parser.add_argument("--sides", nargs="+", choices=get_args(Side), default=list(get_args(Side)), help="only these")
    parser.add_argument("--rounds", type=int, default=1, help="runs of each side (default 1)")
    parser.add_argument("--steps", type=int, default=12, help="steps measured (default 12)")
    parser.add_argument("--warm-up", type=int, default=2, help="steps before them, at least 1 (default 2)")
    parser.add_argument("--batch", type=int, default=4, help="rows a step (default 4)")
    parser.add_argument("--max-length", type=int, default=512, help="tokens of a sequence (default 512)")
    parser.add_argument("--lora-r", type=int, default=16, help="rank of the adapter (default 16)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of every side (default: all cores)")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    chosen = arguments()
    model = resolve(chosen.model).path
    print(
        f"{chosen.model}, float32, {chosen.threads} threads, batches of {chosen.batch}, at most {chosen.max_length} tokens, "
        f"{chosen.steps} steps measured after {chosen.warm_up}, {chosen.rounds} rounds",
        flush=True,
    )
    with tempfile.TemporaryDirectory(prefix="trimtab-training-") as directory:
        for task in chosen.tasks:
            run_task(task, model, chosen, Path(directory))


if __name__ == "__main__":
    main()
