"""Samples that an online trainer of TRL drew, scored and stored, as a batch of ours with the log-probabilities of ours.

The reference is the policy as it was loaded; its weights then move before it samples, and again before the step, so that
neither the KL nor the ratios are trivial.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.training.tiny import PAIRS, tokenizer
from tests.training.trl_steps import Step, gradient_of, language_model, nudged
from trimtab.training.data.batch import Batch, collate
from trimtab.training.data.examples import Branch, Example
from trimtab.training.logprobs import sums
from trimtab.training.models import load
from trimtab.training.networks import Policy

PROMPTS = [prompt for prompt, _, _ in PAIRS[:2]]
SAMPLES, LONGEST, TEMPERATURE = 3, 12, 0.7
ENDS = list(range(2, 60))
"""Tokens that end a sample: many, so that a random policy's samples differ in length."""


def reward(completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float]:
    return [len(ids) + sum(ids) / 100 for ids in completion_ids]


def starting_policy(model: Path) -> Any:
    network = language_model(model)
    network.generation_config.eos_token_id = ENDS
    return network


@dataclass(frozen=True, slots=True)
class Rollout:
    """Prompts with K samples each; N tokens and R samples in all."""

    batch: Batch
    rewards: Tensor
    """(prompts, K)"""
    current: Policy
    logprobs: Tensor
    """(N,) of the policy that is trained, with their graph."""
    old: Tensor
    """(N,) of the policy that sampled."""
    reference: Tensor
    """(N,)"""
    inputs: dict[str, Tensor]
    """What TRL made of it, for its loss."""

    def sums(self, values: Tensor) -> Tensor:
        """(R,) of (N,)."""
        return sums(values, self.batch.response, self.batch.responses)

    def our_step(self, loss: Tensor) -> Step:
        loss.backward()
        return Step(loss.item(), gradient_of(self.current.network))


def rolled_out(trainer: Any, model: Path) -> Rollout:
    """A rollout of a trainer whose policy came from `model`, and now is the one to be trained."""
    torch.manual_seed(0)
    reference = _ours(model, trainer.model)
    trainer.model.eval()  # it then keeps the samples in order
    old = _ours(model, nudged(trainer.model, seed=3))
    prompts = _rendered()
    inputs = trainer._prepare_inputs([{"prompt": prompt} for prompt in prompts for _ in range(SAMPLES)])
    current = _ours(model, nudged(trainer.model, seed=4, by=0.005))
    examples = _examples(inputs)
    batch = collate(examples)
    with torch.no_grad():
        before, frozen = (policy(batch, TEMPERATURE).logprobs for policy in (old, reference))
    after = current(batch, TEMPERATURE).logprobs
    assert before is not None
    assert frozen is not None
    assert after is not None
    answers = [branch.ids for example in examples for branch in example.branches]
    return Rollout(batch, torch.tensor(reward(answers)).view(-1, SAMPLES), current, after, before, frozen, inputs)


def _rendered() -> list[str]:
    made = tokenizer()
    turns = ([{"role": "user", "content": prompt}] for prompt in PROMPTS)
    return [str(made.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)) for turn in turns]


def _examples(inputs: dict[str, Tensor]) -> list[Example]:
    prompts = _rows(inputs["prompt_ids"], inputs["prompt_mask"])
    answers = _rows(inputs["completion_ids"], inputs["completion_mask"])
    groups = range(0, len(answers), SAMPLES)
    return [Example(prompts[at], tuple(Branch(ids) for ids in answers[at : at + SAMPLES])) for at in groups]


def _rows(ids: Tensor, mask: Tensor) -> list[tuple[int, ...]]:
    return [tuple(row[there].tolist()) for row, there in zip(ids, mask.bool(), strict=True)]


def _ours(model: Path, network: Any) -> Policy:
    """Our policy with the weights that a network has now."""
    made = load(str(model), "language").module
    assert isinstance(made, Policy)
    made.network.load_state_dict(network.state_dict())
    return made


def trl_step(trainer: Any, rollout: Rollout) -> Step:
    """TRL's loss of the rollout."""
    loss = trainer.compute_loss(trainer.model, rollout.inputs)
    loss.backward()
    return Step(loss.item(), gradient_of(trainer.model))
