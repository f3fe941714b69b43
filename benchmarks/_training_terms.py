"""What the sides of the training benchmark have in common: the order of work, the settings, and what a run gives back."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

Item = TypeVar("Item")
Task = Literal["dpo", "reward", "sft", "lora", "pro", "rrhf"]
Side = Literal["ours", "tuned", "defaults", "plain"]

LEARNING_RATES: dict[Task, float] = {"dpo": 1e-6, "reward": 1e-5, "sft": 2e-5, "lora": 1e-5, "pro": 5e-6, "rrhf": 2e-5}
"""Constant over the run, AdamW without weight decay, gradients clipped to norm 1."""
BETA = 0.1
LORA_ALPHA = 32
LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class Settings:
    """The same on every side."""

    model: str
    """Directory of a checkpoint."""
    start: str
    """Directory where training begins: the model itself, or the model with a scoring head."""
    learning_rate: float
    batch: int
    """Rows a step."""
    warm_up: int
    """Steps before those measured."""
    steps: int
    """Steps measured."""
    max_length: int
    lora_rank: int
    seed: int
    threads: int
    work: str
    """Directory for whatever a run writes."""

    @property
    def all_steps(self) -> int:
        return self.warm_up + self.steps


@dataclass(frozen=True)
class Result:
    """What one run did."""

    losses: list[float]
    """Of every step, the warm-up included."""
    ends: list[float]
    """Monotonic time at the end of every step, in seconds."""
    digest: str
    """Of the token ids of all batches, in order; see `digest_of`."""


@dataclass(frozen=True)
class Tokens:
    """One token sequence of a batch."""

    ids: tuple[int, ...]
    scored: int
    """How many of its last tokens the loss counts; 0 where the whole is scored by a head."""


@dataclass(frozen=True)
class Measurement:
    """What a child process reports."""

    result: Result
    peak_bytes: int
    """Largest resident memory of the process in its life."""
    product: str
    """Which kernel multiplies float32 matrices."""


@dataclass(frozen=True)
class Order:
    """Work for one child process."""

    task: Task
    side: Side
    rows: str
    """JSONL; `batch` rows a step, in the order of the steps."""
    settings: Settings


def digest_of(batches: Sequence[Sequence[Tokens]]) -> str:
    """Equal for equal batches in the same order; the order of the sequences within a batch does not matter."""
    plain = [sorted([list(sequence.ids), sequence.scored] for sequence in batch) for batch in batches]
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()


def read_rows(path: str) -> list[dict[str, Any]]:
    """The rows of a JSONL file."""
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def cut(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    """The items in groups of a size."""
    return [items[begin : begin + size] for begin in range(0, len(items), size)]
