"""The one loop: `transformers.Trainer` over batches of trees, whatever the method.

What is ours: the batches, the loss and its exact normalisation over an optimizer step (all micro-batches, all processes), the
evaluation, and that a step that is not finite stops the run before it reaches the weights. It knows no files but checkpoints.
"""

import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments

from trimtab.training.callbacks import BorderSaves
from trimtab.training.data.batch import Batch, collate
from trimtab.training.data.examples import Example
from trimtab.training.errors import Diverged, OutputError
from trimtab.training.feed import Feed
from trimtab.training.measure import Evaluation, Means, evaluated
from trimtab.training.methods.base import Method, Scored
from trimtab.training.order import Shares, at
from trimtab.training.reference import ReferenceLogps

logger = logging.getLogger(__name__)
COMPLETE = ("optimizer.pt", "scheduler.pt", "trainer_state.json")
"""Files without which a checkpoint is not whole."""


class AlignmentTrainer(Trainer):
    """Trains one method on examples in a given order.

    order: every example in the order it is seen, passes and phases included. held_out: examples of the evaluation.
    reference: what the method's reference says of all of them, where it needs one. feed: makes the batches in place of the
    order, and evaluates in place of the held-out examples.
    """

    loss_is_scaled_for_ga = True

    def __init__(
        self,
        module: nn.Module,
        method: Method,
        arguments: TrainingArguments,
        order: Sequence[Example],
        *,
        tokenizer: Any,
        held_out: Sequence[Example] = (),
        reference: ReferenceLogps | None = None,
        share_prompts: bool = True,
        feed: Feed | None = None,
        callbacks: Sequence[Any] = (),
    ) -> None:
        together = [] if feed is None else [BorderSaves(feed.steps_together)]
        super().__init__(
            model=module,
            args=arguments,
            train_dataset=order,
            eval_dataset=held_out or None,
            callbacks=[*together, *callbacks],
        )
        self.method = method
        self.tokenizer = tokenizer
        self.held_out = held_out
        self._reference = reference
        self._feed = feed
        self._collate = partial(collate, share_prompts=share_prompts)
        self._means = Means()
        self._step_lines = ""
        self.evaluation: Evaluation | None = None
        """The last one."""
        self.model_accepts_loss_kwargs = True

    def get_train_dataloader(self) -> Iterable[Batch]:
        """Micro-batches of this process."""
        args = self.args
        if self._feed is not None:
            return _Fed(self, self._feed)
        shares = Shares(
            len(self.train_dataset),
            args.per_device_train_batch_size,
            args.gradient_accumulation_steps,
            process=args.process_index,
            processes=args.world_size,
        )
        return DataLoader(_Places(self.train_dataset), batch_sampler=shares, collate_fn=self._batch)

    def _batch(self, examples: Sequence[Example]) -> Batch:
        batch = self._collate(examples)
        return batch if self._reference is None else self._reference.attach(batch)

    def _prepare_inputs(self, inputs: Batch) -> Batch:
        return inputs.to(self.args.device)

    def floating_point_ops(self, inputs: Batch) -> int:
        """Not estimated."""
        del inputs
        return 0

    def _track_num_input_tokens(self, inputs: Batch) -> None:
        del inputs

    def _get_num_items_in_batch(self, batch_samples: list[Batch], device: torch.device) -> Tensor:
        """The items of a whole optimizer step over all processes, a scalar; where no batch is left, the run ends."""
        if not batch_samples:
            self.control.should_training_stop = True
            return torch.zeros((), device=device)
        self._step_lines = "; ".join(map(_lines, batch_samples))
        items = torch.stack([self.method.items(batch) for batch in batch_samples]).sum().to(device)
        total: Tensor = self.accelerator.gather(items.view(1)).sum() if self.args.world_size > 1 else items
        return total

    def compute_loss(
        self,
        model: Any,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> Any:
        """This micro-batch's part of the step's mean loss; times the processes, over which gradients are averaged."""
        scored = Scored(inputs, model(inputs))
        losses = self.method.losses(scored) * inputs.example_weights
        items = self.method.items(inputs) if num_items_in_batch is None else num_items_in_batch
        loss = losses.sum() / items.clamp(min=1.0)
        self._check(loss, inputs)
        self._means.add(self.method, scored, losses.detach())
        loss = loss * self.args.world_size
        return (loss, scored) if return_outputs else loss

    def _check(self, loss: Tensor, batch: Batch) -> None:
        if not torch.isfinite(loss):
            raise Diverged(f"the loss of step {self.state.global_step + 1} is {loss.item()}; {_lines(batch)}. {_ADVICE}")

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """Raises Diverged before the optimizer sees a gradient that is not finite."""
        found = super()._get_grad_norm(model, grad_norm=grad_norm)
        if found is not None and not torch.isfinite(torch.as_tensor(found)):
            raise Diverged(
                f"the gradient of step {self.state.global_step + 1} has length {float(found)}; {self._step_lines}. {_ADVICE}"
            )
        return found

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """With the method's metrics since the last time; the loss is the mean over items."""
        if "loss" in logs:
            told = self._means.drain(self.args.device, self.args.world_size)
            logs = {**logs, **told, **({} if self._feed is None else self._feed.drain())}
        super().log(logs, start_time)

    def evaluate(self, *_: Any, metric_key_prefix: str = "eval", **__: Any) -> dict[str, float]:
        """The held-out examples' loss, and how often they are ordered rightly."""
        if self._feed is not None:
            self.evaluation = self._feed.evaluate(metric_key_prefix)
        else:
            self.evaluation = evaluated(self, self.held_out, self._batch, prefix=metric_key_prefix)
        metrics = dict(self.evaluation.metrics)
        self.log(dict(metrics))
        self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _save(self, output_dir: str | None = None, state_dict: Mapping[str, Tensor] | None = None) -> None:
        """The network in its own format, and the tokenizer."""
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        inner = self.accelerator.unwrap_model(self.model)
        state = None if state_dict is None else {n.removeprefix("network."): t for n, t in state_dict.items()}
        inner.network.save_pretrained(folder, state_dict=state)
        self.tokenizer.save_pretrained(folder)
        if self._feed is not None:
            self._feed.save(folder)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The usual one, times the feed's factor."""
        scheduler = super().create_scheduler(num_training_steps, optimizer)
        if self._feed is not None:
            scheduler.lr_lambdas = [_times(usual, self._feed.lr_factor) for usual in scheduler.lr_lambdas]
        return scheduler

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """A checkpoint that is whole or not there. Raises OutputError where the disk takes no more."""
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        try:
            super()._save_checkpoint(model, trial)
        except (OSError, SafetensorError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "write" not in str(error):
                raise
            if self.is_world_process_zero():
                shutil.rmtree(folder, ignore_errors=True)
            raise OutputError(f"cannot save {folder.name} in {self.args.output_dir!r}: {error}; older ones stay") from error

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if self.is_fsdp_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        load_weights(self.accelerator.unwrap_model(model or self.model).network, Path(resume_from_checkpoint))
        if self._feed is not None:
            self._feed.load(Path(resume_from_checkpoint))

    def whole_weights(self) -> dict[str, Tensor] | None:
        """The network's weights gathered from all processes, which all call it; None where each holds them whole."""
        if not (self.is_fsdp_enabled or self.is_deepspeed_enabled):
            return None
        state: Mapping[str, Tensor] = self.accelerator.get_state_dict(self.model)
        return {name.removeprefix("network."): tensor for name, tensor in state.items()}

    def _load_best_model(self) -> None:
        load_weights(self.model.network, Path(self.state.best_model_checkpoint))


class _Fed:
    """The batches of a feed from the step at which the run stands, made one at a time."""

    def __init__(self, trainer: AlignmentTrainer, feed: Feed) -> None:
        self._trainer, self._feed = trainer, feed

    def __len__(self) -> int:
        return self._feed.steps * self._trainer.args.gradient_accumulation_steps

    def __iter__(self) -> Iterator[Batch]:
        return self._feed.batches(self._trainer.state.global_step)


def _times(usual: Callable[[int], float], factor: Callable[[int], float]) -> Callable[[int], float]:
    return lambda step: usual(step) * factor(step)


class _Places:
    """The order, indexed by the places of `Shares`."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, place: int) -> Example:
        return at(self._examples, place)


_ADVICE = "Nothing of this step reached the weights. Try a smaller lr, or look at these rows."


def _lines(batch: Batch) -> str:
    return "rows at lines " + ", ".join(str(example.line) for example in batch.examples)


def load_weights(network: Any, folder: Path) -> None:
    """Put a checkpoint's weights into a network (an adapter's where it has one). Raises OutputError."""
    from safetensors.torch import load_file

    if hasattr(network, "get_base_model"):
        from peft import set_peft_model_state_dict

        set_peft_model_state_dict(network, load_file(folder / "adapter_model.safetensors"))
        return
    files = sorted(folder.glob("model*.safetensors"))
    if not files:
        raise OutputError(f"{str(folder)!r} holds no weights to resume from")
    state = {name: tensor for file in files for name, tensor in load_file(file).items()}
    missing, unexpected = network.load_state_dict(state, strict=False)
    tied = set(getattr(network, "_tied_weights_keys", None) or ())
    if unexpected or set(missing) - tied:
        raise OutputError(f"{str(folder)!r} is of another model: {', '.join([*unexpected, *missing][:4])}")
    network.tie_weights()


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint of a run."""
    found = [path for path in folder.glob("checkpoint-*") if all((path / name).is_file() for name in COMPLETE)]
    return max(found, key=lambda path: int(path.name.rpartition("-")[2]), default=None)
