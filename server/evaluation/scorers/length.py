"""How long answers are. Longer answers win judgements whether or not they are better, so a report shows it beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from trimtab.server.evaluation.scorers.base import About, Item, Verdict
from trimtab.server.evaluation.scorers.words import words


@dataclass(frozen=True, slots=True)
class Length:
    """Words of each answer; an empty one has 0. Details: `characters`. Tokens are among the costs, not here."""

    @property
    def about(self) -> About:
        """What it measures."""
        return About(
            name="length",
            title="Words",
            better="neither",
            says="Words of the answer, 0 or more; text without spaces counts as one word, for which there are the characters.",
        )

    async def score(self, items: Sequence[Item]) -> Sequence[Verdict]:
        """One verdict an item, never unscored."""
        return [Verdict(float(len(words(one.answer))), details={"characters": len(one.answer)}) for one in items]

    def summary(self, items: Sequence[Item], verdicts: Sequence[Verdict]) -> Mapping[str, float]:
        """`median_words`, `mean_characters` and the share of `empty` answers; nothing where there are no items."""
        if not items:
            return {}
        return {
            "median_words": float(median(len(words(one.answer)) for one in items)),
            "mean_characters": fmean(len(one.answer) for one in items),
            "empty": fmean(not one.answer.strip() for one in items),
        }
