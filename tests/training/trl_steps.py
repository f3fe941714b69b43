"""One optimizer step's loss and gradient, as our trainer takes it and as one of TRL's does, on the same weights."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, TrainingArguments

from tests.training.trl_rows import Tokens, trl_tokens
from trimtab.training.data.examples import Example
from trimtab.training.methods.base import Method
from trimtab.training.models import load
from trimtab.training.networks import Policy
from trimtab.training.reference import reference_logps
from trimtab.training.trainer import AlignmentTrainer

LOSS, GRADIENT = 1e-5, 1e-4
"""Relative differences that the order of float32 sums explains."""


PLAIN: dict[str, Any] = {
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "remove_unused_columns": False,
    "report_to": [],
    "disable_tqdm": True,
}
"""Of every trainer on both sides: float32, a CPU, no checkpointing."""


@dataclass(frozen=True, slots=True)
class Step:
    loss: float
    gradient: dict[str, Tensor]
    """By parameter."""


def assert_same(ours: Step, theirs: Step) -> None:
    """The losses, and every parameter's gradient: how far apart the whole gradients are, in lengths of TRL's."""
    assert abs(ours.loss - theirs.loss) <= LOSS * abs(theirs.loss), (ours.loss, theirs.loss)
    assert ours.gradient.keys() == theirs.gradient.keys()
    apart = _length(ours.gradient[name] - theirs.gradient[name] for name in theirs.gradient)
    length = _length(theirs.gradient.values())
    assert length > 0
    assert apart <= GRADIENT * length, (apart, length)


def _length(parts: Iterable[Tensor]) -> float:
    return float(torch.stack([part.double().square().sum() for part in parts]).sum().sqrt())


def nudged(network: Any, *, seed: int, by: float = 0.02) -> Any:
    """The network with noise on its weights, so that it differs from what it was."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(by * torch.randn(parameter.shape, generator=generator))
    return network


def our_step(
    model: Path, method: Method, examples: Sequence[Example], folder: Path, *, reference: Path, micro_batches: int = 1
) -> Step:
    """All examples in one step. Only a method that needs the reference sees it."""
    loaded = load(str(model), method.head)
    known = None
    if method.needs_reference:
        frozen = load(str(reference), "language").module
        assert isinstance(frozen, Policy)
        known = reference_logps(frozen, examples, folder)
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=len(examples) // micro_batches,
        gradient_accumulation_steps=micro_batches,
        **PLAIN,
    )
    trainer = AlignmentTrainer(loaded.module, method, arguments, examples, tokenizer=loaded.tokenizer, reference=known)
    return step(trainer, loaded.network, micro_batches)


def arguments(folder: Path, batch: int, **more: Any) -> dict[str, Any]:
    """Of a trainer of TRL."""
    given = {"output_dir": str(folder), "per_device_train_batch_size": batch, "train_sampling_strategy": "sequential"}
    return {**PLAIN, **given, "remove_unused_columns": True, **more}


def trl_step(trainer: Any, expected: Tokens, micro_batches: int = 1) -> Step:
    """TRL's step, after its tokens turned out to be the expected ones."""
    seen: Tokens = []
    taken = step(trainer, trainer.model, micro_batches, see=lambda batch: seen.extend(trl_tokens(batch)))
    assert seen == expected
    return taken


def step(trainer: Any, network: Any, micro_batches: int = 1, see: Callable[[Any], None] | None = None) -> Step:
    """A trainer's own loss of its own batches, as many as its step has. see: is shown each of them first."""
    batches, items = trainer.get_batch_samples(iter(trainer.get_train_dataloader()), micro_batches, torch.device("cpu"))
    trainer.model.train()
    total = 0.0
    for batch in batches:
        if see is not None:
            see(batch)
        loss = trainer.compute_loss(trainer.model, batch, num_items_in_batch=items)
        loss.backward()
        total += loss.item()
    return Step(total, gradient_of(network))


def gradient_of(network: Any) -> dict[str, Tensor]:
    return {name: parameter.grad for name, parameter in network.named_parameters()}


def language_model(path: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
