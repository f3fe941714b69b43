"""One set of rows as each side reads it, and the tokens that each side made of it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from tests.training.tiny import PAIRS
from trimtab.training.data.examples import Example
from trimtab.training.data.readers import read_rows
from trimtab.training.data.templates import RowTokenizer
from trimtab.training.methods.base import Method

Rows = list[dict[str, Any]]
Tokens = list[tuple[tuple[int, ...], tuple[int, ...]]]
"""Of each sequence all tokens, and those that the loss counts."""


def conversations(pairs: Sequence[tuple[str, str, str]] = PAIRS) -> Rows:
    return [{"prompt": _turns("user", prompt), "chosen": said(good), "rejected": said(bad)} for prompt, good, bad in pairs]


def said(text: str) -> list[dict[str, str]]:
    return _turns("assistant", text)


def _turns(role: str, text: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text}]


def plain(rows: Rows, tokenizer: Any) -> Rows:
    """The same as text: TRL then puts the end-of-turn token after an answer, and not the newline that the template has."""
    return [{name: _text(name, value, tokenizer) for name, value in row.items()} for row in rows]


def _text(name: str, value: Any, tokenizer: Any) -> Any:
    if name == "prompt":
        return tokenizer.apply_chat_template(value, tokenize=False, add_generation_prompt=True)
    return value[0]["content"] if isinstance(value, list) else value


def examples(rows: Rows, method: Method, tokenizer: Any, folder: Path) -> list[Example]:
    """What our method trains on, read from a file as every run does."""
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    view, reader = method.phases()[0].view, RowTokenizer(tokenizer)
    found = [example for row in read_rows(file).rows for example in view(row, reader)]
    return list(method.prepare(found, max_length=512))


def our_tokens(given: Sequence[Example], branches: int) -> Tokens:
    """All first branches, then all second ones."""
    chosen = [(example.prompt, example.branches[place]) for place in range(branches) for example in given]
    return [
        (
            (*prompt, *branch.ids),
            tuple(i for i, w in zip(branch.ids, branch.weights or (1.0,) * len(branch.ids), strict=True) if w),
        )
        for prompt, branch in chosen
    ]


def trl_tokens(batch: Mapping[str, Tensor]) -> Tokens:
    """Of the batch that a collator of TRL made; a pair's two sides may stand in columns of their own."""
    sides = ("chosen_", "rejected_") if "chosen_input_ids" in batch else ("",)
    return [tokens for side in sides for tokens in _side(batch, side)]


def _side(batch: Mapping[str, Tensor], side: str) -> Tokens:
    ids, real = batch[f"{side}input_ids"], batch[f"{side}attention_mask"].bool()
    counted = batch["completion_mask"].bool() if "completion_mask" in batch else real
    if f"{side}labels" in batch:
        counted = batch[f"{side}labels"] != -100
    return [
        (tuple(row[there].tolist()), tuple(row[counts].tolist())) for row, there, counts in zip(ids, real, counted, strict=True)
    ]
