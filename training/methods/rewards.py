"""Methods that make a scalar head: reward models from pairs, lists and numbers."""

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from trimtab.training.data.views import Pair, Ranked
from trimtab.training.data.views import Scored as ScoredView
from trimtab.training.losses import bradley_terry, centring, choice, k_way, value_hinge, value_mae, value_mse
from trimtab.training.losses.groups import best_rows
from trimtab.training.methods.base import Artefact, Head, MethodConfig, Phase, Scored


class _Scalar(MethodConfig):
    """One number a conversation."""

    @property
    def head(self) -> Head:
        """Scalar."""
        return "scalar"

    @property
    def artefact(self) -> Artefact:
        """A reward model."""
        return "reward"

    def ordering(self, scored: Scored) -> Tensor | None:
        """(R,) the scalars."""
        return scored.rewards

    def metrics(self, scored: Scored) -> dict[str, Tensor]:
        """Their level, which drifts where nothing holds it."""
        return {"level": scored.rewards.detach()}


class RewardConfig(_Scalar):
    """A reward model of the Bradley-Terry form.

    Source: Ouyang et al. 2022, arXiv 2203.02155, Eq. 1; margins: Touvron et al. 2023, arXiv 2307.09288, Eq. 2; centring:
    Eisenstein et al. 2023, arXiv 2312.09244, Eq. 5.
    """

    kind: Literal["reward"] = "reward"
    of: Literal["pairs", "lists"] = "pairs"
    """Pairs (margins and soft labels honoured), or lists with all their ordered pairs in one example."""
    centre: float = Field(default=0.01, ge=0)
    """Weight of the squared sum of a pair's rewards, which keeps their level near 0 (pairs)."""

    def phases(self) -> Sequence[Phase]:
        """Pairs or lists."""
        return (Phase(Pair(form="scorer") if self.of == "pairs" else Ranked(form="scorer")),)

    def losses(self, scored: Scored) -> Tensor:
        """(G,)"""
        batch = scored.batch
        if self.of == "lists":
            return k_way(scored.rewards, batch.scores, batch.group, batch.groups)
        chosen, rejected = scored.columns(scored.rewards)
        loss = bradley_terry(chosen, rejected, margin=batch.margin, preference=batch.preference)
        return loss + self.centre * centring(chosen, rejected) if self.centre else loss


class ValueConfig(_Scalar):
    """A reward model that repeats given scores.

    Source: the survey's Eq. 2, in its square and absolute forms and the hinge against the best answer of a prompt.
    """

    kind: Literal["value"] = "value"
    form: Literal["mse", "mae", "hinge"] = "mse"
    """Square, absolute, or the best answer of each list above the others."""
    alpha: float = Field(default=1.0, ge=0)
    """Gap the hinge asks for."""

    def phases(self) -> Sequence[Phase]:
        """Scored answers, or lists for the hinge."""
        return (Phase(Ranked(form="scorer") if self.form == "hinge" else ScoredView(form="scorer")),)

    def losses(self, scored: Scored) -> Tensor:
        """(G,)"""
        batch, rewards = scored.batch, scored.rewards
        if self.form == "hinge":
            return self._hinge(scored)
        return (value_mse if self.form == "mse" else value_mae)(rewards, batch.scores)

    def _hinge(self, scored: Scored) -> Tensor:
        batch, rewards = scored.batch, scored.rewards
        best = best_rows(batch.scores, batch.group, batch.groups)[batch.group]
        gaps = value_hinge(rewards, rewards[best], alpha=self.alpha)
        counted = (batch.scores < batch.scores[best]).to(gaps.dtype)
        totals = gaps.new_zeros(batch.groups).index_add(0, batch.group, gaps * counted)
        counts = gaps.new_zeros(batch.groups).index_add(0, batch.group, counted)
        return totals / counts.clamp(min=1.0)

    def ordering(self, scored: Scored) -> Tensor | None:
        """(R,) where prompts have several answers in one example."""
        return scored.rewards if self.form == "hinge" else None


class ChoiceConfig(_Scalar):
    """A preference classifier: the softmax over a prompt's answers names the chosen one.

    Source: Wu et al. 2023 (HPS), arXiv 2303.14420, Eq. 3. Deviation: a scalar head in place of a similarity of images.
    """

    kind: Literal["choice"] = "choice"
    logit_scale: float = Field(default=1.0, gt=0)
    """Factor of the scalars; 100 is the paper's for cosines."""

    def phases(self) -> Sequence[Phase]:
        """Lists."""
        return (Phase(Ranked(form="scorer")),)

    def losses(self, scored: Scored) -> Tensor:
        """(G,)"""
        batch = scored.batch
        winner = torch.zeros_like(batch.group, dtype=torch.bool)
        winner[best_rows(batch.scores, batch.group, batch.groups)] = True
        return choice(scored.rewards, winner, batch.group, batch.groups, logit_scale=self.logit_scale)
