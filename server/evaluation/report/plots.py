"""Pictures of a report as SVG text: benefit against cost, and means by category.

Colour is never alone: every point has its name beside it, or its sign in the legend. All texts are escaped.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from trimtab.server.evaluation.report.axes import Axis, linear_axis, ratio_axis
from trimtab.server.evaluation.report.wording import number, plain

STYLE = Path(__file__).with_name("plots.css").read_text(encoding="utf-8")
"""Of the pictures, light and dark."""
COLOURS = 8
CHARACTER = 7.0
"""Width of a letter, about, in pixels."""
WIDTH, HEIGHT = 760, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 24, 34, 56


@dataclass(frozen=True, slots=True)
class Point:
    """An alignment in a plot."""

    name: str
    x: float
    y: float
    low: float
    high: float
    place: int
    """Its place in the log: gives colour and sign."""


@dataclass(frozen=True, slots=True)
class Row:
    """A category in a plot."""

    name: str
    points: tuple[Point, ...]
    """`y` is the mean, `low` and `high` its interval; `x` is not looked at."""


def scatter(points: Sequence[Point], *, title: str, x_title: str, y_title: str) -> str:
    """Benefit upwards with its interval, cost to the right, the first alignment's benefit dashed. At least one point."""
    across = ratio_axis([one.x for one in points], _LEFT, WIDTH - _RIGHT - 60)
    up = linear_axis([value for one in points for value in (one.low, one.high, one.y)], HEIGHT - _BOTTOM, _TOP)
    parts = [
        *_frame(across, up, x_title, y_title),
        *(_base(up.at(one.y)) for one in points if one.place == 0),
        *(_upright(one, across.at(one.x), up) for one in points),
        *_names([(one, across.at(one.x), up.at(one.y)) for one in points], up),
    ]
    return _svg(parts, HEIGHT, title, [f"{one.name}: {number(one.x)}×, {number(one.y)}" for one in points])


def dots(rows: Sequence[Row], names: Sequence[str], *, title: str, x_title: str) -> str:
    """Means to the right with their intervals, a block a category, and a legend. At least one row with a point."""
    left = min(260, 24 + max(len(_short(row.name)) for row in rows) * CHARACTER)
    everything = [value for row in rows for one in row.points for value in (one.low, one.high, one.y)]
    across = linear_axis(everything, left, WIDTH - _RIGHT)
    legend, top = _legend(names)
    block = 14 * len(names) + 12
    height = top + block * len(rows) + 44
    parts = [*legend, *_columns(across, top, height - 44, x_title, height)]
    for place, row in enumerate(rows):
        begin = top + place * block
        parts.append(f'<text x="{left - 12:.0f}" y="{begin + block / 2 + 4:.0f}" text-anchor="end">{_text(row.name)}</text>')
        parts.append(f'<line class="grid" x1="{left:.0f}" x2="{WIDTH - _RIGHT}" y1="{begin}" y2="{begin}"/>')
        parts.extend(_lying(one, across, begin + 13 + 14 * one.place) for one in row.points)
    said = [f"{row.name}, {one.name}: {number(one.y)}" for row in rows for one in row.points]
    return _svg(parts, height, title, said)


def standalone(svg: str) -> str:
    """The picture as a file of its own."""
    begin = svg.index(">") + 1
    return f'{svg[:begin]}<style>{STYLE}</style><rect class="back" width="100%" height="100%"/>{svg[begin:]}\n'


def mark(place: int, x: float, y: float) -> str:
    """The sign of the alignment at a place: its form changes where colours begin again, and from one to the next."""
    form = (place + place // COLOURS) % 4
    if form == 0:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="currentColor"/>'
    corners = (
        ((-4.5, -4.5), (4.5, -4.5), (4.5, 4.5), (-4.5, 4.5)),
        ((0, -6), (6, 0), (0, 6), (-6, 0)),
        ((0, -6), (6, 5), (-6, 5)),
    )
    path = " ".join(f"{x + across:.1f},{y + down:.1f}" for across, down in corners[form - 1])
    return f'<polygon points="{path}" fill="currentColor"/>'


def _svg(parts: Sequence[str], height: float, title: str, said: Sequence[str]) -> str:
    words = escape(plain("; ".join(said), most=2000))
    head = f'<svg class="plot" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img">'
    return f"{head}<title>{_text(title, most=200)}</title><desc>{words}</desc>{''.join(parts)}</svg>"


def _frame(across: Axis, up: Axis, x_title: str, y_title: str) -> Iterator[str]:
    """Grid, ticks and titles of both axes."""
    yield f'<text x="{_LEFT - 44}" y="18">{_text(y_title, most=100)}</text>'
    for tick in up.ticks:
        y = up.at(tick)
        yield f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{_tick(tick)}</text>'
    for tick in across.ticks:
        x = across.at(tick)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{HEIGHT - _BOTTOM}" y2="{HEIGHT - _BOTTOM + 5}"/>'
        yield f'<text x="{x:.1f}" y="{HEIGHT - _BOTTOM + 20}" text-anchor="middle">{_tick(tick)}×</text>'
    yield f'<text x="{WIDTH - _RIGHT}" y="{HEIGHT - 12}" text-anchor="end">{_text(x_title, most=100)}</text>'


def _columns(across: Axis, top: float, bottom: float, x_title: str, height: float) -> Iterator[str]:
    for tick in across.ticks:
        x = across.at(tick)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>'
        yield f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{_tick(tick)}</text>'
    yield f'<text x="{WIDTH - _RIGHT}" y="{height - 8}" text-anchor="end">{_text(x_title, most=100)}</text>'


def _base(y: float) -> str:
    return f'<line class="base" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'


def _upright(one: Point, x: float, up: Axis) -> str:
    return _drawn(one, _bar(x, up.at(one.low), x, up.at(one.high)) + mark(one.place, x, up.at(one.y)))


def _lying(one: Point, across: Axis, y: float) -> str:
    return _drawn(one, _bar(across.at(one.low), y, across.at(one.high), y) + mark(one.place, across.at(one.y), y))


def _bar(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="currentColor" stroke-width="1.5"/>'


def _drawn(one: Point, parts: str) -> str:
    return f'<g class="{_colour(one.place)}">{parts}</g>'


def _legend(names: Sequence[str]) -> tuple[list[str], float]:
    """Signs with names, in lines, and where what follows begins."""
    parts, x, y = [], 8.0, 14.0
    for place, name in enumerate(names):
        width = 26 + len(_short(name)) * CHARACTER
        if x + width > WIDTH:
            x, y = 8.0, y + 20
        words = f'<text x="{x + 17:.0f}" y="{y + 4:.0f}">{_text(name)}</text>'
        parts.append(f'<g class="{_colour(place)}">{mark(place, x + 6, y)}{words}</g>')
        x += width
    return parts, y + 20


def _names(placed: Sequence[tuple[Point, float, float]], up: Axis) -> Iterator[str]:
    """Each point's name where it covers nothing: beside the point, then at an end of its interval, then further off."""
    bars = [(x - 1, up.at(one.high), x + 1, up.at(one.low)) for one, x, _ in placed]
    taken = [(x - 7, y - 7, x + 7, y + 7) for _, x, y in placed] + bars
    for (one, x, y), (_, top, _, bottom) in zip(placed, bars, strict=True):
        box = _free(list(_places(x, y, top, bottom, len(_short(one.name)) * CHARACTER + 4)), taken)
        taken.append(box)
        yield _drawn(one, f'<text class="name" x="{box[0]:.1f}" y="{box[3] - 4:.1f}">{_text(one.name)}</text>')


Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


def _places(x: float, y: float, top: float, bottom: float, width: float) -> Iterator[Box]:
    """Where the name of the point at (x, y) may stand, whose interval goes from `top` to `bottom`; the best first."""
    yield from _beside(x, y, width, (0, 16, -16, 32, -32))
    for off in range(12, 80, 16):
        yield from ((x - width / 2, middle - 8, x + width / 2, middle + 8) for middle in (top - off, bottom + off))
    yield from _beside(x, y, width, [sign * off for off in range(48, HEIGHT, 16) for sign in (1, -1)])


def _beside(x: float, y: float, width: float, offsets: Sequence[float]) -> Iterator[Box]:
    for off in offsets:
        for left in (x + 10, x - 10 - width):
            yield left, y - 8 + off, left + width, y + 8 + off


def _free(places: Sequence[Box], taken: Sequence[Box]) -> Box:
    """The first place that touches nothing; where all do, the one that covers least."""
    inside = [box for box in places if _inside(box)] or places
    return min(inside, key=lambda box: sum(_common(box, other) for other in taken))


def _inside(box: Box) -> bool:
    return box[0] >= _LEFT and box[1] >= 22 and box[2] <= WIDTH - 2 and box[3] <= HEIGHT - _BOTTOM + 4


def _common(one: Box, other: Box) -> float:
    """The area that both cover."""
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    return max(across, 0) * max(down, 0)


def _colour(place: int) -> str:
    return f"c{place % COLOURS}"


def _tick(value: float) -> str:
    return f"{value:,.6g}".replace("-", "−")


def _short(name: str) -> str:
    return plain(name, most=34)


def _text(text: str, *, most: int = 34) -> str:
    return escape(plain(text, most=most))
