"""What a method is: a view of the data, a head, and a loss of what one pass over a batch read. It knows no loop and no file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from trimtab.training.data.batch import Batch
from trimtab.training.data.examples import Example
from trimtab.training.data.views import View
from trimtab.training.losses import PairLengths, PairLogps
from trimtab.training.losses.groups import ordered_pairs
from trimtab.training.networks import Readout

Head = Literal["language", "scalar"]
Artefact = Literal["policy", "reward", "aligner"]
"""What a run makes, and so how it is served."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A batch and what the model read of it."""

    batch: Batch
    readout: Readout

    @property
    def logps(self) -> Tensor:
        """(R,) summed log-probabilities."""
        return _there(self.readout.logps, "a language head")

    @property
    def rewards(self) -> Tensor:
        """(R,) scalars."""
        return _there(self.readout.rewards, "a scalar head")

    @property
    def reference(self) -> Tensor:
        """(R,) summed log-probabilities under the reference."""
        return _there(self.batch.reference, "a reference")

    @property
    def means(self) -> Tensor:
        """(R,) token-mean log-probabilities."""
        return self.logps / self.batch.lengths

    @property
    def pair(self) -> PairLogps:
        """(G,) each, of examples whose first two branches are (better, worse)."""
        return PairLogps(*self.columns(self.logps)[:2])

    @property
    def reference_pair(self) -> PairLogps:
        """The same under the reference."""
        return PairLogps(*self.columns(self.reference)[:2])

    @property
    def pair_lengths(self) -> PairLengths:
        """The same of counted tokens."""
        return PairLengths(*self.columns(self.batch.lengths)[:2])

    def columns(self, values: Tensor) -> tuple[Tensor, ...]:
        """(R,) values of examples with equally many branches, as one (G,) tensor a branch."""
        return values.view(self.batch.groups, -1).unbind(1)


def _there(value: Tensor | None, what: str) -> Tensor:
    if value is None:
        raise TypeError(f"this method needs {what}")
    return value


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of training on some view of the data."""

    view: View
    epochs: float | None = None
    """Passes over its data; None = as many as the run is told."""
    fraction: float = 1.0
    """Share of the rows it takes, from the first."""


class Method(Protocol):
    """One way to train from examples."""

    @property
    def kind(self) -> str:
        """Its name."""
        ...

    @property
    def head(self) -> Head:
        """What the model ends in."""
        ...

    @property
    def artefact(self) -> Artefact:
        """What a run makes."""
        ...

    @property
    def needs_reference(self) -> bool:
        """Whether its loss compares with the model as it came."""
        ...

    def phases(self) -> Sequence[Phase]:
        """What is trained on, in order."""
        ...

    def prepare(self, examples: Sequence[Example], max_length: int) -> Sequence[Example]:
        """The examples with what the method adds from their neighbours."""
        ...

    def items(self, batch: Batch) -> Tensor:
        """How many items the batch's loss is a sum over, a scalar: what a step's loss is divided by."""
        ...

    def losses(self, scored: Scored) -> Tensor:
        """(G,) loss of each example, summed over its items."""
        ...

    def ordering(self, scored: Scored) -> Tensor | None:
        """(R,) what should be higher for better responses; None where the method orders none."""
        ...

    def metrics(self, scored: Scored) -> Mapping[str, Tensor]:
        """Values (n,) each, averaged over items when they are logged."""
        ...


class MethodConfig(BaseModel):
    """What most methods share: one phase, one item an example, no reference, a policy at the end."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @property
    def head(self) -> Head:
        """Language."""
        return "language"

    @property
    def artefact(self) -> Artefact:
        """A policy."""
        return "policy"

    @property
    def needs_reference(self) -> bool:
        """None is needed."""
        return False

    def prepare(self, examples: Sequence[Example], max_length: int) -> Sequence[Example]:
        """As they are."""
        del max_length
        return examples

    def items(self, batch: Batch) -> Tensor:
        """The examples that weigh anything."""
        return (batch.example_weights != 0).sum().float()

    def ordering(self, scored: Scored) -> Tensor | None:
        """None."""
        del scored
        return None

    def metrics(self, scored: Scored) -> Mapping[str, Tensor]:
        """None but the loss."""
        del scored
        return {}


def margins(values: Tensor, batch: Batch) -> Tensor:
    """By how much each ordered pair of a batch is ordered rightly, (P,); of pairs the first branch, of lists by score.

    values: (R,). A pair whose preference is below one half is ordered the other way, one at one half not at all.
    """
    better, worse = _ordered(batch)
    return values[better] - values[worse]


def _ordered(batch: Batch) -> tuple[Tensor, Tensor]:
    counts = torch.bincount(batch.group, minlength=batch.groups)
    if bool(torch.isnan(batch.scores).any()) and bool((counts >= 2).all()):
        first = torch.cumsum(counts, 0) - counts
        wins, loses = batch.preference > 0.5, batch.preference < 0.5
        return torch.cat([first[wins], first[loses] + 1]), torch.cat([first[wins] + 1, first[loses]])
    pairs = ordered_pairs(batch.scores, batch.group)
    return pairs.better, pairs.worse


def hits(margin: Tensor) -> Tensor:
    """1 where a margin is right, 0 where it is wrong, one half for a tie."""
    return (margin > 0).float() + 0.5 * (margin == 0).float()
