"""A run's settings as `transformers.Trainer` takes them."""

from typing import Any

import torch
from transformers import TrainingArguments

from trimtab.training.errors import ConfigInvalid
from trimtab.training.methods.catalogue import LORA_FACTOR, PRESETS
from trimtab.training.methods.online import ONLINE
from trimtab.training.settings import TrainSettings
from trimtab.training.sharding import sharding_arguments
from trimtab.training.workspace import CHECKPOINTS


def training_arguments(settings: TrainSettings) -> TrainingArguments:
    """The settings as `transformers.Trainer` takes them. Starts the process group where there are several processes."""
    bfloat16 = settings.dtype == "bfloat16" or (
        settings.dtype == "auto" and torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    )
    preset = PRESETS.get(settings.method)
    lr = settings.lr or (preset.lr if preset else 1e-5) * (LORA_FACTOR if settings.lora else 1.0)
    arguments = TrainingArguments(
        output_dir=str(settings.output / CHECKPOINTS),
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.grad_accum,
        num_train_epochs=1,
        learning_rate=lr,
        **_schedule(settings),
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
    # Several GPUs are used through a launcher, a process each; Trainer would otherwise copy the model within this process.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def _schedule(settings: TrainSettings) -> dict[str, Any]:
    """A line that ends above 0 is the library's polynomial of the first degree."""
    if settings.lr_end is None:
        return {"lr_scheduler_type": settings.scheduler}
    return {"lr_scheduler_type": "polynomial", "lr_scheduler_kwargs": {"lr_end": settings.lr_end, "power": 1.0}}


def _parallel(settings: TrainSettings) -> dict[str, Any]:
    """Arguments of a sharding configuration. Raises ConfigInvalid for an adapter that would be merged while it is sharded."""
    if settings.accelerate_config is None:
        return {}
    if settings.lora is not None and settings.method in ("reward", "value", "choice"):
        raise ConfigInvalid(
            f"accelerate_config with lora: the adapter of {settings.method} is merged at the end, a sharded one cannot be; "
            "leave one of the two out"
        )
    return sharding_arguments(settings.accelerate_config)
