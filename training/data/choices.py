"""What a row says about its answers, from whichever of scores, ranks, kinds, labels and preferences it has."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from trimtab.training.data.rows import Kind, Preference, Response, Row
from trimtab.training.data.tokens import Unusable

BETTER: tuple[tuple[Kind, Kind], ...] = (("chosen", "rejected"), ("revision", "original"), ("blue", "red"))
"""Kinds of answers that are better than others by what they are."""
WANTED: frozenset[Kind] = frozenset({"gold", *(better for better, _ in BETTER)})
UNWANTED: frozenset[Kind] = frozenset(worse for _, worse in BETTER)


def trained(row: Row) -> tuple[Response, ...]:
    """The answers whose weight is not 0."""
    return tuple(response for response in row.responses if response.weight)


def scores_of(row: Row, responses: Sequence[Response]) -> tuple[float, ...] | None:
    """A number for each answer, higher is better: its score, its rank from below, or 1 and 0 in a pair. None: nothing says."""
    scores = tuple(response.score for response in responses if response.score is not None)
    ranks = tuple(-float(response.rank) for response in responses if response.rank is not None)
    for numbers in (scores, ranks):
        if numbers and len(numbers) == len(responses):
            return numbers
    if len(responses) == 2 and (order := preferences_of(row)):
        return tuple(_wins(response, row, order[0]) for response in responses)
    return None


def preferences_of(row: Row) -> tuple[Preference, ...]:
    """Which answer is better than which, the likelier winner first; ties in scores or ranks give no pair."""
    given = row.preferences or _by_number(row) or _by_kind(row) or _by_label(row)
    both = (one for one in given if row.responses[one.a].weight and row.responses[one.b].weight)
    return tuple(_likelier_first(one) for one in both)


def best(row: Row, kind: Kind | None = None) -> tuple[Response, ...]:
    """The answer to learn (of several revisions the last), or all of a kind. Raises Unusable where none is said to be good."""
    responses = trained(row)
    if kind is not None:
        return _some([response for response in responses if response.kind == kind], f"has no response of the kind {kind!r}")
    gold = [response for response in responses if response.kind == "gold"]
    numbers = scores_of(row, responses)
    if gold or numbers is None:
        wanted = gold or [response for response in responses if wanted_of(response) is not False]
        unjudged = len(wanted) > 1 and not any(wanted_of(response) for response in wanted)
        reason = "does not say which of its responses to learn" if unjudged else "has no response to learn"
        return _some([] if unjudged else wanted[-1:], reason)
    return (responses[max(range(len(responses)), key=numbers.__getitem__)],)


def wanted_of(response: Response) -> bool | None:
    """Whether an answer is wanted, by its label or kind; None where nothing says so."""
    if response.label is not None:
        return response.label
    if response.kind in WANTED:
        return True
    return False if response.kind in UNWANTED else None


def labels_of(row: Row) -> dict[int, bool]:
    """Place of each answer that is said to be wanted or not -> which: by its label, else by preferences, else by its kind."""
    preferred: dict[int, bool | None] = {}
    for one in row.preferences:
        preferred |= {one.a: None, one.b: None} if one.p == 0.5 else {one.a: one.p > 0.5, one.b: one.p < 0.5}
    labels: dict[int, bool] = {}
    for place, response in enumerate(row.responses):
        label = response.label if response.label is not None else preferred.get(place, wanted_of(response))
        if label is not None and response.weight:
            labels[place] = label
    return labels


def _some(responses: list[Response], reason: str) -> tuple[Response, ...]:
    if not responses:
        raise Unusable(reason)
    return tuple(responses)


def _by_number(row: Row) -> tuple[Preference, ...]:
    places = [place for place, response in enumerate(row.responses) if response.weight]
    for numbers in (
        {place: row.responses[place].score for place in places},
        {place: None if (rank := row.responses[place].rank) is None else -rank for place in places},
    ):
        known = {place: number for place, number in numbers.items() if number is not None}
        if len(known) == len(places):
            return _pairs((a, b) for a in places for b in places if known[a] > known[b])
    return ()


def _by_kind(row: Row) -> tuple[Preference, ...]:
    kinds = [response.kind for response in row.responses]
    return _pairs((a, b) for a, first in enumerate(kinds) for b, second in enumerate(kinds) if (first, second) in BETTER)


def _by_label(row: Row) -> tuple[Preference, ...]:
    labels = [response.label for response in row.responses]
    return _pairs((a, b) for a, first in enumerate(labels) for b, second in enumerate(labels) if first and second is False)


def _pairs(places: Iterable[tuple[int, int]]) -> tuple[Preference, ...]:
    return tuple(Preference(a, b) for a, b in places)


def _likelier_first(one: Preference) -> Preference:
    return replace(one, a=one.b, b=one.a, p=1 - one.p, margin=-one.margin) if one.p < 0.5 else one


def _wins(response: Response, row: Row, preference: Preference) -> float:
    if preference.p == 0.5:
        return 0.5
    return float(response is row.responses[preference.a])
