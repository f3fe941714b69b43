"""All examples that a view makes of rows, cut to length; what was left out is told and counted."""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from trimtab.training.data.examples import Branch, Example
from trimtab.training.data.rows import Row
from trimtab.training.data.templates import RowTokenizer
from trimtab.training.data.tokens import Unusable
from trimtab.training.data.views import Unpaired, View
from trimtab.training.errors import DataError

logger = logging.getLogger(__name__)
SHOWN = 10


@dataclass(frozen=True, slots=True)
class Dropped:
    """A row, or an example of one, that is not trained on."""

    line: int
    reason: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}"


@dataclass(frozen=True, slots=True)
class ExampleSet:
    """What there is to train on."""

    examples: tuple[Example, ...]
    dropped: tuple[Dropped, ...] = ()
    """Left out, in order."""
    cut: int = 0
    """Examples of which an answer lost its end to the length limit."""


def examples(rows: Iterable[Row], view: View, tokenizer: RowTokenizer, max_length: int) -> ExampleSet:
    """The examples of rows, each sequence (prompt and branch) at most `max_length` tokens long.

    An answer loses its end, never its beginning; an example is dropped whose prompt alone fills the length. Raises DataError
    where nothing is left, or an unpaired view finds one label only.
    """
    kept: list[Example] = []
    dropped: list[Dropped] = []
    cut = 0
    for row in rows:
        try:
            made = view(row, tokenizer)
        except Unusable as error:
            dropped.append(Dropped(row.line, str(error)))
            continue
        for example in made:
            try:
                short = fitted(example, max_length)
            except Unusable as error:
                dropped.append(Dropped(row.line, str(error)))
            else:
                kept.append(short)
                cut += short is not example
    _check(kept, dropped, view)
    return ExampleSet(tuple(kept), tuple(dropped), cut)


def fitted(example: Example, max_length: int) -> Example:
    """The example itself where it fits, else with shorter branches.

    Raises Unusable where the prompt leaves no room, a branch loses all that it is about, or the branches become equal.
    """
    room = max_length - len(example.prompt)
    if room <= 0:
        raise Unusable(f"its prompt alone fills the maximum length of {max_length}")
    if all(len(branch.ids) <= room for branch in example.branches):
        short = example
    else:
        short = replace(example, branches=tuple(_shortened(branch, room) for branch in example.branches))
    if len(example.branches) > 1 and len({branch.ids for branch in short.branches}) == 1:
        raise Unusable(f"its answers are equal within the maximum length of {max_length}")
    return short


def _shortened(branch: Branch, room: int) -> Branch:
    if branch.weights is None:
        return replace(branch, ids=branch.ids[:room])
    weights = branch.weights[:room]
    if max(weights) < max(branch.weights):
        raise Unusable("nothing that counts is left of an answer within the maximum length")
    return replace(branch, ids=branch.ids[:room], weights=weights)


def _check(kept: Sequence[Example], dropped: Sequence[Dropped], view: View) -> None:
    if not kept:
        told = "".join(f"\n  {one}" for one in dropped[:SHOWN])
        raise DataError(f"no row gives an example; {len(dropped)} were left out:{told}")
    labels = {branch.label for example in kept for branch in example.branches}
    if isinstance(view, Unpaired) and len(labels) == 1:
        raise DataError(f"every response is {'wanted' if labels == {True} else 'unwanted'}: this method needs both kinds")
    for reason, count in Counter(one.reason for one in dropped).most_common(SHOWN):
        logger.warning("%d examples left out: %s", count, reason)
