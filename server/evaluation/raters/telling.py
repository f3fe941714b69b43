"""Agreement in words, for a terminal, and as plain values."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from trimtab.server.evaluation.log import Log
from trimtab.server.evaluation.raters.agreement import Agreement, Calibrated, RaterAgreement, ScorerAgreement
from trimtab.server.evaluation.statistics.interval import Interval


def told(log: Log, found: Agreement) -> str:
    """The agreement as lines of text."""
    first = log.header.alignments[0].name
    return "\n".join([*_raters(found.raters), *_human(found, first), *_scorers(found), *_calibrated(found)])


def plain(found: Agreement) -> dict[str, Any]:
    """The agreement as JSON values."""
    return asdict(found)


def _raters(one: RaterAgreement) -> Iterator[str]:
    yield f"Raters: {', '.join(one.raters)}"
    if one.rate is None:
        yield "  no pair was rated twice, so nothing is known of how far raters agree"
        return
    name = "Fleiss' kappa" if one.kind == "fleiss" else "Cohen's kappa"
    yield f"  same rating {one.rate:.1%}; {name} {_number(one.kappa)} over {one.n} pairs that all rated"


def _human(found: Agreement, first: str) -> Iterator[str]:
    yield f"Win rate against {first}, by people"
    for alignment, interval in found.human.items():
        same = found.same_text[alignment]
        left_out = f"; {same} pairs of the same text are left out" if same else ""
        yield f"  {alignment}: {_interval(interval)} of {interval.n} pairs{left_out}"


def _scorers(found: Agreement) -> Iterator[str]:
    if not found.scorers:
        yield "The log has no scorer that says which of two answers is better (a judge, a reward model)."
    for one in found.scorers:
        yield f"{one.scorer} beside people ({'compares' if one.compares else 'difference of both scores'})"
        yield f"  {_agreed(one)}"


def _agreed(one: ScorerAgreement) -> str:
    if one.verdicts is None:
        return "no pair has both a rating and a verdict"
    decided = (
        f", {one.verdicts.decided:.1%} of the {one.verdicts.n_decided} where neither says a tie"
        if one.verdicts.n_decided
        else ""
    )
    ranked = "not defined" if one.spearman is None else _interval(one.spearman)
    return f"same verdict {one.verdicts.rate:.1%} of {one.n} pairs{decided}; Spearman {ranked}"


def _calibrated(found: Agreement) -> Iterator[str]:
    if found.calibrated:
        yield "Win rates: by the scorer alone, by people alone, and by people with the scorer's verdicts on the rest"
    for one in found.calibrated:
        yield f"  {one.alignment}, {one.scorer}: {_three(one)}"


def _three(one: Calibrated) -> str:
    judged, human, powered = (_interval(interval) for interval in (one.judged, one.human, one.powered))
    return f"{judged} (n={one.judged.n}); {human} (n={one.human.n}); {powered}"


def _interval(one: Interval) -> str:
    bounds = "too few for an interval" if one.low is None or one.high is None else f"{one.low:.3f} to {one.high:.3f}"
    return f"{one.estimate:.3f} [{bounds}]"


def _number(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.3f}"
