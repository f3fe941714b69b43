"""Our side of the training benchmark: the steps of `trimtab.training.run.train`, with a clock, up to the written result."""

from pathlib import Path
from typing import Any

from _training_clock import StepClock
from _training_terms import BETA, LORA_ALPHA, LORA_TARGETS, Result, Settings, Task, Tokens, digest_of, read_rows

from trimtab.training.arguments import training_arguments
from trimtab.training.callbacks import MetricsWriter
from trimtab.training.data.batch import Batch
from trimtab.training.models import LoraSettings
from trimtab.training.networks import Policy
from trimtab.training.preparing import Prepared, prepare
from trimtab.training.reference import ReferenceLogps, reference_logps
from trimtab.training.reports.metrics import MetricsFile
from trimtab.training.settings import TrainSettings
from trimtab.training.trainer import AlignmentTrainer
from trimtab.training.workspace import METRICS

PARAMETERS: dict[Task, dict[str, Any]] = {"dpo": {"beta": BETA}, "lora": {"beta": BETA}, "reward": {"centre": 0.0}}
"""Where a method's own default is not TRL's."""


def run_ours(task: Task, rows: str, settings: Settings) -> Result:
    """Trains on the rows in their order."""
    chosen = _settings(task, rows, settings)
    prepared = prepare(chosen, tell=_silent)
    if len(prepared.order) != len(read_rows(rows)):
        raise SystemExit(f"{task}: {len(prepared.order)} examples of {len(read_rows(rows))} rows")
    clock = StepClock()
    trainer = AlignmentTrainer(
        prepared.loaded.module,
        prepared.method,
        training_arguments(chosen),
        prepared.order,
        tokenizer=prepared.loaded.tokenizer,
        reference=_reference(prepared, Path(settings.work)),
        share_prompts=prepared.loaded.shares_prompts,
        callbacks=[clock, MetricsWriter(MetricsFile(Path(settings.work) / METRICS))],
    )
    digest = digest_of([_tokens(task, batch) for batch in trainer.get_train_dataloader()])
    trainer.train()
    return Result(clock.losses, clock.ends, digest)


def _settings(task: Task, rows: str, settings: Settings) -> TrainSettings:
    lora = LoraSettings(r=settings.lora_rank, alpha=LORA_ALPHA, targets=LORA_TARGETS) if task == "lora" else None
    return TrainSettings(
        method="dpo" if task == "lora" else task,
        parameters=PARAMETERS.get(task, {}),
        model=settings.start,
        data=rows,
        output=Path(settings.work),
        max_steps=settings.all_steps,
        batch_size=settings.batch,
        lr=settings.learning_rate,
        scheduler="constant",
        warmup_ratio=0.0,
        max_length=settings.max_length,
        seed=settings.seed,
        shuffle=False,
        lora=lora,
        dtype="float32",
        threads=settings.threads,
    )


def _reference(prepared: Prepared, work: Path) -> ReferenceLogps | None:
    policy = prepared.loaded.module
    if not prepared.method.needs_reference or not isinstance(policy, Policy):
        return None
    return reference_logps(policy, prepared.order, work / "reference", share_prompts=prepared.loaded.shares_prompts)


def _tokens(task: Task, batch: Batch) -> list[Tokens]:
    """The sequences of a batch, its prompts written out before each response."""
    return [
        Tokens(example.prompt + branch.ids, 0 if task == "reward" else int(branch.counted))
        for example in batch.examples
        for branch in example.branches
    ]


def _silent(line: str) -> None:
    del line
