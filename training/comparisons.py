"""Whether a run orders held-out pairs better than rules that know no language, with intervals."""

from collections.abc import Sequence

from trimtab.training.baselines import PairText, bag_of_words, length_rule
from trimtab.training.data.choices import preferences_of
from trimtab.training.data.examples import Example
from trimtab.training.data.readers import RowSet
from trimtab.training.data.rows import Row, Turn, last_text
from trimtab.training.errors import DataError
from trimtab.training.evaluation import Estimate, accuracy, outcomes, paired_difference


def comparisons(
    margins: Sequence[float], held_out: Sequence[Example], held_out_rows: RowSet | None, rows: RowSet, *, seed: int = 0
) -> dict[str, Estimate]:
    """The accuracy of some margins, of the length rule and of a bag of words on the same pairs, and the differences.

    margins: of each held-out pair. Empty where pairs and rows do not stand one to one: several pairs of a row, soft labels.
    """
    if not margins or held_out_rows is None:
        return {}
    found = {"held_out_accuracy": accuracy(margins, [0.0] * len(margins))}
    pairs = _pairs(held_out, held_out_rows)
    if pairs is None or len(pairs) != len(margins):
        return found
    own = outcomes(margins, [0.0] * len(margins))
    by_length = length_rule(pairs)
    found |= {
        "length_rule_accuracy": by_length.accuracy,
        "better_than_length_rule": paired_difference(own, by_length.outcomes),
    }
    training = [pair for row in rows.rows if (pair := _pair(row)) is not None]
    try:
        words = bag_of_words(training, pairs, seed=seed)
    except DataError:
        return found
    return {
        **found,
        "bag_of_words_accuracy": words.accuracy,
        "better_than_bag_of_words": paired_difference(own, words.outcomes),
    }


def _pairs(examples: Sequence[Example], rows: RowSet) -> list[PairText] | None:
    by_line = {row.line: row for row in rows.rows}
    if len(by_line) < len(rows.rows):
        return None
    found = [_pair(by_line[example.line]) for example in examples if example.line in by_line]
    if len({example.line for example in examples}) != len(examples) or any(pair is None for pair in found):
        return None
    return [pair for pair in found if pair is not None]


def _pair(row: Row) -> PairText | None:
    """The texts of a row with one pair whose label is sure."""
    preferences = preferences_of(row)
    if len(preferences) != 1 or preferences[0].p != 1.0:
        return None
    better, worse = row.responses[preferences[0].a], row.responses[preferences[0].b]
    return _plain(row.prompt), last_text(better.content), last_text(worse.content)


def _plain(prompt: str | tuple[Turn, ...]) -> str:
    return prompt if isinstance(prompt, str) else "\n".join(turn.content for turn in prompt)
