"""A run before its first step: its rows read, its model loaded, its examples made and put in order. Nothing is written."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from trimtab.training.arithmetic import use_fast_float32
from trimtab.training.data.example_sets import ExampleSet, examples
from trimtab.training.data.examples import Example
from trimtab.training.data.readers import RowSet, read_rows
from trimtab.training.data.templates import RowTokenizer
from trimtab.training.methods.base import Method
from trimtab.training.methods.catalogue import PRESETS, method
from trimtab.training.methods.online import OnlineMethod, prompts_needed
from trimtab.training.models import Loaded, check_ends, load
from trimtab.training.order import Stretch, ordered
from trimtab.training.settings import TrainSettings

Tell = Callable[[str], None]
"""Shown a line about what goes on."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run before its first step."""

    method: Method
    loaded: Loaded
    tokenizer: RowTokenizer
    order: Sequence[Example]
    held_out: Sequence[Example]
    rows: RowSet
    held_out_rows: RowSet | None
    sets: tuple[ExampleSet, ...]


def prepare(settings: TrainSettings, processes: int = 1, *, tell: Tell = print) -> Prepared:
    """Model and data of a run; nothing is written. Raises DataError, ModelError, ConfigInvalid, ArtifactError."""
    _seed(settings)
    chosen = method(settings.method, settings.parameters)
    rows, held_out_rows = _rows(settings, tell)
    loaded = load(
        settings.model,
        chosen.head,
        lora=settings.lora,
        checkpointing=settings.checkpointing,
        chat_template=None if settings.chat_template is None else settings.chat_template.read_text(encoding="utf-8"),
        accept_licences=settings.accept_licences,
    )
    tokenizer = RowTokenizer(loaded.tokenizer)
    if chosen.head == "language" and (settings.lora is not None or isinstance(chosen, OnlineMethod)):
        check_ends(loaded, tokenizer.end_ids)
    stretches, sets = _stretches(chosen, rows, tokenizer, settings)
    held_out = _held_out(chosen, held_out_rows, tokenizer, settings, tell)
    for told in sets:
        _tell_set(told, tell)
    total = _examples_in_all(chosen, stretches, settings, processes)
    order = ordered(stretches, seed=settings.seed, total=total, shuffled=settings.shuffle)
    return Prepared(chosen, loaded, tokenizer, order, held_out, rows, held_out_rows, sets)


def _examples_in_all(chosen: Method, stretches: Sequence[Stretch], settings: TrainSettings, processes: int) -> int | None:
    """How many examples a run sees; None: as many as its stretches hold."""
    step = settings.batch_size * settings.grad_accum
    if isinstance(chosen, OnlineMethod):
        natural = sum(len(stretch.examples) * stretch.epochs for stretch in stretches)
        return prompts_needed(chosen, settings.max_steps, natural, step)
    return None if settings.max_steps is None else settings.max_steps * step * processes


def _seed(settings: TrainSettings) -> None:
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    random.seed(settings.seed)
    np.random.seed(settings.seed)
    torch.manual_seed(settings.seed)
    use_fast_float32()


def _rows(settings: TrainSettings, tell: Tell) -> tuple[RowSet, RowSet | None]:
    found = read_rows(settings.data, max_bad_rows=settings.max_bad_rows)
    held_out = None
    if settings.eval_data is not None:
        held_out = read_rows(settings.eval_data, max_bad_rows=settings.max_bad_rows)
    for rows in (found, held_out):
        for bad in () if rows is None else rows.bad[:10]:
            tell(f"skipped {bad}")
    return found, held_out


def _stretches(
    chosen: Method, rows: RowSet, tokenizer: RowTokenizer, settings: TrainSettings
) -> tuple[list[Stretch], tuple[ExampleSet, ...]]:
    epochs = settings.epochs if settings.epochs is not None else PRESETS[chosen.kind].epochs
    stretches, sets = [], []
    for phase in chosen.phases():
        part = rows.rows[: max(1, math.ceil(len(rows.rows) * phase.fraction))]
        made = examples(part, phase.view, tokenizer, settings.max_length)
        ready = tuple(chosen.prepare(made.examples, settings.max_length))
        stretches.append(Stretch(ready, epochs if phase.epochs is None else phase.epochs))
        sets.append(made)
    return stretches, tuple(sets)


def _held_out(
    chosen: Method, rows: RowSet | None, tokenizer: RowTokenizer, settings: TrainSettings, tell: Tell
) -> Sequence[Example]:
    """The evaluation's examples, in the view of the method's last phase."""
    if rows is None:
        return ()
    made = examples(rows.rows, chosen.phases()[-1].view, tokenizer, settings.max_length)
    _tell_set(made, tell)
    return chosen.prepare(made.examples, settings.max_length)


def _tell_set(made: ExampleSet, tell: Tell) -> None:
    if made.dropped:
        tell(f"{len(made.dropped)} rows make no example: {'; '.join(str(one) for one in made.dropped[:3])}")
    if made.cut:
        tell(f"{made.cut} of {len(made.examples)} examples lose the end of an answer to max_length")
