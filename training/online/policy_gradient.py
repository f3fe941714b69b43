"""The feed of PPO, RLOO and GRPO: each rollout is read, given credit and learnt from in a few passes of minibatches."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trimtab.training.data.batch import Batch, OnlineTargets, collate
from trimtab.training.data.examples import Example
from trimtab.training.errors import OutputError
from trimtab.training.losses import whiten
from trimtab.training.measure import Evaluation
from trimtab.training.methods.policy_gradient import Judged, PolicyGradientConfig
from trimtab.training.online.held_out import HeldOut
from trimtab.training.online.parts import Prompt
from trimtab.training.online.reading import Reader, Reading
from trimtab.training.online.sampling import Rollout, Sampler, seed_of
from trimtab.training.online.state import load_state, save_state
from trimtab.training.online.steering import row_mask, rows, steered
from trimtab.training.online.watching import Guard, Tell, Watch

logger = logging.getLogger(__name__)
ENGINE_GAP = 1e-2
"""Mean difference of log-probabilities, nats, from which sampler and trainer are not the same policy."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How a run is cut."""

    batch: int
    """Prompts (or, for ReST, answers) of a micro-batch."""
    accumulation: int
    """Micro-batches of an optimizer step."""
    steps: int
    """Optimizer steps of the run."""


class PolicyGradientFeed:
    """Minibatches of rollouts, with what each token was worth."""

    def __init__(
        self,
        method: PolicyGradientConfig,
        order: Sequence[Prompt],
        sampler: Sampler,
        reader: Reader,
        sizes: Sizes,
        *,
        held_out: HeldOut,
        tell: Tell,
    ) -> None:
        """order: the prompts of all rollouts, one after another."""
        self._method, self._order, self._sampler, self._reader, self._sizes = method, order, sampler, reader, sizes
        self._plan = method.plan(sizes.batch * sizes.accumulation)
        self._held_out, self._tell = held_out, tell
        self._watch = Watch(tell, method.kl_cap)
        self._guard = Guard(reader.actor, method.kl_cap)
        self._beta = method.beta

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self._sizes.steps

    @property
    def steps_together(self) -> int:
        """Optimizer steps of a rollout."""
        return self._plan.steps

    def lr_factor(self, step: int) -> float:
        """1."""
        del step
        return 1.0

    def drain(self) -> dict[str, float]:
        """Means over the rollouts since the last time."""
        return self._watch.drain()

    def batches(self, step: int) -> Iterator[Batch]:
        """Minibatches from an optimizer step on; none after a rollout beyond the KL cap, whose weights are taken back."""
        first = rollout_at(step, self._plan.steps)
        if step == 0:
            self._held_out.before(self._sampler)
        for number in range(first, len(self._order) // self._plan.prompts):
            begin = number * self._plan.prompts
            prompts = self._order[begin : begin + self._plan.prompts]
            rollout = self._sampler.rollout(prompts, self._method.samples, f"rollout {number}")
            reading = self._reader.read(rollout)
            kl = self._measure(rollout, reading)
            if not self._guard.passes(kl):
                self._stop(kl)
                return
            targets = self._targets(rollout, reading)
            self._steer(kl, len(rollout.lengths))  # before the first batch: the last one's checkpoint holds the next beta
            yield from self._minibatches(rollout, targets, number)

    def evaluate(self, prefix: str) -> Evaluation:
        """Rewards of held-out prompts, and how far they are from those before the run."""
        return self._held_out.evaluate(self._sampler, prefix)

    def save(self, folder: Path) -> None:
        """The weight of the KL term, the course so far and the value model."""
        numbers = {"beta": self._beta, "watch": self._watch.state(), "held_out": self._held_out.state()}
        save_state(folder, numbers, self._reader.actor.critic)

    def load(self, folder: Path) -> None:
        """The same. Raises OutputError."""
        numbers = load_state(folder, self._reader.actor.critic)
        self._beta = float(numbers["beta"])
        self._watch.restore(numbers["watch"])
        self._held_out.restore(numbers["held_out"])

    def _measure(self, rollout: Rollout, reading: Reading) -> float:
        """The rollout's KL from the reference, nats an answer; its metrics are noted."""
        moved = rows(reading.old - reading.reference, torch.tensor(rollout.lengths)).sum(1)
        kl = float(moved.mean())
        found = {"kl": kl, "entropy": float(reading.entropy.mean()), "beta": self._beta, "engine_gap": reading.engine_gap}
        self._watch.add({**rollout.metrics, **found})
        if reading.engine_gap > ENGINE_GAP:
            told = f"the engine's log-probabilities differ from the trainer's by {reading.engine_gap:.3g} nats a token"
            self._watch.tell_once("engine_gap", f"{told}: it samples from another policy (other weights, or a coarser dtype)")
        return kl

    def _steer(self, kl: float, samples: int) -> None:
        target = self._method.kl_target
        if target is not None:
            self._beta = steered(self._beta, kl, target=target, samples=samples, horizon=self._method.kl_horizon)

    def _stop(self, kl: float) -> None:
        kept = "the weights from before it are the result" if self._guard.restore() else "no earlier weights are at hand"
        told = f"stopped: KL from the reference is {kl:.3g} nats an answer, beyond kl_cap {self._method.kl_cap:g}; {kept}"
        logger.warning("%s", told)
        self._tell(told)

    def _minibatches(self, rollout: Rollout, targets: OnlineTargets, number: int) -> Iterator[Batch]:
        examples = rollout.examples
        places = _places(examples)
        for epoch in range(self._method.rollout_epochs):
            generator = torch.Generator().manual_seed(seed_of(self._sampler.seed, f"minibatches {number} {epoch}"))
            shuffled: list[int] = torch.randperm(len(examples), generator=generator).tolist()
            for begin in range(0, len(shuffled), self._sizes.batch):
                chosen = shuffled[begin : begin + self._sizes.batch]
                batch = collate([examples[one] for one in chosen], share_prompts=self._reader.share_prompts)
                yield replace(batch, online=_picked(targets, torch.cat([places[one] for one in chosen])))

    def _targets(self, rollout: Rollout, reading: Reading) -> OnlineTargets:
        """Of every token of a rollout."""
        lengths = torch.tensor(rollout.lengths)
        mask = row_mask(lengths)
        scores = self._method.shaped(rollout.scores, rollout.ended).flatten()
        if self._method.whiten_scores:
            scores = whiten(scores, torch.ones_like(scores, dtype=torch.bool))
        penalty = rows(self._method.penalty(reading.old, reading.reference, self._beta), lengths)
        values = None if reading.values is None else rows(reading.values, lengths)
        credit = self._method.credit(Judged(scores, penalty, mask, values))
        returns = None if credit.returns is None else credit.returns[mask]
        return OnlineTargets(reading.old, reading.reference, credit.advantages[mask], reading.values, returns, beta=self._beta)


def rollout_at(step: int, steps: int) -> int:
    """The number of the rollout that begins at an optimizer step. Raises OutputError where none does."""
    if step % steps:
        raise OutputError(f"step {step} lies within a rollout of {steps} steps: resume with the settings of the run")
    return step // steps


def _places(examples: Sequence[Example]) -> list[Tensor]:
    """Where each example's tokens lie among all of them."""
    sizes = [sum(len(branch.ids) for branch in example.branches) for example in examples]
    return list(torch.arange(sum(sizes)).split(sizes))


def _picked(targets: OnlineTargets, places: Tensor) -> OnlineTargets:
    tensors: dict[str, Any] = {
        name: value[places] for name in targets.__slots__ if isinstance(value := getattr(targets, name), Tensor)
    }
    return replace(targets, **tensors)
