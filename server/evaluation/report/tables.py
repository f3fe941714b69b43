"""The tables of a report as plain values, which the page and the Markdown set each in its way."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from trimtab.server.evaluation.costs import Costs
from trimtab.server.evaluation.log import Log
from trimtab.server.evaluation.measures import Change, Measure, Verdict
from trimtab.server.evaluation.report.wording import (
    ARROWS,
    NOTHING,
    SIGNS,
    decimals_of,
    interval,
    milliseconds,
    number,
    p_value,
    plain,
    times,
)
from trimtab.server.evaluation.statistics.interval import Interval
from trimtab.server.evaluation.statistics.length_control import LengthControlled
from trimtab.server.evaluation.summary import Summary

LEAST_SUPPORT = 0.1
"""Share of answers not shorter, or not longer, than the first alignment's, below which a length-controlled rate is a guess."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What stands in one place of a table."""

    lines: tuple[str, ...]
    tone: Verdict = "none"
    """How the last line is set."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table; the first cell of a row is its head."""

    title: str
    head: tuple[Cell, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    """What a reader should know of it, a sentence or two."""


def cell(*lines: str, tone: Verdict = "none") -> Cell:
    """A cell of these lines."""
    return Cell(lines, tone)


def results(log: Log, summary: Summary) -> Table:
    """Alignment by alignment, each scorer's mean with its interval and its difference, and what it cost."""
    heads = [cell(_title(log, scorer), ARROWS[log.scorers[scorer].better]) for scorer in summary.scorers]
    costs = [cell("Tokens", "× of the first"), cell("Latency p50", "× of the first")]
    rows = [
        (
            cell(plain(alignment)),
            *(_measured(summary.measure(scorer, alignment)) for scorer in summary.scorers),
            *_cost_cells(summary.costs[place]),
        )
        for place, alignment in enumerate(summary.alignments)
    ]
    return Table("Results", (cell("Alignment"), *heads, *costs), tuple(rows), results_note(log, summary))


def results_note(log: Log, summary: Summary) -> str:
    """How the table is to be read."""
    means = f"Means with {summary.level:.0%} intervals (bootstrap; Wilson's for yes and no)"
    if not summary.comparisons:
        return f"{means}; nothing was compared. {_left_out(log, summary)}"
    return (
        f"{means}; beneath, the paired difference from {plain(summary.alignments[0])}. ▲ better, ▼ worse, ◆ different where no "
        f"side is better: significant at {1 - summary.level:.2g} after Holm's correction for {_comparisons(summary)}. "
        f"A difference without a sign is not shown to be one. {_left_out(log, summary)}"
    )


def _comparisons(summary: Summary) -> str:
    return "the only comparison" if summary.comparisons == 1 else f"all {summary.comparisons} comparisons"


def _left_out(log: Log, summary: Summary) -> str:
    """How much the means rest on."""
    all_counts = [one.counts for one in summary.measures if not _is_own_baseline(log, summary, one)]
    scored = sum(one.scored for one in all_counts)
    unscored, errored = sum(one.unscored for one in all_counts), sum(one.errored for one in all_counts)
    missing = sum(one.missing for one in all_counts)
    asked = scored + unscored + errored + missing
    unfinished = sorted({scorer for scorer, _, _ in log.scores if scorer not in log.scorers})
    behind = f" Not shown, for they were cut short: {', '.join(map(plain, unfinished))}." if unfinished else ""
    why = " (Counts says why)" if unscored else ""
    lost = f"{unscored:,} unscored{why}, {errored:,} errored, {missing:,} missing"
    return f"{scored:,} of {asked:,} scores are there: {lost}.{behind}"


def differences(log: Log, summary: Summary) -> Table:
    """Every comparison that was made."""
    head = ("Scorer", "Alignment", "Difference", "Interval", "Pairs", "p", "Adjusted p", "Verdict")
    rows = [
        (cell(_title(log, one.scorer)), cell(plain(one.alignment)), *change_cells(one.change))
        for one in summary.measures
        if one.change is not None
    ]
    note = (
        "Over the samples scored under both; a win rate is held against one half. "
        f"p is two-sided; the adjusted p is Holm's over {summary.comparisons} comparisons."
    )
    return Table("Differences", tuple(map(cell, head)), tuple(rows), note)


def change_cells(change: Change) -> tuple[Cell, ...]:
    """Difference, interval, pairs, p, adjusted p, verdict."""
    digits = decimals_of(change.low, change.high)
    return (
        cell(number(change.estimate, digits=digits, sign=True)),
        cell(interval(change.low, change.high, digits, sign=True)),
        cell(f"{change.n:,}"),
        cell(p_value(change.p)),
        cell(p_value(change.adjusted_p)),
        cell(f"{SIGNS[change.verdict]} {_VERDICTS[change.verdict]}".strip(), tone=change.verdict),
    )


def wins(log: Log, summary: Summary) -> Table:
    """Win rates of the scorers that compare answers; no rows where there is none."""
    head = ("Scorer", "Alignment", "Won", "Tied", "Lost", "Win rate", "Length-controlled win rate")
    note = "Against the first alignment; a tie counts as half a win. Length-controlled: had both answers the same length."
    return Table("Wins", tuple(map(cell, head)), tuple(_win_rows(log, summary.measures)), note)


def costs(summary: Summary) -> Table:
    """What an answer takes on average, and how many times what it takes under the first alignment."""
    head = ("Alignment", "Calls", "Prompt tokens", "Completion tokens", "Latency p50", "Latency p95", "By role")
    note = (
        "Calls and tokens for each answer on average; × is the ratio to the first alignment over the samples both answered. "
        "Latency runs from request to answer beside the other requests in work. Answers under which the alignment was skipped "
        "or degraded are counted among them."
    )
    return Table("Costs", tuple(map(cell, head)), tuple(_cost_row(one) for one in summary.costs), note)


def counts(log: Log, summary: Summary) -> Table:
    """What became of every sample."""
    head = ("Scorer", "Alignment", "Scored", "Unscored", "Errored", "Missing", "Truncated", "Why unscored")
    rows = [
        (
            cell(_title(log, one.scorer)),
            cell(plain(one.alignment)),
            *(cell(f"{n:,}") for n in (one.counts.scored, one.counts.unscored, one.counts.errored)),
            *(cell(f"{n:,}") for n in (one.counts.missing, one.counts.truncated)),
            cell("; ".join(f"{plain(reason, most=160)} ({n:,})" for reason, n in list(one.counts.reasons.items())[:3])),
        )
        for one in summary.measures
        if not _is_own_baseline(log, summary, one)
    ]
    note = f"Of {len(log.samples):,} samples. Truncated answers were cut by the token limit and are scored like the others."
    return Table("Counts", tuple(map(cell, head)), tuple(rows), note)


def by_category(log: Log, summary: Summary) -> Table:
    """Means by category; no rows where the samples have none."""
    means = {(one.scorer, one.category, one.alignment): one.mean for one in summary.by_category}
    rows = [
        (
            cell(_title(log, scorer)),
            cell(plain(category)),
            *(_mean_cell(means.get((scorer, category, alignment))) for alignment in summary.alignments),
        )
        for scorer in summary.scorers
        for category in summary.categories
    ]
    head = ("Scorer", "Category", *(plain(alignment) for alignment in summary.alignments))
    return Table("By category", tuple(map(cell, head)), tuple(rows), "Means with intervals and the number of samples.")


def own_numbers(log: Log, summary: Summary) -> Table:
    """What scorers say of all their verdicts together; no rows where none does."""
    rows = [
        (cell(_title(log, one.scorer)), cell(plain(one.alignment)), cell(plain(name)), cell(number(value)))
        for one in summary.measures
        for name, value in one.numbers.items()
    ]
    return Table("What scorers say of themselves", tuple(map(cell, ("Scorer", "Alignment", "Number", "Value"))), tuple(rows))


def all_tables(log: Log, summary: Summary) -> Iterator[Table]:
    """Those behind the results that have rows."""
    made = (counts(log, summary), wins(log, summary), costs(summary), differences(log, summary))
    yield from (table for table in (*made, by_category(log, summary), own_numbers(log, summary)) if table.rows)


_VERDICTS = {"better": "better", "worse": "worse", "differs": "different", "none": "not shown"}


def _title(log: Log, scorer: str) -> str:
    return plain(log.scorers[scorer].title or scorer)


def _is_own_baseline(log: Log, summary: Summary, one: Measure) -> bool:
    """Whether a scorer that compares was to compare the first alignment with itself."""
    return log.scorers[one.scorer].compares and one.alignment == summary.alignments[0]


def _measured(one: Measure) -> Cell:
    if one.mean is None:
        return cell(NOTHING)
    lines = _mean_cell(one.mean).lines[:2]
    if one.change is None:
        return Cell(lines)
    digits = decimals_of(one.change.low, one.change.high)
    change = f"{number(one.change.estimate, digits=digits, sign=True)} {SIGNS[one.change.verdict]}".strip()
    return Cell((*lines, change), one.change.verdict)


def _mean_cell(mean: Interval | None) -> Cell:
    if mean is None:
        return cell(NOTHING)
    digits = decimals_of(mean.low, mean.high)
    return cell(number(mean.estimate, digits=digits), interval(mean.low, mean.high, digits), f"n {mean.n:,}")


def _cost_cells(one: Costs) -> tuple[Cell, Cell]:
    return cell(times(one.ratios.tokens)), cell(times(one.ratios.p50_ms))


def _cost_row(one: Costs) -> tuple[Cell, ...]:
    total, answers, ratios = one.total, one.answers, one.ratios
    roles = (
        f"{plain(role)}: {_each(spent.calls, answers)} calls, {_each(spent.tokens, answers)} tokens"
        for role, spent in one.by_role.items()
    )
    return (
        cell(
            plain(one.alignment), f"{answers:,} answers", *(f"{n:,} {plain(how)}" for how, n in sorted(one.not_applied.items()))
        ),
        cell(_each(total.calls, answers), times(ratios.calls)),
        cell(_each(total.prompt_tokens, answers)),
        cell(_each(total.completion_tokens, answers), times(ratios.completion_tokens)),
        _latency(one.p50_ms, times(ratios.p50_ms)),
        _latency(one.p95_ms),
        cell(*roles),
    )


def _latency(found: Interval | None, *more: str) -> Cell:
    """A quantile with its interval; of few answers a side has no bound."""
    if found is None:
        return cell(NOTHING)
    return cell(milliseconds(found.estimate), f"{milliseconds(found.low)} to {milliseconds(found.high)}", *more)


def _each(total: float, answers: int) -> str:
    return number(total / answers) if answers else NOTHING


def _win_rows(log: Log, measures: Iterable[Measure]) -> Iterator[tuple[Cell, ...]]:
    for one in measures:
        if one.wins is None or one.mean is None:
            continue
        fitted = one.wins.length_controlled
        yield (
            cell(_title(log, one.scorer)),
            cell(plain(one.alignment)),
            *(cell(f"{n:,}") for n in (one.wins.won, one.wins.tied, one.wins.lost)),
            cell(*_rate(one.mean.estimate, one.mean.low, one.mean.high)),
            cell(NOTHING, "too few verdicts") if fitted is None else cell(*_length_controlled(fitted)),
        )


def _length_controlled(fitted: LengthControlled) -> Sequence[str]:
    rate = _rate(fitted.rate, fitted.low, fitted.high)
    return rate if fitted.support >= LEAST_SUPPORT else (*rate, "extrapolated: lengths hardly overlap")


def _rate(rate: float, low: float | None, high: float | None) -> Sequence[str]:
    return f"{rate:.1%}", NOTHING if low is None or high is None else f"{low:.1%} to {high:.1%}"
