"""How an online run does on held-out prompts: one answer each, the same random numbers before and after."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trimtab.training.evaluation import mean_interval
from trimtab.training.measure import Evaluation
from trimtab.training.online.parts import Prompt
from trimtab.training.online.sampling import Rollout, Sampler


class HeldOut:
    """Prompts, and what the policy's answers earned before the run."""

    def __init__(self, prompts: Sequence[Prompt]) -> None:
        """prompts: may be none."""
        self._prompts = prompts
        self._before: list[float] | None = None

    def before(self, sampler: Sampler) -> None:
        """Take the rewards of the policy as it is for those before the run."""
        if self._prompts:
            self._before = self._rollout(sampler).scores[:, 0].tolist()

    def evaluate(self, sampler: Sampler, prefix: str) -> Evaluation:
        """Mean reward, length and share of ended answers, and the mean gain since before the run, with 95% intervals."""
        rollout = self._rollout(sampler)
        scores: list[float] = rollout.scores[:, 0].tolist()
        found = {name: value for name, value in rollout.metrics.items() if name != "staleness"}
        found |= _interval("reward", scores)
        if self._before is not None:
            found |= _interval("reward_gain", (np.asarray(scores) - np.asarray(self._before)).tolist())
        return Evaluation({f"{prefix}_{name}": value for name, value in found.items()}, ())

    def state(self) -> list[float] | None:
        """The rewards before the run."""
        return self._before

    def restore(self, state: Any) -> None:
        """Take them from a checkpoint."""
        self._before = None if state is None else [float(value) for value in state]

    def _rollout(self, sampler: Sampler) -> Rollout:
        return sampler.rollout(self._prompts, 1, "held out")


def _interval(name: str, values: Sequence[float]) -> Mapping[str, float]:
    estimate = mean_interval(values)
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
