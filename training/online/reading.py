"""What the models say of a rollout's tokens before the update: policy, reference and values, in one pass without gradients."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trimtab.training.data.batch import Batch, collate
from trimtab.training.data.examples import Example
from trimtab.training.networks import Readout
from trimtab.training.online.actor import Actor, Reference
from trimtab.training.online.sampling import Rollout


@dataclass(frozen=True, slots=True)
class Reading:
    """Of every sampled token of a rollout, answers one after another, (N,) float32 each."""

    old: Tensor
    """Log-probability under the policy, at the sampling temperature."""
    reference: Tensor
    """The same under the reference."""
    entropy: Tensor
    """Of the policy where the token was drawn."""
    values: Tensor | None
    """What the value model expected there."""
    engine_gap: float
    """Mean |difference| between the engine's log-probabilities and the trainer's, both at temperature 1, on the first chunk."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads rollouts with an actor and a reference."""

    actor: Actor
    reference: Reference
    size: int
    """Prompts read together."""
    share_prompts: bool
    bfloat16: bool
    """Whether training computes in it."""

    @torch.no_grad()
    def read(self, rollout: Rollout) -> Reading:
        """What stands before the update; the actor's mode stays."""
        training = self.actor.training
        self.actor.eval()
        device = next(self.actor.parameters()).device
        examples = rollout.examples
        with torch.autocast(device.type, torch.bfloat16, enabled=self.bfloat16):
            batches = [self._batch(examples[i : i + self.size]).to(device) for i in range(0, len(examples), self.size)]
            read = [(self.actor.read(batch, entropy=True), self.reference(batch)) for batch in batches]
            gap = self._engine_gap(batches[0], read[0][0], rollout)
        self.actor.train(training)
        return Reading(
            old=_joined([one.logprobs for one, _ in read]),
            reference=_joined([reference for _, reference in read]),
            entropy=_joined([one.entropy for one, _ in read]),
            values=None if self.actor.critic is None else _joined([one.values for one, _ in read]),
            engine_gap=gap,
        )

    def _batch(self, examples: Sequence[Example]) -> Batch:
        return collate(examples, share_prompts=self.share_prompts)

    def _engine_gap(self, batch: Batch, readout: Readout, rollout: Rollout) -> float:
        own = readout.logprobs if self.actor.temperature == 1 else self.actor.policy(batch, 1.0).logprobs
        drawn = [one for group in rollout.samples[: batch.groups] for one in group]
        theirs = torch.tensor([value for one in drawn for value in one.logprobs])
        assert own is not None
        return float((own.cpu() - theirs).abs().mean())


def _joined(parts: Sequence[Tensor | None]) -> Tensor:
    return torch.cat([part.float().cpu() for part in parts if part is not None])
