"""TRL's side of the training benchmark, through its own trainers alone.

`tuned`: float32, no gradient checkpointing, the reference's log-probabilities computed before training. `defaults`: what TRL
chooses by itself, bfloat16 autocast, checkpointing and a live reference included. Common to both: a CPU, the batch, the
length, the optimizer and its rate, the order of the rows, a log line a step.
"""

from typing import Any

from _training_clock import StepClock
from _training_terms import BETA, LORA_ALPHA, LORA_TARGETS, Result, Settings, Side, Task, Tokens, digest_of, read_rows
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoTokenizer, Trainer, set_seed
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer, SFTConfig, SFTTrainer


def run_trl(task: Task, rows: str, settings: Settings, side: Side) -> Result:
    """Trains on the rows in their order."""
    data = Dataset.from_list(read_rows(rows))
    set_seed(settings.seed)  # an adapter is made before TRL sets its own
    trainer = _trainer(task, data, settings, tuned=side == "tuned")
    digest = digest_of([_tokens(batch) for batch in trainer.get_train_dataloader()])
    clock = StepClock()
    trainer.add_callback(clock)
    trainer.train()
    return Result(clock.losses, clock.ends, digest)


def _trainer(task: Task, data: Dataset, settings: Settings, *, tuned: bool) -> Trainer:
    tokenizer = AutoTokenizer.from_pretrained(settings.model)
    common = _arguments(settings) | ({"bf16": False, "gradient_checkpointing": False} if tuned else {})
    if task == "sft":
        sft = SFTConfig(**common)
        return SFTTrainer(settings.start, args=sft, train_dataset=data, processing_class=tokenizer)
    if task == "reward":
        reward = RewardConfig(**common, pad_token=_other_than_end(tokenizer) if tuned else None)
        return RewardTrainer(settings.start, args=reward, train_dataset=data, processing_class=tokenizer)
    dpo = DPOConfig(**common, beta=BETA, precompute_ref_log_probs=tuned)
    adapter = _adapter(settings) if task == "lora" else None
    return DPOTrainer(settings.start, args=dpo, train_dataset=data, processing_class=tokenizer, peft_config=adapter)


def _arguments(settings: Settings) -> dict[str, Any]:
    return {
        "output_dir": settings.work,
        "use_cpu": True,
        "per_device_train_batch_size": settings.batch,
        "max_length": settings.max_length,
        "max_steps": settings.all_steps,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": "constant",
        "train_sampling_strategy": "sequential",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "seed": settings.seed,
    }


def _adapter(settings: Settings) -> LoraConfig:
    return LoraConfig(r=settings.lora_rank, lora_alpha=LORA_ALPHA, target_modules=list(LORA_TARGETS), lora_dropout=0.0)


def _tokens(batch: dict[str, Any]) -> list[Tokens]:
    """What TRL's collator made of some rows."""
    masks = batch["attention_mask"].bool()
    if "completion_mask" in batch:
        scored = batch["completion_mask"].sum(1).tolist()
    elif "labels" in batch:
        scored = (batch["labels"] != -100).sum(1).tolist()
    else:
        scored = [0] * len(masks)
    ids = [tuple(row[mask].tolist()) for row, mask in zip(batch["input_ids"], masks, strict=True)]
    return [Tokens(own, count) for own, count in zip(ids, scored, strict=True)]


def _other_than_end(tokenizer: Any) -> str:
    """A token to pad with. Where the end token itself pads, TRL's reward model reads its score one token too early."""
    token: str = next(token for token in tokenizer.all_special_tokens if token != tokenizer.eos_token)
    return token
