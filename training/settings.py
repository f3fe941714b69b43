"""What a run is told, as one frozen model; the YAML file and the command line are its forms."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from trimtab.training.models import LoraSettings


class TrainSettings(BaseModel):
    """One training run."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    method: str
    """Its name, e.g. dpo."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    """The method's own parameters, e.g. beta."""
    model: str = "smollm2-135m-instruct"
    """Hugging Face id, directory, `.gguf` file or catalogue alias."""
    data: str
    """JSONL file, dataset directory or hub id; methods that sample read their prompts there."""
    eval_data: str | None = None
    """The same, held out: evaluated at the end, and every `eval_steps`."""
    output: Path
    """Directory of the run; new or empty, or a run to resume."""
    max_bad_rows: int = Field(default=0, ge=0)
    """How many malformed rows are skipped (each is reported) before the run stops."""
    chat_template: Path | None = None
    """File with a Jinja template in place of the tokenizer's own."""
    accept_licences: frozenset[str] = frozenset()
    """Licences accepted beforehand, e.g. gemma."""

    max_steps: int | None = Field(default=None, ge=1)
    """Optimizer steps; default as many as `epochs` makes."""
    epochs: float | None = Field(default=None, gt=0)
    """Passes over the data; default by method."""
    batch_size: int = Field(default=4, ge=1)
    """Examples (pairs, lists) of a micro-batch, on each process."""
    grad_accum: int = Field(default=1, ge=1)
    """Micro-batches of an optimizer step; normalisation is over the whole step."""
    lr: float | None = Field(default=None, gt=0)
    """Peak learning rate; default by method, ten times as much with an adapter."""
    scheduler: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "linear"
    """How it falls."""
    lr_end: float | None = Field(default=None, ge=0)
    """Where a linear fall ends; default 0."""
    warmup_ratio: float = Field(default=0.03, ge=0, lt=1)
    """Share of the steps over which it rises."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's."""
    adam_beta2: float = Field(default=0.999, gt=0, lt=1)
    """AdamW's second moment."""
    max_grad_norm: float = Field(default=1.0, ge=0)
    """Longest gradient; 0 = any."""
    max_length: int = Field(default=1024, ge=8)
    """Tokens of a prompt with one answer; longer answers lose their end, longer prompts their example."""
    seed: int = Field(default=0, ge=0)
    """Of the order of data, adapters, heads and samples."""
    shuffle: bool = True
    """Whether the data are shuffled anew every pass."""

    lora: LoraSettings | None = None
    """An adapter in place of full fine-tuning."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the computation; weights, optimizer and losses stay float32. auto: bfloat16 on GPUs that have it, else float32."""
    save_dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the weights in the result; checkpoints are float32. bfloat16 is half as large and may round small updates away."""
    checkpointing: bool = False
    """Recompute activations in the backward pass: about a third slower, a fraction of the memory."""
    share_prompts: bool = True
    """Where the model allows it, read a prompt once for its answers, and the prompts' common start once: the same, faster."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads; default torch's own."""

    logging_steps: int = Field(default=1, ge=1)
    """Steps between lines of metrics."""
    eval_steps: int | None = Field(default=None, ge=1)
    """Steps between evaluations; default at the end alone."""
    save_steps: int | None = Field(default=None, ge=1)
    """Steps between checkpoints; default none but the end's result."""
    save_total_limit: int = Field(default=2, ge=1)
    """Checkpoints kept."""
    early_stopping_patience: int | None = Field(default=None, ge=1)
    """Evaluations without a better eval_loss after which the run stops; the best checkpoint becomes the result."""
    tensorboard: bool = False
    """Write TensorBoard events beside the metrics."""
    reference_cache: Path | None = None
    """Where reference log-probabilities are kept; default the models' cache."""
    recompute_reference: bool = False
    """Compute them anew."""
    accelerate_config: Path | None = None
    """An FSDP or DeepSpeed settings file for transformers (JSON), e.g. one of `training/configs`."""

    @model_validator(mode="after")
    def _only_a_line_ends_somewhere(self) -> "TrainSettings":
        if self.lr_end is not None and self.scheduler != "linear":
            raise ValueError(f"lr_end is for the scheduler linear, not {self.scheduler}")
        if self.lr_end is not None and self.lr is not None and self.lr_end > self.lr:
            raise ValueError(f"lr_end {self.lr_end:g} is above lr {self.lr:g}")
        return self

    @model_validator(mode="after")
    def _stopping_has_its_steps(self) -> "TrainSettings":
        if self.early_stopping_patience is None:
            return self
        if self.eval_data is None or self.eval_steps is None:
            raise ValueError("early_stopping_patience needs eval_data and eval_steps")
        if self.save_steps is None or self.save_steps % self.eval_steps:
            raise ValueError(f"early_stopping_patience needs save_steps, a multiple of eval_steps ({self.eval_steps})")
        return self
