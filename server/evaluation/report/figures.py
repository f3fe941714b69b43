"""Which pictures a log gives: for each scorer that has a better side, benefit against cost and means by category."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from trimtab.server.evaluation.costs import Costs
from trimtab.server.evaluation.log import Log
from trimtab.server.evaluation.measures import TIE
from trimtab.server.evaluation.report.plots import Point, Row, dots, scatter, standalone
from trimtab.server.evaluation.report.wording import ARROWS
from trimtab.server.evaluation.statistics.interval import Interval
from trimtab.server.evaluation.summary import Summary

CostName = Literal["tokens", "latency", "calls"]
COSTS: dict[CostName, str] = {
    "tokens": "tokens read and written, × of the first alignment",
    "latency": "median latency, × of the first alignment",
    "calls": "calls of engines, × of the first alignment",
}
"""What a plot may have to the right."""
MOST_CATEGORIES = 12
"""Rows of a plot; the table has all."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture of a scorer."""

    scorer: str
    cost: CostName | None
    """None = by category."""
    svg: str


def figures(log: Log, summary: Summary) -> Iterator[Figure]:
    """All pictures, scorer by scorer, those of the scorers with a better side first."""
    for scorer in sorted(summary.scorers, key=lambda name: log.scorers[name].better == "neither"):
        for cost in COSTS:
            points = _points(log, summary, scorer, cost)
            if points:
                yield Figure(scorer, cost, _benefit(log, scorer, cost, points))
        rows = _rows(summary, scorer)
        if rows:
            title = f"{log.scorers[scorer].title} by category"
            yield Figure(scorer, None, dots(rows, summary.alignments, title=title, x_title=_side(log, scorer)))


def pictures(log: Log, summary: Summary) -> dict[str, str]:
    """File name -> SVG: benefit against tokens of the first scorer that has a better side, and its means by category."""
    chosen: dict[str, str] = {}
    for one in figures(log, summary):
        name = {"tokens": "report-benefit.svg", None: "report-categories.svg"}.get(one.cost)
        if name is not None:
            chosen.setdefault(name, standalone(one.svg))
    return chosen


def _benefit(log: Log, scorer: str, cost: CostName, points: list[Point]) -> str:
    title = f"{log.scorers[scorer].title} against {cost}"
    return scatter(points, title=title, x_title=COSTS[cost], y_title=_side(log, scorer))


def _side(log: Log, scorer: str) -> str:
    return f"{log.scorers[scorer].title}  {ARROWS[log.scorers[scorer].better]}"


def _points(log: Log, summary: Summary, scorer: str, cost: CostName) -> list[Point]:
    """The alignments that have both a mean and a cost."""
    found = []
    for place, costs in enumerate(summary.costs):
        x, mean = _ratio(costs, cost), summary.measure(scorer, costs.alignment).mean
        if x is not None and mean is not None:
            found.append(_point(costs.alignment, x, mean, place))
        elif x is not None and place == 0 and log.scorers[scorer].compares:
            found.append(Point(costs.alignment, x, TIE, TIE, TIE, place))
    return found


def _point(name: str, x: float, mean: Interval, place: int) -> Point:
    """A mean in a plot; without an interval its bar has no length."""
    low, high = (mean.estimate if bound is None else bound for bound in (mean.low, mean.high))
    return Point(name, x, mean.estimate, low, high, place)


def _ratio(costs: Costs, cost: CostName) -> float | None:
    match cost:
        case "tokens":
            return costs.ratios.tokens
        case "latency":
            return costs.ratios.p50_ms
        case "calls":
            return costs.ratios.calls


def _rows(summary: Summary, scorer: str) -> list[Row]:
    places = {name: place for place, name in enumerate(summary.alignments)}
    rows = []
    for category in summary.categories[:MOST_CATEGORIES]:
        found = [one for one in summary.by_category if (one.scorer, one.category) == (scorer, category)]
        points = [(one.alignment, one.mean, places[one.alignment]) for one in found]
        rows.append(Row(category, tuple(_point(name, 0.0, mean, place) for name, mean, place in points)))
    return [row for row in rows if row.points]
