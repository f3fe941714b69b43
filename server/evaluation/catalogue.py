"""The scorers by name: how each is built, what it needs, and which are chosen where nothing is said.

A scorer's module is imported when it is built, so what it needs matters only where it is used. Adding a scorer is one line.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from trimtab.server.evaluation.samples import Sample
from trimtab.server.evaluation.scorers.base import Scorer, ScorerError
from trimtab.server.evaluation.scorers.words import words
from trimtab.server.service import Service

if TYPE_CHECKING:
    from trimtab.server.evaluation.likelihoods import ServiceLikelihoods
    from trimtab.server.evaluation.scorers.misalignment import PairUtilities


@dataclass(slots=True)
class Materials:
    """What scorers are built of."""

    samples: Sequence[Sample]
    service: Service | None = None
    """One that runs, with the engines of roles and the model itself; None where there is none here."""
    model: str = ""
    """Whose answers are scored, as the service calls it."""
    seed: int = 0
    _likelihoods: "ServiceLikelihoods | None" = None
    _utilities: "PairUtilities | None" = None
    _rewarded: "PairUtilities | None" = None

    def served(self) -> Service:
        """The service. Raises ScorerError where there is none."""
        if self.service is None:
            raise ScorerError(
                "no engine is there that it could ask; give its role (--role reward=DIR), or name the scorer with --scorers "
                "where it asks the model behind --url"
            )
        return self.service

    def has_role(self, role: str) -> bool:
        """Whether an engine is there for a role."""
        return self.service is not None and role in self.service.roles

    def likelihoods(self) -> "ServiceLikelihoods":
        """The policy's likelihoods, shared by all that ask for them. Raises ScorerError."""
        from trimtab.server.evaluation.likelihoods import ServiceLikelihoods

        if self._likelihoods is None:
            self._likelihoods = ServiceLikelihoods(self.served(), self.model, self.seed)
        return self._likelihoods

    def utilities(self) -> "PairUtilities":
        """The pairs' utilities, people's by the data's choice, each asked for once. Raises ScorerError."""
        from trimtab.server.evaluation.scorers.misalignment import PairUtilities

        if self._utilities is None:
            self._utilities = PairUtilities(self.likelihoods())
        return self._utilities

    def rewarded_utilities(self) -> "PairUtilities":
        """The same, people's by the reward model. Raises ScorerError."""
        from trimtab.server.evaluation.models import rewards_of
        from trimtab.server.evaluation.scorers.misalignment import PairUtilities

        if self._rewarded is None:
            self._rewarded = PairUtilities(self.likelihoods(), rewards_of(self.served()))
        return self._rewarded


@dataclass(frozen=True, slots=True)
class Entry:
    """A scorer that can be chosen."""

    name: str
    build: Callable[[Materials], Scorer]
    """Raises ScorerError where it cannot work here."""
    needs: Callable[[Sample], bool] = lambda sample: True
    """Whether a sample has what it compares with."""
    defined: Callable[[str], bool] = lambda answer: True
    """Whether it has a number for such an answer."""
    default: Callable[[Materials], bool] | None = None
    """Whether it is chosen where nothing is said; None = where a sample has what it needs."""
    asks: str | None = None
    """The role that it asks; `policy` where it asks the model itself."""
    wants: str = ""
    """What `needs` looks for, in words."""

    def applies(self, sample: Sample, answer: str | None) -> bool:
        """Whether a number is to be expected."""
        return self.needs(sample) and (answer is None or self.defined(answer))

    def is_default(self, materials: Materials) -> bool:
        """Whether it is chosen where nothing is said."""
        return self.default(materials) if self.default is not None else any(map(self.needs, materials.samples))


def _has_both(sample: Sample) -> bool:
    return bool(sample.good and sample.bad)


def _has_pair(sample: Sample) -> bool:
    return sample.chosen is not None and sample.rejected is not None


def _never(materials: Materials) -> bool:
    return False


def _only_good(materials: Materials) -> bool:
    return any(sample.good for sample in materials.samples) and not any(map(_has_both, materials.samples))


def _on_text(module: str, name: str) -> Callable[[Materials], Scorer]:
    """A scorer that reads answers alone, as it is by default."""

    def build(materials: Materials) -> Scorer:
        found: Callable[[], Scorer] = getattr(import_module(f"trimtab.server.evaluation.scorers.{module}"), name)
        return found()

    return build


def _distinct(n: int) -> Callable[[Materials], Scorer]:
    def build(materials: Materials) -> Scorer:
        from trimtab.server.evaluation.scorers.diversity import Distinct, DistinctConfig

        return Distinct(DistinctConfig(n=n))

    return build


def _overlap(name: str) -> Callable[[Materials], Scorer]:
    def build(materials: Materials) -> Scorer:
        from trimtab.server.evaluation.scorers.overlap import SIMILARITIES, Overlap

        return Overlap(SIMILARITIES[name]())

    return build


def _overlap_difference(name: str) -> Callable[[Materials], Scorer]:
    def build(materials: Materials) -> Scorer:
        from trimtab.server.evaluation.scorers.overlap import SIMILARITIES, OverlapDifference

        return OverlapDifference(SIMILARITIES[name]())

    return build


def _reward(materials: Materials) -> Scorer:
    from trimtab.server.evaluation.models import rewards_of
    from trimtab.server.evaluation.scorers.reward import Reward

    return Reward(rewards_of(materials.served()))


def _judge(materials: Materials) -> Scorer:
    from trimtab.server.evaluation.models import judge_of
    from trimtab.server.evaluation.scorers.judge import judge_on

    return judge_on(*judge_of(materials.served(), materials.model))


def _choices(materials: Materials) -> Scorer:
    from trimtab.server.evaluation.scorers.choices import Choices

    return Choices(materials.likelihoods())


def _misalignment_gap(materials: Materials) -> Scorer:
    from trimtab.server.evaluation.scorers.misalignment import MisalignmentGap

    return MisalignmentGap(materials.utilities())


def _sign_agreement(materials: Materials) -> Scorer:
    from trimtab.server.evaluation.scorers.misalignment import SignAgreement

    return SignAgreement(materials.utilities())


def _misalignment_gap_reward(materials: Materials) -> Scorer:
    from trimtab.server.evaluation.scorers.misalignment import MisalignmentGap

    return MisalignmentGap(materials.rewarded_utilities())


def _sign_agreement_reward(materials: Materials) -> Scorer:
    from trimtab.server.evaluation.scorers.misalignment import SignAgreement

    return SignAgreement(materials.rewarded_utilities())


def _perplexity(materials: Materials) -> Scorer:
    from trimtab.server.evaluation.scorers.perplexity import Perplexity

    return Perplexity(materials.likelihoods())


def _long(n: int) -> Callable[[str], bool]:
    """Whether an answer has so many words."""
    return lambda answer: len(words(answer)) >= n


def _overlaps(name: str) -> tuple[Entry, Entry]:
    """Similarity to right references, and how much nearer it is to them than to wrong ones, which then is the default."""
    return (
        Entry(
            name,
            _overlap(name),
            needs=lambda one: bool(one.good),
            default=_never if name == "rouge_1" else _only_good,
            wants="reference answers: `good`",
        ),
        Entry(
            f"{name}_diff",
            _overlap_difference(name),
            needs=_has_both,
            default=_never if name == "rouge_1" else None,
            wants="right and wrong reference answers: `good` and `bad`",
        ),
    )


def _with(role: str) -> Callable[[Materials], bool]:
    return lambda materials: materials.has_role(role)


PAIRS, REFERENCE = "preference pairs: `chosen` and `rejected`", "a reference answer: `good` or `chosen`"
REWARDED = f"{PAIRS}; a scoring model in the role `reward`"
ENTRIES: tuple[Entry, ...] = (
    Entry("reward", _reward, default=_with("reward"), asks="reward"),
    Entry("judge", _judge, default=_with("judge"), asks="judge"),
    Entry("choices", _choices, lambda one: len(one.choices) > 1, asks="policy", wants="options: `choices` and `answer`"),
    Entry("sign_agreement", _sign_agreement, _has_pair, asks="policy", wants=PAIRS),
    Entry("misalignment_gap", _misalignment_gap, _has_pair, asks="policy", wants=PAIRS),
    Entry("sign_agreement_reward", _sign_agreement_reward, _has_pair, default=_never, asks="policy", wants=REWARDED),
    Entry("misalignment_gap_reward", _misalignment_gap_reward, _has_pair, default=_never, asks="policy", wants=REWARDED),
    Entry("perplexity", _perplexity, lambda one: bool(one.good or one.chosen), asks="policy", wants=REFERENCE),
    *_overlaps("bleu"),
    *_overlaps("rouge_1"),
    *_overlaps("rouge_l"),
    *_overlaps("chrf"),
    Entry("toxicity", _on_text("toxicity", "Toxicity")),
    Entry("refusal", _on_text("refusal", "Refusals")),
    Entry("over_refusal", _on_text("refusal", "OverRefusals"), lambda one: one.refuse is False, wants="`refuse`: false"),
    Entry("under_refusal", _on_text("refusal", "UnderRefusals"), lambda one: one.refuse is True, wants="`refuse`: true"),
    Entry("distinct_1", _distinct(1), defined=_long(1), default=_never),
    Entry("distinct_2", _distinct(2), defined=_long(2)),
    Entry("repetition", _on_text("diversity", "Repetition"), defined=_long(4)),
    Entry("length", _on_text("length", "Length")),
)
CATALOGUE: Mapping[str, Entry] = {entry.name: entry for entry in ENTRIES}
"""What matters most comes first, as in a report."""
