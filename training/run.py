"""A run from settings to a served directory: data, model, reference, loop, result, report. The command line calls it."""

import logging
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import EarlyStoppingCallback, PrinterCallback, TrainerCallback, TrainingArguments

from trimtab.artifacts import cache_root
from trimtab.artifacts.checkpoint import TrainingFacts
from trimtab.training.arithmetic import use_fast_float32
from trimtab.training.artefact import data_hash, markers_of, write_artefact
from trimtab.training.callbacks import MetricsWriter, ProgressBar
from trimtab.training.comparisons import comparisons
from trimtab.training.data.example_sets import ExampleSet, examples
from trimtab.training.data.examples import Example
from trimtab.training.data.readers import RowSet, read_rows
from trimtab.training.data.templates import RowTokenizer
from trimtab.training.errors import ConfigInvalid
from trimtab.training.evaluation import Estimate
from trimtab.training.methods.base import Method
from trimtab.training.methods.catalogue import LORA_FACTOR, PRESETS, method
from trimtab.training.methods.online import ONLINE, OnlineMethod, prompts_needed
from trimtab.training.models import Loaded, load
from trimtab.training.networks import Policy
from trimtab.training.online.build import OnlineData, OnlineRun, online_run
from trimtab.training.online.parts import OnlineParts
from trimtab.training.order import Stretch, ordered
from trimtab.training.reference import ReferenceLogps, reference_logps
from trimtab.training.reports.metrics import MetricsFile
from trimtab.training.reports.page import Report, write_page
from trimtab.training.reports.plot import plot_run
from trimtab.training.settings import TrainSettings
from trimtab.training.trainer import AlignmentTrainer, last_checkpoint
from trimtab.training.workspace import CHECKPOINTS, EVENTS, METRICS, PAGE, PLOT, workspace

logger = logging.getLogger(__name__)
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


@dataclass(frozen=True, slots=True)
class Result:
    """A run after its last step."""

    folder: Path
    steps: int
    figures: Mapping[str, Estimate | float] = field(default_factory=dict)
    """Final figures by name."""


def train(
    settings: TrainSettings,
    *,
    parts: OnlineParts | None = None,
    resume: bool = False,
    tell: Tell = print,
    callbacks: Sequence[TrainerCallback] = (),
) -> Result:
    """Run the settings and write the result. Raises TrainingError and ArtifactError with nothing of a result written.

    parts: what samples and scores for a method that learns from its own answers; no other method takes them. callbacks: of
    `transformers`, beside the run's own.
    """
    if (settings.method in ONLINE) != (parts is not None):
        raise ConfigInvalid(f"{settings.method}: methods that sample need an engine and a scorer, and only they do")
    arguments = training_arguments(settings)
    if arguments.process_index > 0:
        return _run(settings, arguments, settings.output, parts, resume, _silent, callbacks)
    with workspace(settings.output, resume=resume) as folder:
        return _run(settings, arguments, folder, parts, resume, tell, callbacks)


def _silent(line: str) -> None:
    del line


def _run(
    settings: TrainSettings,
    arguments: TrainingArguments,
    folder: Path,
    parts: OnlineParts | None,
    resume: bool,
    tell: Tell,
    callbacks: Sequence[TrainerCallback],
) -> Result:
    prepared = prepare(settings, arguments.world_size, tell=tell)
    online = None if parts is None else _online(settings, arguments, prepared, parts, folder, tell)
    reference = _reference(settings, arguments, prepared, tell)
    checkpoint = last_checkpoint(folder / CHECKPOINTS) if resume else None
    if resume and checkpoint is None:
        tell("no checkpoint yet: from the beginning")
    writer = _writer(folder, checkpoint)
    trainer = AlignmentTrainer(
        prepared.loaded.module if online is None else online.module,
        prepared.method,
        arguments,
        prepared.order,
        tokenizer=prepared.loaded.tokenizer,
        held_out=prepared.held_out,
        reference=reference,
        share_prompts=settings.share_prompts and prepared.loaded.shares_prompts,
        feed=None if online is None else online.feed,
        callbacks=[writer, ProgressBar(), *_stopping(settings), *_events(settings, folder), *callbacks],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    if prepared.held_out:
        trainer.evaluate()
    if online is not None:
        online.close()
    if arguments.process_index > 0:
        return Result(folder, trainer.state.global_step)
    return _finish(settings, prepared, trainer, folder, tell)


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


def _online(
    settings: TrainSettings, arguments: TrainingArguments, prepared: Prepared, parts: OnlineParts, folder: Path, tell: Tell
) -> OnlineRun:
    assert isinstance(prepared.method, OnlineMethod)
    return online_run(
        settings,
        prepared.method,
        prepared.loaded,
        prepared.tokenizer,
        OnlineData(prepared.order, prepared.rows, prepared.held_out, prepared.held_out_rows),
        parts,
        folder=folder,
        bfloat16=arguments.bf16,
        processes=arguments.world_size,
        tell=tell,
    )


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


def _reference(settings: TrainSettings, arguments: TrainingArguments, prepared: Prepared, tell: Tell) -> ReferenceLogps | None:
    if not prepared.method.needs_reference:
        return None
    policy = prepared.loaded.module.to(arguments.device)
    assert isinstance(policy, Policy)
    known = {id(example): example for example in (*prepared.order, *prepared.held_out)}
    folder = settings.reference_cache or cache_root() / "reference"
    with arguments.main_process_first(desc="reference"):
        return reference_logps(
            policy,
            list(known.values()),
            folder,
            share_prompts=settings.share_prompts and prepared.loaded.shares_prompts,
            recompute=settings.recompute_reference,
            progress=lambda done, of: tell(f"reference: {done} of {of}") if done == of else None,
        )


def training_arguments(settings: TrainSettings) -> TrainingArguments:
    """The settings as `transformers.Trainer` takes them. Starts the process group where there are several processes."""
    bfloat16 = settings.dtype == "bfloat16" or (
        settings.dtype == "auto" and torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    )
    preset = PRESETS.get(settings.method)
    lr = settings.lr or (preset.lr if preset else 1e-5) * (LORA_FACTOR if settings.lora else 1.0)
    return TrainingArguments(
        output_dir=str(settings.output / CHECKPOINTS),
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.grad_accum,
        num_train_epochs=1,
        learning_rate=lr,
        lr_scheduler_type=settings.scheduler,
        warmup_steps=settings.warmup_ratio,
        weight_decay=settings.weight_decay,
        adam_beta2=settings.adam_beta2,
        max_grad_norm=settings.max_grad_norm,
        optim="adamw_torch_fused",
        bf16=bfloat16,
        use_cpu=not torch.cuda.is_available(),
        seed=settings.seed,
        logging_steps=settings.logging_steps,
        logging_nan_inf_filter=False,
        save_strategy="steps" if settings.save_steps else "no",
        save_steps=settings.save_steps or 500,
        save_total_limit=settings.save_total_limit,
        eval_strategy="steps" if settings.eval_steps and settings.eval_data else "no",
        eval_steps=settings.eval_steps,
        load_best_model_at_end=settings.early_stopping_patience is not None,
        metric_for_best_model="eval_loss" if settings.early_stopping_patience is not None else None,
        greater_is_better=False if settings.early_stopping_patience is not None else None,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        ddp_find_unused_parameters=False,
        ignore_data_skip=settings.method in ONLINE,
        dataloader_num_workers=0,
        **_parallel(settings),
    )


def _parallel(settings: TrainSettings) -> dict[str, Any]:
    """Arguments of a sharding configuration."""
    if settings.accelerate_config is None:
        return {}
    from trimtab.training.sharding import sharding_arguments

    return sharding_arguments(settings.accelerate_config)


def _stopping(settings: TrainSettings) -> list[Any]:
    patience = settings.early_stopping_patience
    return [] if patience is None else [EarlyStoppingCallback(early_stopping_patience=patience)]


def _events(settings: TrainSettings, folder: Path) -> list[Any]:
    if not settings.tensorboard:
        return []
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigInvalid("tensorboard: pip install 'trimtab[train]' brings it") from error
    from transformers.integrations import TensorBoardCallback

    return [TensorBoardCallback(SummaryWriter(str(folder / EVENTS)))]


def _writer(folder: Path, checkpoint: Path | None) -> MetricsWriter:
    file = MetricsFile(folder / METRICS)
    if (folder / METRICS).exists():
        file.resume_at(0 if checkpoint is None else int(checkpoint.name.rpartition("-")[2]))
    return MetricsWriter(file)


def _finish(settings: TrainSettings, prepared: Prepared, trainer: AlignmentTrainer, folder: Path, tell: Tell) -> Result:
    facts = TrainingFacts(
        method=settings.method,
        base=settings.model,
        data=settings.data,
        data_sha256=data_hash(prepared.order),
        markers=markers_of(settings.method),
        steps=trainer.state.global_step,
        seed=settings.seed,
        settings=settings.model_dump(mode="json", exclude_none=True),
    )
    kind = prepared.method.artefact
    write_artefact(folder, prepared.loaded, settings, kind, facts, prepared.tokenizer.end_ids)
    figures = _figures(prepared, trainer)
    report(folder, settings, figures, tell)
    return Result(folder, trainer.state.global_step, figures)


def _figures(prepared: Prepared, trainer: AlignmentTrainer) -> dict[str, Estimate | float]:
    evaluation = trainer.evaluation
    if evaluation is None or not prepared.held_out:
        return {}
    compared = comparisons(evaluation.margins, prepared.held_out, prepared.held_out_rows, prepared.rows)
    return {**evaluation.metrics, **compared}


def report(folder: Path, settings: TrainSettings, figures: Mapping[str, Estimate | float], tell: Tell) -> None:
    """The picture and the page of a run; without matplotlib the page alone."""
    title = f"{settings.method}: {settings.model}"
    picture = None
    try:
        if plot_run(folder / METRICS, folder / PLOT, title=title):
            picture = (folder / PLOT).read_bytes()
    except ImportError:
        tell("no picture: pip install 'trimtab[train]' brings matplotlib")
    config = settings.model_dump(mode="json")
    write_page(Report(title=title, figures=figures, config=config, picture=picture), folder / PAGE)
