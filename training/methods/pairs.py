"""Methods that learn from pairs of a better and a worse answer, and KTO, which learns from answers that are wanted or not."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from pydantic import Field, model_validator
from torch import Tensor

from trimtab.training.data.examples import Branch, Example
from trimtab.training.data.views import Pair, PairWithGold, Unpaired
from trimtab.training.errors import DataError
from trimtab.training.losses import (
    conservative_dpo,
    cpl,
    cpl_with_reference,
    dpo,
    f_dpo_forward_kl,
    f_dpo_jensen_shannon,
    implicit_reward,
    ipo_mean,
    ipo_sum,
    kto,
    kto_kl,
    length_normalised_dpo,
    orpo,
    robust_dpo,
    simpo,
    slic,
    soft_dpo,
)
from trimtab.training.losses.types import PairLogps
from trimtab.training.methods.base import MethodConfig, Phase, Scored


class _Pairs(MethodConfig):
    """Better and worse answers of one prompt; a response's worth is its summed log-probability."""

    def phases(self) -> Sequence[Phase]:
        """Pairs."""
        return (Phase(Pair()),)

    @property
    def honours_preference(self) -> bool:
        """Whether a label that is not sure counts for less."""
        return False

    def prepare(self, examples: Sequence[Example], max_length: int) -> Sequence[Example]:
        """As they are. Raises DataError for labels that the method would take for sure."""
        del max_length
        unsure = next((example for example in examples if example.preference != 1.0), None)
        if unsure is not None and not self.honours_preference:
            told = f"line {unsure.line}: its preference is {unsure.preference:g}, and this method takes every label for sure"
            raise DataError(f"{told}; dpo in its plain form, cpl and reward do not")
        return examples

    def ordering(self, scored: Scored) -> Tensor | None:
        """(R,)"""
        return scored.logps

    def metrics(self, scored: Scored) -> dict[str, Tensor]:
        """Both sides' log-probabilities: with a loss of their difference alone, both may fall."""
        chosen, rejected = scored.columns(scored.logps.detach())[:2]
        return {"logps_chosen": chosen, "logps_rejected": rejected}


class _WithReference(_Pairs):
    """The same, a response's worth being its gain over the reference."""

    @property
    def needs_reference(self) -> bool:
        """The model as it came."""
        return True

    def ordering(self, scored: Scored) -> Tensor | None:
        """(R,)"""
        return scored.logps - scored.reference


class DpoConfig(_WithReference):
    """Direct preference optimisation: a classifier of pairs whose logit is the implicit reward's difference.

    Source: Rafailov et al. 2023, arXiv 2305.18290, Eq. 7. Conservative: Mitchell 2023, note on noisy preferences; robust:
    Chowdhury et al. 2024, arXiv 2403.00409; other divergences: Wang et al. 2023, arXiv 2309.16240.
    """

    kind: Literal["dpo"] = "dpo"
    beta: float = Field(default=0.1, gt=0)
    """Weight of staying near the reference."""
    form: Literal["plain", "conservative", "robust", "length_normalised", "forward_kl", "jensen_shannon"] = "plain"
    """The loss: the paper's, one for noisy labels, one of token means, or one that keeps near by another divergence."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Share of labels that are wrong (conservative, robust)."""
    sft_weight: float = Field(default=0.0, ge=0)
    """Weight of the chosen answer's token-mean negative log-likelihood: keeps it from falling with the rejected one."""

    @property
    def honours_preference(self) -> bool:
        """The plain form does."""
        return self.form == "plain"

    @model_validator(mode="after")
    def _smoothing_has_a_form(self) -> "DpoConfig":
        if self.label_smoothing and self.form not in {"conservative", "robust"}:
            raise ValueError(f"label_smoothing needs form conservative or robust, not {self.form}")
        return self

    def losses(self, scored: Scored) -> Tensor:
        """(G,)"""
        loss = self._preference(scored)
        return loss - self.sft_weight * scored.columns(scored.means)[0] if self.sft_weight else loss

    def _preference(self, scored: Scored) -> Tensor:
        pair, reference, beta = scored.pair, scored.reference_pair, self.beta
        match self.form:
            case "conservative":
                return conservative_dpo(pair, reference, beta=beta, label_smoothing=self.label_smoothing)
            case "robust":
                return robust_dpo(pair, reference, beta=beta, label_smoothing=self.label_smoothing)
            case "length_normalised":
                return length_normalised_dpo(pair, reference, scored.pair_lengths, beta=beta)
            case "forward_kl":
                return f_dpo_forward_kl(pair, reference, beta=beta)
            case "jensen_shannon":
                return f_dpo_jensen_shannon(pair, reference, beta=beta)
            case "plain":
                return _dpo(pair, reference, scored.batch.preference, beta)

    def metrics(self, scored: Scored) -> dict[str, Tensor]:
        """Implicit rewards of both sides beside their log-probabilities."""
        rewards = implicit_reward(scored.logps.detach(), scored.reference, beta=self.beta)
        chosen, rejected = scored.columns(rewards)[:2]
        return {**super().metrics(scored), "rewards_chosen": chosen, "rewards_rejected": rejected}


def _dpo(pair: PairLogps, reference: PairLogps, preference: Tensor, beta: float) -> Tensor:
    certain = bool((preference == 1.0).all())
    return dpo(pair, reference, beta=beta) if certain else soft_dpo(pair, reference, preference, beta=beta)


class IpoConfig(_WithReference):
    """Identity preference optimisation: the gap of log-ratios is drawn to 1/(2 tau), so sure labels do not drive it off.

    Source: Azar et al. 2023, arXiv 2310.12036, Eq. 17. Deviation: none with reduction sum; mean is what common
    implementations take. The survey prints the square with a minus before it.
    """

    kind: Literal["ipo"] = "ipo"
    tau: float = Field(default=0.5, gt=0)
    """Weight of staying near the reference."""
    reduction: Literal["mean", "sum"] = "mean"
    """Whether log-ratios are token means or the paper's sums."""

    def losses(self, scored: Scored) -> Tensor:
        """(G,)"""
        if self.reduction == "sum":
            return ipo_sum(scored.pair, scored.reference_pair, tau=self.tau)
        return ipo_mean(scored.pair, scored.reference_pair, scored.pair_lengths, tau=self.tau)


class SlicConfig(_Pairs):
    """Sequence likelihood calibration: a hinge between the two, and the target kept likely.

    Source: Zhao et al. 2023 (SLiC-HF), arXiv 2305.10425, Eq. 1.
    """

    kind: Literal["slic"] = "slic"
    delta: float = Field(default=1.0, ge=0)
    """Gap asked for, nats."""
    regularisation: float = Field(default=0.5, ge=0)
    """Weight of the target's likelihood."""

    def phases(self) -> Sequence[Phase]:
        """Pairs with the answer to keep likely: the row's gold response, else the better one."""
        return (Phase(PairWithGold()),)

    def losses(self, scored: Scored) -> Tensor:
        """(G,)"""
        target = scored.columns(scored.logps)[2]
        return slic(scored.pair, target, delta=self.delta, regularisation=self.regularisation)


class OrpoConfig(_Pairs):
    """Likelihood of the chosen answer and the odds ratio against the rejected one, without a reference.

    Source: Hong et al. 2024, arXiv 2403.07691, Eq. 6 and 7.
    """

    kind: Literal["orpo"] = "orpo"
    lam: float = Field(default=0.1, ge=0)
    """Weight of the odds ratio."""

    def losses(self, scored: Scored) -> Tensor:
        """(G,)"""
        return orpo(scored.pair, scored.pair_lengths, lam=self.lam)

    def ordering(self, scored: Scored) -> Tensor | None:
        """(R,) token means."""
        return scored.means


class SimpoConfig(_Pairs):
    """Token-mean likelihoods with a target margin, without a reference.

    Source: Meng et al. 2024, arXiv 2405.14734, Eq. 6.
    """

    kind: Literal["simpo"] = "simpo"
    beta: float = Field(default=2.0, gt=0)
    """Scale of the token mean."""
    gamma: float = Field(default=0.5, ge=0)
    """Margin asked for."""

    def losses(self, scored: Scored) -> Tensor:
        """(G,)"""
        return simpo(scored.pair, scored.pair_lengths, beta=self.beta, gamma=self.gamma)

    def ordering(self, scored: Scored) -> Tensor | None:
        """(R,) token means."""
        return scored.means


class CplConfig(_Pairs):
    """Contrastive preference learning: log-probabilities as advantages of a regret model.

    Source: Hejna et al. 2023, arXiv 2310.13639, Eq. 5 and 10. Deviation: no discount; the paper's warm start by
    behaviour cloning is a run of `sft` before this one.
    """

    kind: Literal["cpl"] = "cpl"
    alpha: float = Field(default=0.1, gt=0)
    """Temperature."""
    bias: float = Field(default=0.5, gt=0, le=1)
    """Weight of the rejected side; below 1 it keeps unseen answers unlikely."""
    reference: Literal["none", "initial"] = "none"
    """Whether log-probabilities are taken against the model as it came."""

    @property
    def honours_preference(self) -> bool:
        """It does."""
        return True

    @property
    def needs_reference(self) -> bool:
        """By the setting."""
        return self.reference == "initial"

    def losses(self, scored: Scored) -> Tensor:
        """(G,)"""
        preference = scored.batch.preference
        if not self.needs_reference:
            return cpl(scored.pair, alpha=self.alpha, bias=self.bias, preference=preference)
        return cpl_with_reference(scored.pair, scored.reference_pair, alpha=self.alpha, bias=self.bias, preference=preference)

    def ordering(self, scored: Scored) -> Tensor | None:
        """(R,)"""
        return scored.logps - scored.reference if self.needs_reference else scored.logps


class KtoConfig(MethodConfig):
    """Kahneman-Tversky optimisation: single answers that are wanted or not, against the policy's drift from the reference.

    Source: Ethayarajh et al. 2024, arXiv 2402.01306, Eq. 8. Deviation: the drift is estimated with the answer of the next
    example in the data under this example's prompt, and averaged over a micro-batch.
    """

    kind: Literal["kto"] = "kto"
    beta: float = Field(default=0.1, gt=0)
    """Weight of staying near the reference."""
    desirable_weight: float = Field(default=1.0, gt=0)
    """Weight of wanted answers."""
    undesirable_weight: float = Field(default=1.0, gt=0)
    """Weight of unwanted answers."""

    @property
    def needs_reference(self) -> bool:
        """The model as it came."""
        return True

    def phases(self) -> Sequence[Phase]:
        """Answers that are wanted or not."""
        return (Phase(Unpaired()),)

    def prepare(self, examples: Sequence[Example], max_length: int) -> Sequence[Example]:
        """A second branch each: the answer of the next example whose prompt differs."""
        if len({example.prompt for example in examples}) < 2:
            raise DataError("kto needs at least two different prompts: its drift is estimated with another prompt's answer")
        return [_mismatched(examples, place, max_length) for place in range(len(examples))]

    def losses(self, scored: Scored) -> Tensor:
        """(G,)"""
        policy, other = scored.columns(scored.logps)
        reference, other_reference = scored.columns(scored.reference)
        return kto(
            policy,
            reference,
            scored.columns(scored.batch.labels)[0],
            kto_kl(other, other_reference),
            beta=self.beta,
            desirable_weight=self.desirable_weight,
            undesirable_weight=self.undesirable_weight,
        )

    def metrics(self, scored: Scored) -> dict[str, Tensor]:
        """Implicit rewards of wanted and unwanted answers, apart."""
        rewards = scored.columns(implicit_reward(scored.logps.detach(), scored.reference, beta=self.beta))[0]
        wanted = scored.columns(scored.batch.labels)[0]
        return {"rewards_chosen": rewards[wanted], "rewards_rejected": rewards[~wanted]}


def _mismatched(examples: Sequence[Example], place: int, max_length: int) -> Example:
    own, count = examples[place], len(examples)
    others = (examples[(place + ahead) % count] for ahead in range(1, count))
    answer = next(other for other in others if other.prompt != own.prompt).branches[0]
    room = max(1, max_length - len(own.prompt))
    return replace(own, branches=(own.branches[0], Branch(answer.ids[:room])))
