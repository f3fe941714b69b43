"""A pairwise judge: each answer against the first alignment's, always in both orders, with what its place in the prompt did."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trimtab.server.evaluation.models import chat_on
from trimtab.server.evaluation.prompts import fingerprint
from trimtab.server.evaluation.scorers.asking import AT_ONCE, all_of, each
from trimtab.server.evaluation.scorers.base import About, Item, Verdict
from trimtab.server.evaluation.scorers.verdicts import PairVerdicts, ReadVerdicts, WrittenVerdicts
from trimtab.strategies.core.engine import Ports
from trimtab.strategies.core.messages import Message

TIE = 0.5
SAYS = (
    "How often {judge} finds the answer better than the first alignment's: 1 won, 0.5 tied, 0 lost, the mean of both orders; "
    "orders that contradict each other are a tie, the same answer is one unasked."
)


@dataclass(frozen=True, slots=True)
class Judge:
    """Win, tie or loss of each answer against the first alignment's, averaged over both orders.

    An order without a verdict is left out; where both are, the pair is unscored. Identical answers, and the first alignment's
    own, are ties without asking.
    Source: Zheng et al. 2023, arXiv 2306.05685, section 3.4 (position bias, swapped orders).
    """

    verdicts: PairVerdicts
    at_once: int = AT_ONCE

    @property
    def sha256(self) -> str:
        """Of what it asks, but for the pair."""
        return fingerprint()

    @property
    def about(self) -> About:
        """What it measures."""
        return About(
            name="judge",
            title="Judge",
            better="higher",
            says=SAYS.format(judge=self.verdicts.name),
            source="Zheng et al. 2023, arXiv 2306.05685, section 3.4",
            compares=True,
            of_preference=True,
        )

    async def score(self, items: Sequence[Item]) -> Sequence[Verdict]:
        """One verdict an item, in order."""
        return await each(items, self._verdict, at_once=self.at_once)

    def summary(self, items: Sequence[Item], verdicts: Sequence[Verdict]) -> Mapping[str, float]:
        """How the judge was swayed by places: see `of_orders`; `identical`: pairs that were the same text."""
        orders = [verdict.details["orders"] for verdict in verdicts if "orders" in verdict.details]
        identical = sum(bool(verdict.details.get("identical")) for verdict in verdicts)
        return {"identical": float(identical), **of_orders(orders)}

    async def _verdict(self, item: Item) -> Verdict:
        if item.baseline is None:
            return Verdict(TIE, details={"baseline": True})
        other = item.baseline.answer
        if other is None:
            return Verdict(None, "the first alignment has no answer to this sample")
        if other == item.answer:
            return Verdict(TIE, details={"identical": True})
        said = [Message.from_wire(turn) for turn in item.sample.messages]
        turns = [(message.role, message.text) for message in said]
        first, second = await all_of(
            [self.verdicts.compare(turns, item.answer, other), self.verdicts.compare(turns, other, item.answer)]
        )
        orders = (first.outcome, None if second.outcome is None else 1.0 - second.outcome)
        details = {"orders": list(orders), "heard": [dict(first.details), dict(second.details)]}
        read = [outcome for outcome in orders if outcome is not None]
        if not read:
            return Verdict(None, "the judge gave no verdict in either order", details)
        return Verdict(sum(read) / len(read), details=details)


def judge_on(ports: Ports, name: str) -> Judge:
    """The judge of an engine: its letters are read where it shows tokens, otherwise it writes. Raises ScorerError."""
    return Judge(ReadVerdicts(ports, name) if ports.tokens is not None else WrittenVerdicts(chat_on(ports, name)))


Orders = Sequence[float | None]
"""Outcomes of a pair for the answer that is scored: shown first, shown second."""


def of_orders(pairs: Sequence[Orders]) -> dict[str, float]:
    """What the orders of all pairs say of a judge; a share that nothing speaks of is left out.

    asked, unscored, one_order: pairs, those without any verdict, those with one.
    consistent, contradictory: share of pairs with two verdicts in which both say the same, or the opposite.
    first_position: share of verdicts that are no ties which prefer the answer shown first; 0.5 without bias.
    position_p: of the two-sided sign test on contradictory pairs that the first place is preferred as often as the second.
    ties: share of scored pairs whose mean is a tie.
    """
    both = [(first, second) for first, second in pairs if first is not None and second is not None]
    by_place = [outcome for first, second in pairs for outcome in (first, None if second is None else 1.0 - second)]
    decided = [outcome for outcome in by_place if outcome is not None and outcome != TIE]
    means = [sum(read) / len(read) for pair in pairs if (read := [outcome for outcome in pair if outcome is not None])]
    contradictory = [first for first, second in both if abs(first - second) == 1.0]
    counts = {
        "asked": float(len(pairs)),
        "unscored": float(len(pairs) - len(means)),
        "one_order": float(len(means) - len(both)),
    }
    shares = {
        "consistent": [float(first == second) for first, second in both],
        "contradictory": [float(abs(first - second) == 1.0) for first, second in both],
        "first_position": decided,
        "ties": [float(mean == TIE) for mean in means],
    }
    found = {name: sum(values) / len(values) for name, values in shares.items() if values}
    return {**counts, **found, "position_p": sign_test(int(sum(contradictory)), len(contradictory))}


def sign_test(wins: int, n: int) -> float:
    """Two-sided p of this many wins in n fair tosses, exact; 1 for none."""
    fewer = min(wins, n - wins)
    return min(1.0, 2 * sum(math.comb(n, place) for place in range(fewer + 1)) / (1 << n))
