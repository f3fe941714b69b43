"""The feed of ReST: each rollout grows a set of answers, of which the better and better parts are learnt."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from trimtab.training.data.batch import Batch, collate
from trimtab.training.data.examples import Example
from trimtab.training.errors import RolloutError
from trimtab.training.measure import Evaluation
from trimtab.training.methods.online import RestConfig
from trimtab.training.online.held_out import HeldOut
from trimtab.training.online.parts import Prompt
from trimtab.training.online.policy_gradient import Sizes, rollout_at
from trimtab.training.online.sampling import Rollout, Sampler, seed_of
from trimtab.training.online.state import load_state, save_state
from trimtab.training.online.watching import Tell, Watch

logger = logging.getLogger(__name__)


class RestFeed:
    """Batches of answers that were good enough."""

    def __init__(
        self,
        method: RestConfig,
        order: Sequence[Prompt],
        sampler: Sampler,
        sizes: Sizes,
        *,
        held_out: HeldOut,
        tell: Tell,
        share_prompts: bool = True,
    ) -> None:
        """order: the prompts of all rollouts, one after another. share_prompts: whether the policy reads shared tokens once."""
        self._method, self._order, self._sampler, self._sizes = method, order, sampler, sizes
        self._plan = method.plan(sizes.batch * sizes.accumulation)
        self._held_out, self._watch = held_out, Watch(tell, float("inf"))
        self._share_prompts = share_prompts

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self._sizes.steps

    @property
    def steps_together(self) -> int:
        """Optimizer steps of a rollout."""
        return self._plan.steps

    def lr_factor(self, step: int) -> float:
        """Lower for each improvement on the same rollout."""
        return float(self._method.lr_decay ** (step % self._plan.steps // self._method.improve_steps))

    def drain(self) -> dict[str, float]:
        """Means over the rollouts since the last time."""
        return self._watch.drain()

    def batches(self, step: int) -> Iterator[Batch]:
        """Batches from an optimizer step on. Raises RolloutError where no answer passes a threshold."""
        first = rollout_at(step, self._plan.steps)
        if step == 0:
            self._held_out.before(self._sampler)
        for number in range(first, len(self._order) // self._plan.prompts):
            begin = number * self._plan.prompts
            prompts = self._order[begin : begin + self._plan.prompts]
            rollout = self._sampler.rollout(prompts, self._method.samples, f"rollout {number}")
            self._watch.add(rollout.metrics)
            for improvement in range(self._method.improvements):
                yield from self._improvement(self._pool(rollout, improvement), f"improvement {number} {improvement}")

    def evaluate(self, prefix: str) -> Evaluation:
        """Rewards of held-out prompts, and how far they are from those before the run."""
        return self._held_out.evaluate(self._sampler, prefix)

    def save(self, folder: Path) -> None:
        """The course so far."""
        save_state(folder, {"watch": self._watch.state(), "held_out": self._held_out.state()}, None)

    def load(self, folder: Path) -> None:
        """The same. Raises OutputError."""
        numbers = load_state(folder, None)
        self._watch.restore(numbers["watch"])
        self._held_out.restore(numbers["held_out"])

    def _pool(self, rollout: Rollout, improvement: int) -> list[Example]:
        """What an improvement learns: the answers that it keeps, and the demonstrations of the rollout's rows."""
        rewards = self._method.shaped(rollout.scores, rollout.ended)
        kept = self._method.kept(rewards, improvement)
        if not kept.any():
            told = f"no answer of the rollout passes threshold {self._method.thresholds[improvement]:g}"
            raise RolloutError(f"{told}: the best reward is {float(rewards.max()):.4g}")
        chosen = zip([one for example in rollout.examples for one in example.apart()], kept.flatten().tolist(), strict=True)
        demonstrations = [one.demonstration for one in rollout.prompts if one.demonstration is not None]
        return [*(example for example, keeps in chosen if keeps), *demonstrations]

    def _improvement(self, pool: Sequence[Example], name: str) -> Iterator[Batch]:
        """Passes over the pool, each shuffled anew, cut off after the improvement's steps."""
        generator = torch.Generator().manual_seed(seed_of(self._sampler.seed, name))
        drawn = _endless(pool, generator)
        for _ in range(self._method.improve_steps * self._sizes.accumulation):
            yield collate([next(drawn) for _ in range(self._sizes.batch)], share_prompts=self._share_prompts)


def _endless(pool: Sequence[Example], generator: torch.Generator) -> Iterator[Example]:
    while True:
        yield from (pool[place] for place in torch.randperm(len(pool), generator=generator).tolist())
