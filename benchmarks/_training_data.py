"""Rows for the training benchmark: the same ones in the same batches for every side, and what they measure in tokens.

Prompts are the chat template's text with its generation prompt, completions plain text behind which the end-of-turn token
comes. Rows are left out that a side would drop, cut differently or tokenise differently.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from _training_terms import Settings, Task, Tokens, cut, digest_of

LIST_SCORES = (3.0, 2.0, 1.0, 0.0)
"""Of a list's responses: the chosen, the rejected, and two answers to other prompts."""


@dataclass(frozen=True)
class Example:
    """A row with its tokens."""

    row: dict[str, Any]
    prompt: tuple[int, ...]
    completions: tuple[tuple[int, ...], ...]
    """What is left of each below the maximum length, the end-of-turn token included where it is left."""

    @property
    def longest(self) -> int:
        return len(self.prompt) + max(map(len, self.completions))

    def sequences(self, task: Task) -> list[Tokens]:
        return [Tokens(self.prompt + own, 0 if task == "reward" else len(own)) for own in self.completions]


@dataclass(frozen=True)
class Lengths:
    """Mean tokens of the measured rows."""

    prompt: float
    completion: float
    padded: float
    """Of a row, its responses padded to the longest of their batch; batches sorted by length."""
    unpadded: float
    shared: float
    """Of a row, its prompt counted once."""
    prefix: float
    """Of a batch, what all its prompts begin with."""


@dataclass(frozen=True)
class Prepared:
    """Files of rows with the digests of their batches."""

    sorted: str
    """Batches of rows of like length, in random order."""
    mixed: str
    """Batches of random rows; the same rows are measured."""
    sorted_digest: str
    mixed_digest: str
    lengths: Lengths
    tokens: int
    """Of the measured rows, the prompt counted once for each response."""


def prepare(task: Task, data: Path, tokenizer: Any, settings: Settings, directory: Path) -> Prepared:
    """Writes the rows of a task in both orders.

    data: JSONL with `prompt`, `chosen`, `rejected`, each a list of messages.
    """
    chance = random.Random(settings.seed)
    whole = [json.loads(line) for line in data.read_text(encoding="utf-8").splitlines()]
    examples = [example for row in _rows(task, whole, chance) if (example := _tokenised(task, row, tokenizer, settings))]
    wanted = settings.all_steps * settings.batch
    if len(examples) < wanted:
        raise SystemExit(f"{data} has {len(examples)} usable rows for {task}; {wanted} are needed")
    mixed = chance.sample(examples, wanted)
    split = settings.warm_up * settings.batch
    ordered = _by_length(mixed[:split], settings.batch, chance) + _by_length(mixed[split:], settings.batch, chance)
    return Prepared(
        sorted=_write(directory / f"{task}-sorted.jsonl", ordered),
        mixed=_write(directory / f"{task}-mixed.jsonl", mixed),
        sorted_digest=_digest(task, ordered, settings.batch),
        mixed_digest=_digest(task, mixed, settings.batch),
        lengths=_lengths(ordered[split:], settings.batch),
        tokens=sum(len(e.prompt) * len(e.completions) + sum(map(len, e.completions)) for e in ordered[split:]),
    )


def _rows(task: Task, whole: Sequence[dict[str, Any]], chance: random.Random) -> list[dict[str, Any]]:
    """The data as messages and texts, the rows of a task each."""
    pairs = [(row["prompt"], row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in whole]
    pairs = [pair for pair in pairs if pair[1].strip() and pair[2].strip() and pair[1] != pair[2]]
    if task == "sft":
        return [{"prompt": prompt, "completion": chosen} for prompt, chosen, _ in pairs]
    if task in ("pro", "rrhf"):
        answers = [chosen for _, chosen, _ in pairs]
        return [{"prompt": prompt, "texts": [*own, *chance.sample(answers, 2)]} for prompt, *own in pairs]
    return [{"prompt": prompt, "chosen": chosen, "rejected": rejected} for prompt, chosen, rejected in pairs]


def _tokenised(task: Task, row: dict[str, Any], tokenizer: Any, settings: Settings) -> Example | None:
    """None: some side would drop the row, or tokenise it differently."""
    text = tokenizer.apply_chat_template(row["prompt"], tokenize=False, add_generation_prompt=True)
    answers = row.get("texts") or [row[name] for name in ("completion", "chosen", "rejected") if name in row]
    prompt = tokenizer(text, add_special_tokens=False).input_ids
    wholes = [tokenizer(text + answer + tokenizer.eos_token, add_special_tokens=False).input_ids for answer in answers]
    limit = settings.max_length
    merged = any(whole[: len(prompt)] != prompt for whole in wholes)
    too_long = len(prompt) >= limit or (task == "reward" and max(map(len, wholes)) > limit)
    completions = tuple(tuple(whole[len(prompt) : limit]) for whole in wholes)
    if merged or too_long or len(set(completions)) < len(completions):
        return None
    written = {name: value for name, value in row.items() if name != "texts"} | {"prompt": text}
    if "texts" in row:
        pairs = zip(answers, LIST_SCORES, strict=True)
        written["responses"] = [{"content": answer, "score": score} for answer, score in pairs]
    return Example(written, tuple(prompt), completions)


def _by_length(examples: Sequence[Example], batch: int, chance: random.Random) -> list[Example]:
    batches = list(cut(sorted(examples, key=lambda example: example.longest), batch))
    chance.shuffle(batches)
    return [example for group in batches for example in group]


def _digest(task: Task, examples: Sequence[Example], batch: int) -> str:
    return digest_of([[s for example in group for s in example.sequences(task)] for group in cut(examples, batch)])


def _lengths(examples: Sequence[Example], batch: int) -> Lengths:
    padded = [len(e.completions) * max(other.longest for other in group) for group in cut(examples, batch) for e in group]
    completions = [len(own) for example in examples for own in example.completions]
    return Lengths(
        prompt=mean(len(example.prompt) for example in examples),
        completion=mean(completions),
        padded=mean(padded),
        unpadded=mean(len(e.prompt) * len(e.completions) + sum(map(len, e.completions)) for e in examples),
        shared=mean(len(e.prompt) + sum(map(len, e.completions)) for e in examples),
        prefix=mean(_in_common([e.prompt for e in group]) for group in cut(examples, batch)),
    )


def _write(path: Path, examples: Sequence[Example]) -> str:
    lines = [json.dumps(example.row, ensure_ascii=False) + "\n" for example in examples]
    path.write_text("".join(lines), encoding="utf-8")
    return str(path)


def _in_common(prompts: Sequence[tuple[int, ...]]) -> int:
    """Tokens that all prompts begin with."""
    places = zip(*prompts, strict=False)
    return next((number for number, place in enumerate(places) if len(set(place)) > 1), min(map(len, prompts)))
