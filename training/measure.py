"""Sums of metrics on the device, divided when they are told; and the evaluation's pass."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trimtab.training.data.batch import Batch
from trimtab.training.data.examples import Example
from trimtab.training.methods.base import Method, Scored, hits, margins


class Means:
    """Running means of named values; nothing leaves the device before `drain`."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}

    @torch.no_grad()
    def add(self, method: Method, scored: Scored, losses: Tensor) -> None:
        """A micro-batch: its summed losses over its items, and the method's metrics."""
        self._count("loss", losses.sum(), method.items(scored.batch))
        for name, values in metrics_of(method, scored).items():
            self._count(name, values.sum(), torch.tensor(float(values.numel())))

    def _count(self, name: str, total: Tensor, items: Tensor) -> None:
        pair = torch.stack([total.detach().double(), items.to(total.device).double()])
        self._sums[name] = self._sums[name] + pair if name in self._sums else pair

    def drain(self, device: torch.device, processes: int) -> dict[str, float]:
        """The means over all processes since the last time, by name."""
        names = sorted(self._sums) if processes == 1 else _all_names(self._sums)
        sums = torch.stack([self._sums.get(n, torch.zeros(2, dtype=torch.double)).to(device) for n in names])
        self._sums = {}
        if processes > 1:
            torch.distributed.all_reduce(sums)
        return {n: total / items for n, (total, items) in zip(names, sums.tolist(), strict=True) if items}


def _all_names(sums: dict[str, Tensor]) -> list[str]:
    found: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(found, sorted(sums))
    return sorted({name for names in found for name in names})


def metrics_of(method: Method, scored: Scored) -> dict[str, Tensor]:
    """The method's metrics, and where it orders answers, how well."""
    found = dict(method.metrics(scored))
    ordering = method.ordering(scored)
    if ordering is not None:
        margin = margins(ordering.detach(), scored.batch)
        found |= {"margin": margin, "accuracy": hits(margin)}
        found["length_accuracy"] = hits(margins(-scored.batch.lengths, scored.batch))
    return found


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A pass over held-out examples."""

    metrics: Mapping[str, float]
    margins: tuple[float, ...]
    """Of each ordered pair, in the examples' order; empty where the method orders none."""


@torch.no_grad()
def evaluated(
    trainer: Any, examples: Sequence[Example], batch_of: Callable[[Sequence[Example]], Batch], *, prefix: str
) -> Evaluation:
    """Means over held-out examples, each process taking its share; the model is as it was afterwards."""
    args, model = trainer.args, trainer.model
    training, means, found = model.training, Means(), list[float]()
    model.eval()
    for portion, counts in _portions(examples, args.per_device_eval_batch_size, args.process_index, args.world_size):
        batch = batch_of(portion).to(args.device)
        with trainer.compute_loss_context_manager():
            scored = Scored(batch, model(batch))
        if counts:
            means.add(trainer.method, scored, trainer.method.losses(scored) * batch.example_weights)
            found += _margins(trainer.method, scored)
    model.train(training)
    metrics = {f"{prefix}_{name}": value for name, value in means.drain(args.device, args.world_size).items()}
    return Evaluation(metrics, tuple(found if args.world_size == 1 else _gathered(found)))


def _portions(examples: Sequence[Example], size: int, process: int, processes: int) -> Iterator[tuple[Sequence[Example], bool]]:
    """The batches of a process, consecutive examples; as many in each process, the ones too many without counting.

    A sharded model's pass needs every process.
    """
    share = -(-len(examples) // processes)
    own = examples[process * share : (process + 1) * share]
    for start in range(0, share, size):
        portion = own[start : start + size]
        yield (portion, True) if portion else (examples[:1], False)


def _gathered(found: list[float]) -> list[float]:
    """Those of all processes, the first process's first."""
    parts: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(parts, found)
    return [value for part in parts for value in part]


def _margins(method: Method, scored: Scored) -> list[float]:
    ordering = method.ordering(scored)
    return [] if ordering is None else margins(ordering, scored.batch).tolist()
