"""A run from settings to a served directory: data, model, reference, loop, result, report. The command line calls it."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import EarlyStoppingCallback, PrinterCallback, TrainerCallback, TrainingArguments

from trimtab.artifacts import cache_root
from trimtab.artifacts.checkpoint import TrainingFacts
from trimtab.training.arguments import training_arguments
from trimtab.training.artefact import data_hash, markers_of, write_artefact
from trimtab.training.callbacks import MetricsWriter, ProgressBar
from trimtab.training.comparisons import comparisons
from trimtab.training.errors import ConfigInvalid
from trimtab.training.evaluation import Estimate
from trimtab.training.methods.online import ONLINE, OnlineMethod
from trimtab.training.networks import Policy
from trimtab.training.online.build import OnlineData, OnlineRun, online_run
from trimtab.training.online.parts import OnlineParts
from trimtab.training.preparing import Prepared, Tell, prepare
from trimtab.training.reference import ReferenceLogps, reference_logps
from trimtab.training.reports.metrics import MetricsFile
from trimtab.training.reports.page import Report, write_page
from trimtab.training.reports.plot import plot_run
from trimtab.training.settings import TrainSettings
from trimtab.training.trainer import AlignmentTrainer, last_checkpoint
from trimtab.training.workspace import CHECKPOINTS, EVENTS, METRICS, PAGE, PLOT, same_run, workspace

logger = logging.getLogger(__name__)


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
        same_run(folder, settings)
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
    writer = _writer(folder, checkpoint, arguments)
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
    try:
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        if prepared.held_out:
            trainer.evaluate()
    finally:
        if online is not None:
            online.close()
    weights = trainer.whole_weights()
    if arguments.process_index > 0:
        return Result(folder, trainer.state.global_step)
    return _finish(settings, prepared, trainer, folder, tell, weights)


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
            dtype=torch.bfloat16 if arguments.bf16 else torch.float32,
            share_prompts=settings.share_prompts and prepared.loaded.shares_prompts,
            recompute=settings.recompute_reference,
            progress=lambda done, of: tell(f"reference: {done} of {of}") if done == of else None,
        )


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


def _writer(folder: Path, checkpoint: Path | None, arguments: TrainingArguments) -> MetricsWriter:
    file = MetricsFile(folder / METRICS)
    if arguments.process_index == 0 and (folder / METRICS).exists():
        file.resume_at(0 if checkpoint is None else int(checkpoint.name.rpartition("-")[2]))
    return MetricsWriter(file)


def _finish(
    settings: TrainSettings,
    prepared: Prepared,
    trainer: AlignmentTrainer,
    folder: Path,
    tell: Tell,
    weights: Mapping[str, torch.Tensor] | None,
) -> Result:
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
    write_artefact(folder, prepared.loaded, settings, kind, facts, prepared.tokenizer.end_ids, weights)
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
    except ConfigInvalid as error:
        tell(f"no picture: {error}")
    config = settings.model_dump(mode="json")
    write_page(Report(title=title, figures=figures, config=config, picture=picture), folder / PAGE)
