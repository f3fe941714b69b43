"""Multiple choice: how often the model's likeliest letter is that of a right option, with the options in several orders."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from trimtab.server.evaluation.reading import LETTERS
from trimtab.server.evaluation.records import Alignment
from trimtab.server.evaluation.samples import Sample
from trimtab.server.evaluation.scorers.asking import AT_ONCE, all_of, each
from trimtab.server.evaluation.scorers.base import About, Item, Verdict
from trimtab.strategies.core.messages import Message
from trimtab.strategies.prompts.judge import Layout

ROTATIONS = 4
"""Orders a question is asked in, where it has as many options."""
LAYOUTS = (
    Layout("parenthesis", "({letter}) {text}", "The right option is: (", "", ")"),
    Layout("bare", "{letter}. {text}", "The right option is:", " ", ""),
)
ABOUT = About(
    name="choices",
    title="Accuracy",
    better="higher",
    says=(
        "Share of orders of the options in which the likeliest letter is that of a right option, from 0 to 1; chance is the "
        "share of right options. Alignments that search or revise are unscored: letters are read, not written."
    ),
    source="Zheng et al. 2024, arXiv 2309.03882 (cyclic orders against letter bias)",
    of_policy=True,
)


class LetterReadings(Protocol):
    """The policy under an alignment, as far as that only shapes the prompt."""

    async def letters(
        self,
        alignment: Alignment,
        messages: Sequence[Mapping[str, Any]],
        layouts: Sequence[Layout],
        asked_in: Callable[[Layout], str],
        count: int,
    ) -> tuple[float, ...]:
        """Raw log-probabilities, in nats, of the first `count` letters as the next thing said.

        asked_in: the last turn in a layout, in place of the one that stands there. Raises Undefined for an alignment that
        decodes or revises.
        """
        ...


@dataclass(frozen=True, slots=True)
class Choices:
    """Asks each question with its options in cyclic orders and reads the likeliest letter; nothing is generated.

    Each option so comes to stand behind several letters, and a model that always says the same one scores chance.
    Source: Zheng et al. 2024, arXiv 2309.03882, section 2 (cyclic permutation).
    Deviation: the share of right orders is the score, their mixed probabilities are not.
    """

    readings: LetterReadings
    rotations: int = ROTATIONS
    """Most orders of a question, evenly spread over all cyclic ones."""
    at_once: int = AT_ONCE

    @property
    def about(self) -> About:
        """What it measures."""
        return ABOUT

    async def score(self, items: Sequence[Item]) -> Sequence[Verdict]:
        """One verdict an item, in order."""
        return await each(items, self._verdict, at_once=self.at_once)

    def summary(self, items: Sequence[Item], verdicts: Sequence[Verdict]) -> Mapping[str, float]:
        """chance: what guessing scores. majority: share of questions right in more than half of their orders.

        letter_spread: largest minus smallest accuracy by the letter of the right option, where there is one right option;
        0 without letter bias.
        """
        scored = [(item, verdict) for item, verdict in zip(items, verdicts, strict=True) if verdict.value is not None]
        if not scored:
            return {}
        chance = [len(item.sample.correct) / len(item.sample.choices) for item, _ in scored]
        majority = [verdict.value is not None and verdict.value > 0.5 for _, verdict in scored]
        spread = _letter_spread([verdict for item, verdict in scored if len(item.sample.correct) == 1])
        return {
            "chance": sum(chance) / len(scored),
            "majority": sum(majority) / len(scored),
            **({} if spread is None else {"letter_spread": spread}),
        }

    async def _verdict(self, item: Item) -> Verdict:
        wrong = fault_of(item.sample)
        if wrong is not None:
            return Verdict(None, wrong)
        count = len(item.sample.choices)
        shifts = spread_out(count, self.rotations)
        picked = [option for option in await all_of([self._picked(item, shift) for shift in shifts]) if option is not None]
        if len(picked) < len(shifts):
            return Verdict(None, "the model gave nan for a letter, which is no number")
        right = [option in item.sample.correct for option in picked]
        details = {
            "picked": picked,
            "letters": "".join(LETTERS[(option - shift) % count] for option, shift in zip(picked, shifts, strict=True)),
            "right_letters": "".join(LETTERS[(item.sample.correct[0] - shift) % count] for shift in shifts),
            "right": right,
        }
        return Verdict(sum(right) / len(right), details=details)

    async def _picked(self, item: Item, shift: int) -> int | None:
        """The option behind the likeliest letter, with the options moved up by `shift`; None where a letter has no number."""
        options = item.sample.choices
        moved = (*options[shift:], *options[:shift])
        question = Message.from_wire(item.sample.messages[-1]).text
        logprobs = await self.readings.letters(
            item.alignment, item.sample.messages, LAYOUTS, lambda layout: asked(question, moved, layout), len(options)
        )
        if any(map(math.isnan, logprobs)):
            return None
        return (max(range(len(options)), key=logprobs.__getitem__) + shift) % len(options)


def asked(question: str, options: Sequence[str], layout: Layout) -> str:
    """A question with its options behind letters."""
    listed = [layout.option.format(letter=letter, text=text) for letter, text in zip(LETTERS, options, strict=False)]
    return "\n".join([question, "", *listed, "", "Answer with the letter of the right option alone."])


def spread_out(options: int, rotations: int) -> list[int]:
    """By how much the options are moved in each order: all cyclic orders, or so many evenly spread ones."""
    orders = max(1, min(options, rotations))
    return [order * options // orders for order in range(orders)]


def fault_of(sample: Sample) -> str | None:
    """Why a sample is no multiple-choice question."""
    count = len(sample.choices)
    if count < 2:
        return "the sample has no options to choose from (choices)"
    if count > len(LETTERS):
        return f"the sample has {count} options; letters tell {len(LETTERS)} apart"
    if not sample.correct or not all(0 <= place < count for place in sample.correct):
        return f"the sample does not say which of its {count} options are right (correct: {list(sample.correct)})"
    return None


def _letter_spread(verdicts: Sequence[Verdict]) -> float | None:
    """How much accuracy depends on the letter of the right option; None where only one letter was right."""
    by_letter: dict[str, list[bool]] = defaultdict(list)
    for verdict in verdicts:
        for letter, right in zip(verdict.details["right_letters"], verdict.details["right"], strict=True):
            by_letter[letter].append(right)
    shares = [sum(right) / len(right) for right in by_letter.values()]
    return max(shares) - min(shares) if len(shares) > 1 else None
