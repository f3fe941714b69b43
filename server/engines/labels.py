"""A scoring model's outputs as one number: a reward as it is, a classifier's as the log-odds of one of its labels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trimtab.strategies.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Label:
    """Which output counts, and what the others are to it."""

    index: int
    name: str = ""
    """"" where the model has a single output, which is the score itself."""
    exclusive: bool = True
    """Whether exactly one label holds, so that the others speak against it; otherwise each label is a question of its own."""

    def score(self, outputs: Sequence[float]) -> float:
        """The number, higher for more of the label. Outputs are raw (logits)."""
        own = outputs[self.index]
        others = [value for place, value in enumerate(outputs) if place != self.index]
        if not others or not self.exclusive:
            return own
        most = max(others)
        return own - most - math.log(sum(math.exp(value - most) for value in others))


def pick_label(config: Any, asked: str | None) -> Label:
    """The label of a model's configuration that is asked for by name or number; of two, the second where none is.

    config: a transformers configuration (`num_labels`, `id2label`, `problem_type`). Raises ConfigError naming the labels.
    """
    names = [str(config.id2label.get(place, place)) for place in range(int(config.num_labels))]
    exclusive = getattr(config, "problem_type", None) != "multi_label_classification"
    if len(names) == 1 and asked is None:
        return Label(0)
    known = {**{str(place): place for place in range(len(names))}, **{name: place for place, name in enumerate(names)}}
    if asked is None and len(names) == 2 and exclusive:
        return Label(1, names[1])
    if asked is None or asked not in known:
        wrong = "which label counts must be said" if asked is None else f"label {asked!r} is none of this model's"
        raise ConfigError(f"{wrong}: it has {', '.join(names)}", param="roles.reward.label")
    return Label(known[asked], names[known[asked]], exclusive)
