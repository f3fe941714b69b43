"""Methods that learn from K scored answers of one prompt."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field
from torch import Tensor

from trimtab.training.data.views import Ranked
from trimtab.training.losses import (
    pl_dpo,
    plackett_luce,
    pro,
    rrhf,
    stable_alignment,
    stable_alignment_max,
    stable_alignment_on_mean,
)
from trimtab.training.methods.base import MethodConfig, Phase, Scored


class _Lists(MethodConfig):
    """Scored answers, best first; an answer's worth is its token-mean log-probability."""

    def phases(self) -> Sequence[Phase]:
        """Lists."""
        return (Phase(Ranked()),)

    def ordering(self, scored: Scored) -> Tensor | None:
        """(R,)"""
        return scored.means


class RrhfConfig(_Lists):
    """Ranks answers by their token-mean likelihood and learns the best.

    Source: Yuan et al. 2023, arXiv 2304.05302, Eq. 2 to 4. Deviation: the best answer's term is a token mean; the released code
    divides by the padded length, so its lengths are not normalised.
    """

    kind: Literal["rrhf"] = "rrhf"
    rank_weight: float = Field(default=1.0, ge=0)
    """Weight of the ranking term."""

    def losses(self, scored: Scored) -> Tensor:
        """(G,)"""
        batch = scored.batch
        return rrhf(scored.means, batch.scores, batch.group, batch.groups, rank_weight=self.rank_weight)


class ProConfig(_Lists):
    """Preference ranking: the best against all, the second against the rest, and so on, by the gaps of their rewards.

    Source: Song et al. 2023, arXiv 2306.17492, Eq. 7 to 9.
    """

    kind: Literal["pro"] = "pro"
    sft_weight: float | None = Field(default=None, ge=0)
    """Weight of learning the best answer; default the paper's 0.05 (K - 1)^2."""
    temperature: Literal["reward", "one"] = "reward"
    """Whether rivals weigh by their reward's gap, or all alike (Plackett-Luce)."""

    def losses(self, scored: Scored) -> Tensor:
        """(G,)"""
        batch, means = scored.batch, scored.means
        if self.temperature == "reward":
            return pro(means, batch.scores, batch.group, batch.groups, sft_weight=self.sft_weight)
        ranked = plackett_luce(means, batch.scores, batch.group, batch.groups)
        (counts,) = (batch.group.bincount(minlength=batch.groups),)
        weight = self.sft_weight if self.sft_weight is not None else 0.05 * (counts - 1).float() ** 2
        return ranked - weight * means[counts.cumsum(0) - counts]


class PlConfig(_Lists):
    """The Plackett-Luce model over implicit rewards: DPO for lists.

    Source: Rafailov et al. 2023, arXiv 2305.18290, Eq. 20 (appendix A.3).
    """

    kind: Literal["pl"] = "pl"
    beta: float = Field(default=0.1, gt=0)
    """Weight of staying near the reference."""

    @property
    def needs_reference(self) -> bool:
        """The model as it came."""
        return True

    def losses(self, scored: Scored) -> Tensor:
        """(G,)"""
        batch = scored.batch
        return pl_dpo(scored.logps, scored.reference, batch.scores, batch.group, batch.groups, beta=self.beta)

    def ordering(self, scored: Scored) -> Tensor | None:
        """(R,) gains over the reference."""
        return scored.logps - scored.reference


class StableConfig(_Lists):
    """Learns the best rated answer and keeps the others less likely by a margin of their rating.

    Source: Liu et al. 2023 (Stable Alignment), arXiv 2305.16960, section 3.2. Deviation: the hinge is of each pair; the
    released code takes it of the mean and reads the gap of a sorted list with an unsorted index.
    """

    kind: Literal["stable"] = "stable"
    ratio: float = Field(default=0.2, ge=0)
    """Weight of the contrast."""
    margin: float = Field(default=1.0, ge=0)
    """Nats a token asked for over the whole scale."""
    scale: float = Field(default=7.0, gt=0)
    """Width of the rating scale."""
    hinge: Literal["per_pair", "on_mean", "max"] = "per_pair"
    """Where the hinge stands."""

    def losses(self, scored: Scored) -> Tensor:
        """(G,)"""
        forms = {"per_pair": stable_alignment, "on_mean": stable_alignment_on_mean, "max": stable_alignment_max}
        batch = scored.batch
        return forms[self.hinge](
            -scored.means, batch.scores, batch.group, batch.groups, ratio=self.ratio, margin=self.margin, scale=self.scale
        )
