"""The course of an online run: its metrics, the signs that its reward is gamed, and when it has gone too far."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from trimtab.training.reports.hacking import SERIES, Course, signs

logger = logging.getLogger(__name__)
Tell = Callable[[str], None]


class Watch:
    """Collects metrics of rollouts, and tells each kind of sign once."""

    def __init__(self, tell: Tell, kl_cap: float) -> None:
        self._tell, self._kl_cap = tell, kl_cap
        self._course: dict[str, list[float]] = {name: [] for name in SERIES}
        self._told: set[str] = set()
        self._fresh: list[Mapping[str, float]] = []

    def add(self, metrics: Mapping[str, float]) -> None:
        """The metrics of one more rollout."""
        self._fresh.append(metrics)
        for name in SERIES:
            if name in metrics:
                self._course[name].append(metrics[name])
        for sign in signs(Course(**self._course), kl_cap=self._kl_cap):
            self.tell_once(sign.kind, sign.message)

    def tell_once(self, kind: str, message: str) -> None:
        """Something to look at, unless its kind was told before."""
        if kind in self._told:
            return
        self._told.add(kind)
        logger.warning("%s: %s", kind, message)
        self._tell(f"warning: {message}")

    def drain(self) -> dict[str, float]:
        """Means over the rollouts since the last time."""
        fresh, self._fresh = self._fresh, []
        names = {name for metrics in fresh for name in metrics}
        found = {name: [metrics[name] for metrics in fresh if name in metrics] for name in sorted(names)}
        return {name: sum(values) / len(values) for name, values in found.items()}

    def state(self) -> dict[str, Any]:
        """What a resumed run needs, as JSON has it."""
        return {"course": self._course, "told": sorted(self._told), "fresh": list(self._fresh)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._course = {name: [float(value) for value in state["course"][name]] for name in SERIES}
        self._told, self._fresh = set(state["told"]), list(state["fresh"])


class Guard:
    """Keeps the last weights whose samples stayed within the KL cap."""

    def __init__(self, module: nn.Module, kl_cap: float) -> None:
        self._module, self._kl_cap = module, kl_cap
        self._good: list[Tensor] | None = None

    def passes(self, kl: float) -> bool:
        """Whether the weights of a rollout with this KL (nats an answer) are kept; a KL that is no number is beyond any cap."""
        if not kl <= self._kl_cap:
            return False
        self._good = [parameter.detach().to("cpu", copy=True) for parameter in self._trained()]
        return True

    @torch.no_grad()
    def restore(self) -> bool:
        """Put the last good weights back; False where there are none."""
        if self._good is None:
            return False
        for parameter, good in zip(self._trained(), self._good, strict=True):
            parameter.copy_(good)
        return True

    def _trained(self) -> list[nn.Parameter]:
        return [parameter for parameter in self._module.parameters() if parameter.requires_grad]
