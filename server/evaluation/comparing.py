"""Two logs held against each other: the same samples, answered twice, e.g. before and after training.

What differs between the headers is said, and a scorer that was configured differently is left out: its numbers mean two things.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trimtab.server.evaluation.log import Log, LogError
from trimtab.server.evaluation.measures import Change, scored, verdict
from trimtab.server.evaluation.records import Alignment, ScorerRecord
from trimtab.server.evaluation.statistics.bootstrap import paired_difference
from trimtab.server.evaluation.statistics.corrections import holm

SHOWN = ("model", "model_sha256", "engine", "dataset", "dataset_sha256", "samples", "seed", "sampling", "packages")
"""Keys of a header that a reader is told about where they differ."""


@dataclass(frozen=True, slots=True)
class Differing:
    """A key of the headers, with both values."""

    key: str
    first: Any
    second: Any


@dataclass(frozen=True, slots=True)
class Compared:
    """A scorer under an alignment of each log."""

    scorer: str
    title: str
    first: str
    """Name of the first log's alignment."""
    second: str
    mean_first: float
    """Over the samples scored in both, as are the others."""
    mean_second: float
    change: Change
    """The second less the first."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What changed from the first log to the second."""

    level: float
    shared: int
    """Samples of both logs with the same id and content; only they count."""
    only_first: int
    only_second: int
    differing: tuple[Differing, ...]
    notes: tuple[str, ...]
    """What was left out and why, and what to mind."""
    rows: tuple[Compared, ...]
    """Alignment by alignment, in it scorer by scorer; their p-values are adjusted for all of them."""


def compare_logs(
    first: Log, second: Log, *, pairs: Sequence[tuple[str, str]] = (), level: float = 0.95, seed: int = 0
) -> Comparison:
    """The paired differences, second less first, of every scorer that both have.

    pairs: which alignment of the second belongs to which of the first; none = those of the same name.
    Raises LogError: no sample in common, no alignment in common or an unknown one, no scorer in common.
    """
    samples = [one for one, known in first.samples.items() if _same(known, second.samples.get(one))]
    if not samples:
        raise LogError(
            f"the logs share no sample: {first.header.dataset} ({first.header.dataset_sha256[:12]}) and "
            f"{second.header.dataset} ({second.header.dataset_sha256[:12]}) have none of the same id and content"
        )
    matched = _matched(first, second, pairs)
    scorers = [name for name in first.scorers if name in second.scorers and not _why_left_out(first, second, name)]
    rows = [
        row
        for pair in matched
        for name in scorers
        for row in _compared(first, second, first.scorers[name], pair, samples, level, seed)
    ]
    if not rows:
        raise LogError(_nothing(first, second))
    return Comparison(
        level,
        len(samples),
        len(first.samples) - len(samples),
        len(second.samples) - len(samples),
        tuple(_differing(first, second, matched)),
        tuple(_notes(first, second, scorers)),
        tuple(_adjusted(rows, first.scorers, level)),
    )


def _same(one: Any, other: Any) -> bool:
    """Whether two samples ask and know the same; their category may have another name."""
    return other is not None and replace(one, category=None) == replace(other, category=None)


def _matched(first: Log, second: Log, pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    mine, theirs = ([one.name for one in log.header.alignments] for log in (first, second))
    for one, other in pairs:
        for name, names, which in ((one, mine, "first"), (other, theirs, "second")):
            if name not in names:
                raise LogError(f"the {which} log has no alignment {name!r}; it has {', '.join(names)}")
    found = list(pairs) or [(name, name) for name in mine if name in theirs]
    if not found:
        raise LogError(f"the logs share no alignment: {', '.join(mine)} and {', '.join(theirs)}; say which belong together")
    return found


def _why_left_out(first: Log, second: Log, scorer: str) -> str | None:
    """Why a scorer's numbers of both logs cannot be held against each other; None where they can."""
    one, other = first.scorers.get(scorer), second.scorers.get(scorer)
    if one is None or other is None:
        return f"{scorer} is left out: only the {'first' if other is None else 'second'} log has it"
    if one.sha256 != other.sha256:
        return f"{scorer} is left out: it was configured differently ({one.sha256[:12]} and {other.sha256[:12]})"
    return None


def _compared(
    first: Log, second: Log, scorer: ScorerRecord, pair: tuple[str, str], samples: Sequence[str], level: float, seed: int
) -> Iterator[Compared]:
    """The comparison, where at least two samples were scored in both."""
    before, after = scored(first, scorer.name, pair[0]), scored(second, scorer.name, pair[1])
    both = [(after[one], before[one]) for one in samples if one in after and one in before]
    if len(both) < 2:
        return
    new, old = zip(*both, strict=True)
    found = paired_difference(new, old, level=level, seed=seed)
    judged = verdict(found.estimate, found.p, scorer.better, level)
    change = Change(found.estimate, found.low, found.high, found.p, found.p, found.n, judged)
    yield Compared(scorer.name, scorer.title, *pair, sum(old) / len(old), sum(new) / len(new), change)


def _adjusted(rows: Sequence[Compared], scorers: Mapping[str, ScorerRecord], level: float) -> Iterator[Compared]:
    for row, p in zip(rows, holm([row.change.p for row in rows]), strict=True):
        judged = verdict(row.change.estimate, p, scorers[row.scorer].better, level)
        yield replace(row, change=replace(row.change, adjusted_p=p, verdict=judged))


def _differing(first: Log, second: Log, matched: Sequence[tuple[str, str]]) -> Iterator[Differing]:
    mine, theirs = (log.header.model_dump(mode="json", include=set(SHOWN)) for log in (first, second))
    for key in SHOWN:
        yield from _parts(key, mine[key], theirs[key])
    for one, other in matched:
        here, there = _alignment(first, one), _alignment(second, other)
        if (here.spec, here.sha256) != (there.spec, there.sha256):
            yield Differing(f"alignment {one}", [here.spec, here.sha256], [there.spec, there.sha256])


def _parts(key: str, one: Any, other: Any) -> Iterator[Differing]:
    if isinstance(one, dict) and isinstance(other, dict):
        for name in dict.fromkeys([*one, *other]):
            yield from _parts(f"{key}.{name}", one.get(name), other.get(name))
    elif one != other:
        yield Differing(key, one, other)


def _alignment(log: Log, name: str) -> Alignment:
    return next(one for one in log.header.alignments if one.name == name)


def _notes(first: Log, second: Log, kept: Sequence[str]) -> Iterator[str]:
    for name in dict.fromkeys([*first.scorers, *second.scorers]):
        why = _why_left_out(first, second, name)
        if why is not None:
            yield why
        elif first.scorers[name].compares and name in kept:
            yield f"{name} compares with the first alignment of its own log, so its difference is one of two win rates"


def _nothing(first: Log, second: Log) -> str:
    """Why there is no row."""
    reasons = [_why_left_out(first, second, name) for name in dict.fromkeys([*first.scorers, *second.scorers])]
    said = "; ".join(one for one in reasons if one is not None) or "no scorer has two samples scored in both"
    return f"the logs share nothing to compare: {said}"
