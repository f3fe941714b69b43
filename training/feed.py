"""Where batches come from that are not known before a run, because they are made from the model as it then is."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from trimtab.training.data.batch import Batch
from trimtab.training.measure import Evaluation


class Feed(Protocol):
    """A source of micro-batches that watches the model it is for."""

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        ...

    @property
    def steps_together(self) -> int:
        """Optimizer steps that learn from the same samples: a checkpoint stands only after a multiple of them."""
        ...

    def batches(self, step: int) -> Iterator[Batch]:
        """Micro-batches from an optimizer step on; each is made when it is asked for. They may end early."""
        ...

    def lr_factor(self, step: int) -> float:
        """What the learning rate of an optimizer step (from 0) is multiplied by."""
        ...

    def drain(self) -> dict[str, float]:
        """Metrics since the last time, by name."""
        ...

    def evaluate(self, prefix: str) -> Evaluation:
        """How the model does on what is held out."""
        ...

    def save(self, folder: Path) -> None:
        """Put beside a checkpoint's weights what a resumed run needs."""
        ...

    def load(self, folder: Path) -> None:
        """Take it from there. Raises OutputError where it is missing."""
        ...
