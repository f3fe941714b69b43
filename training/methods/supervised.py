"""Methods that make given text likelier: SFT and what differs from it by its view of the data or by weights alone."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field
from torch import Tensor

from trimtab.training.data.batch import Batch
from trimtab.training.data.editing import Edited, Identity, SecondThoughts
from trimtab.training.data.examples import Example
from trimtab.training.data.hindsight import Hindsight
from trimtab.training.data.views import Demo, Unpaired, Wanted
from trimtab.training.data.views import Scored as ScoredView
from trimtab.training.errors import DataError
from trimtab.training.losses import reward_weighted, safe_align
from trimtab.training.methods.base import Artefact, MethodConfig, Phase, Scored


class _Likelihood(MethodConfig):
    """Negative log-likelihood, averaged over all counted tokens of an optimizer step."""

    def items(self, batch: Batch) -> Tensor:
        """Counted tokens."""
        return (batch.lengths * (batch.example_weights != 0)[batch.group]).sum()

    def losses(self, scored: Scored) -> Tensor:
        """(G,) summed negative log-likelihoods."""
        (logps,) = scored.columns(scored.logps)
        return -logps

    def metrics(self, scored: Scored) -> dict[str, Tensor]:
        """Perplexity is read better from its logarithm: the mean over responses of their token means."""
        return {"nll": -scored.means.detach()}


class SftConfig(_Likelihood):
    """Learns given answers.

    Source: Ouyang et al. 2022, arXiv 2203.02155, section 3.5; Zhou et al. 2023 (LIMA), arXiv 2305.11206.
    Deviation: the mean is over the tokens of a whole optimizer step, not over sequences; the survey's Eq. 4 has its logarithm
    outside the mean, which gives hard examples no gradient.
    """

    kind: Literal["sft"] = "sft"
    turns: Literal["completion", "assistant", "last"] = "completion"
    """What counts: the row's response, every assistant turn (the prompt's too), or the last one alone."""
    prompt_weight: float = Field(default=0.0, ge=0, le=1)
    """How much every other token counts."""

    def phases(self) -> Sequence[Phase]:
        """Demonstrations."""
        return (Phase(Demo(self.turns, self.prompt_weight)),)


class CohConfig(_Likelihood):
    """Learns better and worse answers behind words that say which is which; asked, it is given the good words.

    Source: Liu et al. 2023 (Chain of Hindsight), arXiv 2302.02676, section 3. Deviation: no pre-training text in the mix and no
    masking of past tokens; markers are this project's own words.
    """

    kind: Literal["coh"] = "coh"

    def phases(self) -> Sequence[Phase]:
        """Marked answers."""
        return (Phase(Hindsight()),)


class SecondThoughtsConfig(_Likelihood):
    """Learns to write the edits that lead from a draft to a better answer, then that answer.

    Source: Liu et al. 2023 (SECOND THOUGHTS), arXiv 2301.00355, section 3. Deviation: no code was released, so this is our
    reading; edits are whole words with unit costs, and the reinforcement stage is left to `ppo`.
    """

    kind: Literal["second_thoughts"] = "second_thoughts"

    def phases(self) -> Sequence[Phase]:
        """Edit chains."""
        return (Phase(SecondThoughts()),)


class AlignerConfig(_Likelihood):
    """Learns to correct an answer: first to copy it, then to better it.

    Source: Ji et al. 2024 (Aligner), arXiv 2402.02416, section 2 and Eq. 2.
    """

    kind: Literal["aligner"] = "aligner"
    identity_fraction: float = Field(default=0.2, ge=0, le=1)
    """Share of the rows that it first learns to copy, once."""

    @property
    def artefact(self) -> Artefact:
        """A correction model."""
        return "aligner"

    def phases(self) -> Sequence[Phase]:
        """Copies, then corrections."""
        edits = Phase(Edited())
        return (Phase(Identity(), 1.0, self.identity_fraction), edits) if self.identity_fraction else (edits,)


class RewardWeightedConfig(MethodConfig):
    """Learns answers by the weight of their reward.

    Source: Lee et al. 2023, arXiv 2302.12192, Eq. 3. Deviation: text in place of images, and no pre-training term.
    """

    kind: Literal["reward_weighted"] = "reward_weighted"

    def phases(self) -> Sequence[Phase]:
        """Answers with scores in [0, 1]."""
        return (Phase(ScoredView()),)

    def prepare(self, examples: Sequence[Example], max_length: int) -> Sequence[Example]:
        """As they are. Raises DataError for a score that is no weight."""
        del max_length
        for example in examples:
            score = example.branches[0].score
            if score is None or not 0.0 <= score <= 1.0:
                raise DataError(f"line {example.line}: reward_weighted takes scores from 0 to 1, not {score}")
        return examples

    def losses(self, scored: Scored) -> Tensor:
        """(G,)"""
        return reward_weighted(-scored.means, scored.batch.scores)


class SafeAlignConfig(MethodConfig):
    """Makes safe answers likelier and harmful ones less likely, these by a bounded amount.

    Source: Bhardwaj and Poria 2023 (RED-INSTRUCT), arXiv 2308.09662, section 4. Deviation: the ascent on harmful answers is
    capped, where the paper's gate is a likelihood threshold; the released code trains on safe answers alone.
    """

    kind: Literal["safe_align"] = "safe_align"
    red_weight: float = Field(default=0.1, ge=0)
    """Weight of the harmful answers; 0 = train on safe ones alone."""
    cap: float = Field(default=1.5, gt=0)
    """Nats a token above which a harmful answer is unlikely enough."""
    warmup_fraction: float = Field(default=0.0, ge=0, le=1)
    """Share of the rows whose safe answers it first learns, once."""

    def phases(self) -> Sequence[Phase]:
        """Answers that are wanted or not, behind the warm-up on those that are."""
        both = Phase(Unpaired())
        return (Phase(Wanted(), 1.0, self.warmup_fraction), both) if self.warmup_fraction else (both,)

    def losses(self, scored: Scored) -> Tensor:
        """(G,)"""
        return safe_align(-scored.means, scored.batch.labels, red_weight=self.red_weight, cap=self.cap)

    def metrics(self, scored: Scored) -> dict[str, Tensor]:
        """Token-mean negative log-likelihoods, apart."""
        nll, safe = -scored.means.detach(), scored.batch.labels
        return {"nll_safe": nll[safe], "nll_harmful": nll[~safe]}
