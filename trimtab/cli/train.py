"""`trimtab train`: make a policy, a reward model or an aligner from data, in a directory that `trimtab serve` loads."""

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from trimtab.cli import train_options as options
from trimtab.cli.failure import clear_errors
from trimtab.cli.train_settings import settings_of

if TYPE_CHECKING:
    from trimtab.training.run import Result
    from trimtab.training.settings import TrainSettings

NO_KEYS = ("config", "resume", "dry_run", "server", "server_model")
"""Flags that are no key of the settings."""


def train(
    ctx: typer.Context,
    method: options.MethodName = None,
    config: options.Config = None,
    parameters: options.Parameters = None,
    output: options.Output = None,
    resume: options.Resume = False,
    dry_run: options.DryRun = False,
    model: options.Model = None,
    data: options.Data = None,
    eval_data: options.EvalData = None,
    max_length: options.MaxLength = None,
    max_bad_rows: options.MaxBadRows = None,
    chat_template: options.ChatTemplate = None,
    accept_licences: options.AcceptLicences = None,
    max_steps: options.MaxSteps = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    grad_accum: options.GradAccum = None,
    lr: options.Lr = None,
    scheduler: options.Scheduler = None,
    lr_end: options.LrEnd = None,
    warmup_ratio: options.WarmupRatio = None,
    weight_decay: options.WeightDecay = None,
    adam_beta2: options.AdamBeta2 = None,
    max_grad_norm: options.MaxGradNorm = None,
    seed: options.Seed = None,
    shuffle: options.Shuffle = None,
    lora_r: options.LoraR = None,
    lora_alpha: options.LoraAlpha = None,
    lora_dropout: options.LoraDropout = None,
    lora_targets: options.LoraTargets = None,
    lora_base_bits: options.LoraBaseBits = None,
    dtype: options.Dtype = None,
    save_dtype: options.SaveDtype = None,
    checkpointing: options.Checkpointing = None,
    share_prompts: options.SharePrompts = None,
    threads: options.Threads = None,
    reference_cache: options.ReferenceCache = None,
    recompute_reference: options.RecomputeReference = None,
    accelerate_config: options.AccelerateConfig = None,
    logging_steps: options.LoggingSteps = None,
    eval_steps: options.EvalSteps = None,
    save_steps: options.SaveSteps = None,
    save_total_limit: options.SaveTotalLimit = None,
    early_stopping_patience: options.EarlyStoppingPatience = None,
    tensorboard: options.Tensorboard = None,
    server: options.Server = None,
    server_model: options.ServerModel = None,
) -> None:
    """Train a model with METHOD and write a directory that `trimtab serve` loads.

    Flag > environment (TRIMTAB_TRAIN_ and the flag's name, e.g. TRIMTAB_TRAIN_MAX_STEPS) > file > default. On several GPUs or
    processes: accelerate launch -m trimtab train ...
    """
    given = {name: value for name, value in ctx.params.items() if name not in NO_KEYS}
    with clear_errors():
        settings = settings_of(given, config)
        _check(settings, server, server_model)
        _fetch(settings)
        if dry_run:
            _show(settings, resume=resume)
            return
        begin = time.monotonic()
        result = _trained(settings, resume, server, server_model)
    if _is_first_process():
        print("\n".join(told(result, time.monotonic() - begin)))


def _is_first_process() -> bool:
    """Whether this process is the one that speaks, of those that a launcher started."""
    return int(os.environ.get("RANK", "0")) == 0


def _tell(line: str) -> None:
    typer.echo(line, err=True)


def _check(settings: "TrainSettings", server: str | None, server_model: str | None) -> None:
    """Raise for a method, a parameter or a flag that makes no sense, before a model is fetched."""
    from trimtab.training.methods.catalogue import method

    method(settings.method, settings.parameters)
    if settings.method in options.ONLINE:
        from trimtab.cli.train_online import reward_source

        reward_source(settings)
    elif server or server_model:
        raise typer.BadParameter(f"--server is for methods that sample ({', '.join(options.ONLINE)}), not {settings.method}")
    if server_model and not server:
        raise typer.BadParameter("--server-model names a model of --server URL, which is missing")


def _fetch(settings: "TrainSettings") -> None:
    """The model onto this machine, with a progress bar, before anything waits for it."""
    from trimtab.artifacts import TerminalProgress, resolve

    with TerminalProgress() as progress:
        shown = progress if _is_first_process() else None
        resolve(settings.model, accept_licences=settings.accept_licences, progress=shown)


def _show(settings: "TrainSettings", *, resume: bool) -> None:
    from rich.console import Console

    from trimtab.cli.train_preview import preview

    parts = preview(settings, resume=resume, tell=_tell)
    if _is_first_process():
        console = Console(soft_wrap=True, highlight=False)
        for part in parts:
            console.print(part, markup=False)


def _trained(settings: "TrainSettings", resume: bool, server: str | None, server_model: str | None) -> "Result":
    from trimtab.training.run import train as run

    if settings.method not in options.ONLINE:
        return run(settings, resume=resume, tell=_tell)
    from trimtab.cli.train_online import Server, online_parts

    with online_parts(settings, Server(server, server_model or settings.model) if server else None) as parts:
        return run(settings, parts=parts, resume=resume, tell=_tell)


def told(result: "Result", seconds: float) -> list[str]:
    """What is said at the end: figures with their intervals, what lies where, and how it is served."""
    from trimtab.training.workspace import METRICS, PAGE, PLOT

    files = [name for name in (PAGE, PLOT, METRICS) if (result.folder / name).exists()]
    return [
        f"{result.steps} steps in {_duration(seconds)}",
        *figures(result.figures),
        f"result   {result.folder}",
        f"report   {', '.join(str(result.folder / name) for name in files)}",
        f"serve    trimtab serve {result.folder}",
    ]


def figures(found: Mapping[str, Any]) -> list[str]:
    """A line a figure; an interval is in brackets."""
    width = max((len(name) for name in found), default=0)
    return [f"{name:<{width}}  {value if not isinstance(value, float) else f'{value:.4g}'}" for name, value in found.items()]


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
