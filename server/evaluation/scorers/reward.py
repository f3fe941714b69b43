"""A reward model's number for each answer."""

from collections.abc import Sequence
from dataclasses import dataclass

from trimtab.server.evaluation.scorers.asking import AT_ONCE, each, number
from trimtab.server.evaluation.scorers.base import About, Item, Rewards, Verdict

ABOUT = About(
    name="reward",
    title="Reward",
    better="higher",
    says="What the reward model gives the answer, in its own unit: only differences mean anything, and only under one model.",
    source="Ouyang et al. 2022, arXiv 2203.02155, Eq. 1",
    of_preference=True,
)


@dataclass(frozen=True, slots=True)
class Reward:
    """Scores the conversation that was asked with the answer behind it, never what an alignment rendered of it."""

    rewards: Rewards
    at_once: int = AT_ONCE

    @property
    def about(self) -> About:
        """What it measures."""
        return ABOUT

    async def score(self, items: Sequence[Item]) -> Sequence[Verdict]:
        """The reward of each answer; a conversation that is too long for the model is unscored."""
        return await each(items, self._verdict, at_once=self.at_once)

    async def _verdict(self, item: Item) -> Verdict:
        (value,) = await self.rewards.score([(*item.sample.messages, {"role": "assistant", "content": item.answer})])
        return number(value, {})
