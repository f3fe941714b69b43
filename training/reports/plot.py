"""The picture of a run: what its metrics file holds, a panel a subject. It needs matplotlib (extra `train`) and no display."""

from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from trimtab.training.errors import ConfigInvalid
from trimtab.training.reports.files import write_whole
from trimtab.training.reports.metrics import Metrics, read_metrics, rows_with, series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Panel = Literal["loss", "accuracy", "margin", "reward", "reward_kl", "length"]

TRAINING, EVALUATION, RULE = "#2b6cb0", "#c05621", "#718096"
STYLE: Any = {  # matplotlib types it by the literal names of all its settings
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#4a5568",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e2e8f0",
    "legend.edgecolor": "none",
    "legend.framealpha": 0.8,
    "figure.constrained_layout.w_pad": 0.12,
    "figure.constrained_layout.h_pad": 0.08,
    "legend.fontsize": 8.5,
    "figure.dpi": 150,
}
FEW = 12
"""Up to so many points are drawn as they are; more are smoothed."""


def plot_run(metrics: Path, output: Path, *, title: str = "", loss_unit: str = "nats") -> tuple[Panel, ...]:
    """Names of the panels drawn into the PNG at `output`; with nothing to draw, no file is written and the tuple is empty.

    metrics: a file that MetricsFile wrote. loss_unit: what the loss is measured in, "" where it has no unit.
    """
    rows = read_metrics(metrics)
    panels = [panel for panel, subjects in SUBJECTS.items() if any(rows_with(rows, *names) for names in subjects)]
    if panels:
        _save(rows, panels, output, title, f"loss ({loss_unit})" if loss_unit else "loss")
    return tuple(panels)


def smoothed(values: Sequence[float]) -> list[float]:
    """The values' course, (n,): means under a Gaussian bell centred at each, a fortieth of the run wide (one point at least).

    Past the ends nothing is made up: there the mean is over the part of the bell that holds values.
    """
    width = max(1.0, len(values) / 40)
    reach = min(round(3 * width), (len(values) - 1) // 2)
    bell = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
    course: list[float] = (np.convolve(values, bell, "same") / np.convolve(np.ones(len(values)), bell, "same")).tolist()
    return course


def _save(rows: Sequence[Metrics], panels: Sequence[Panel], output: Path, title: str, loss_label: str) -> None:
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigInvalid("the plot needs matplotlib: install the extra `train` (pip install 'trimtab[train]')") from error
    columns = 2 if len(panels) == 4 else min(3, len(panels))
    lines = -(-len(panels) // columns)
    with matplotlib.rc_context(STYLE):  # a Figure of its own draws with Agg and leaves pyplot's state alone
        figure = Figure(figsize=(4.9 * columns, 3.3 * lines + (0.4 if title else 0)), layout="constrained")
        for place, panel in enumerate(panels, start=1):
            axes = figure.add_subplot(lines, columns, place)
            DRAWN[panel](axes, rows)
            if panel == "loss":
                axes.set_ylabel(loss_label)
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=12)
        picture = BytesIO()
        figure.savefig(picture, format="png", facecolor="white")
    write_whole(output, picture.getvalue())


def _loss(axes: "Axes", rows: Sequence[Metrics]) -> None:
    _course(axes, rows, "loss")
    _evaluations(axes, rows, "eval_loss")
    _finish(axes, "Loss", "loss")


def _accuracy(axes: "Axes", rows: Sequence[Metrics]) -> None:
    _trend(axes, rows, "accuracy")  # a batch of four knows only quarters: its single steps would be a curtain
    _evaluations(axes, rows, "eval_accuracy")
    _, rule = series(rows, "eval_length_accuracy")
    if rule:
        axes.axhline(rule[-1], color=RULE, linestyle="--", linewidth=1.2, label=f"shorter answer wins: {rule[-1]:.2f}")
    axes.axhline(0.5, color=RULE, linestyle=":", linewidth=1.0, label="chance")
    axes.set_ylim(0, 1)
    _finish(axes, "Accuracy", "share of pairs ordered right")


def _margin(axes: "Axes", rows: Sequence[Metrics]) -> None:
    _course(axes, rows, "margin")
    _evaluations(axes, rows, "eval_margin")
    axes.axhline(0, color=RULE, linestyle=":", linewidth=1.0)
    _finish(axes, "Margin", "score of chosen minus rejected")


def _reward(axes: "Axes", rows: Sequence[Metrics]) -> None:
    _course(axes, rows, "reward")
    _finish(axes, "Reward", "mean reward of sampled answers")


def _length(axes: "Axes", rows: Sequence[Metrics]) -> None:
    _course(axes, rows, "length")
    _finish(axes, "Answer length", "mean length (tokens)")


def _reward_kl(axes: "Axes", rows: Sequence[Metrics]) -> None:
    both = rows_with(rows, "kl", "reward")
    (steps, kl), (_, reward) = series(both, "kl"), series(both, "reward")
    points = axes.scatter(kl, reward, c=steps, cmap="viridis", s=16, alpha=0.85, linewidths=0)
    if (figure := axes.get_figure(root=True)) is not None and len(set(steps)) > 1:
        figure.colorbar(points, ax=axes, label="optimizer step", pad=0.02).outline.set_visible(False)
    axes.set(title="Reward against divergence", xlabel="KL from the reference (nats per answer)", ylabel="mean reward")


def _course(axes: "Axes", rows: Sequence[Metrics], name: str) -> None:
    """The smoothed course over the faint values of each step."""
    steps, values = series(rows, name)
    if len(steps) > FEW:
        axes.plot(steps, values, color=TRAINING, alpha=0.25, linewidth=0.8)
    _trend(axes, rows, name)


def _trend(axes: "Axes", rows: Sequence[Metrics], name: str) -> None:
    steps, values = series(rows, name)
    if len(steps) > FEW:
        axes.plot(steps, smoothed(values), color=TRAINING, linewidth=1.8, label="training, smoothed")
    elif steps:
        axes.plot(steps, values, color=TRAINING, linewidth=1.4, marker="o", markersize=3, label="training")


def _evaluations(axes: "Axes", rows: Sequence[Metrics], name: str) -> None:
    """Evaluation points, with their interval where the rows carry one."""
    ends = rows_with(rows, name, f"{name}_low", f"{name}_high")
    axes.vlines(series(ends, name)[0], series(ends, f"{name}_low")[1], series(ends, f"{name}_high")[1], color=EVALUATION)
    steps, values = series(rows, name)
    if steps:
        axes.plot(steps, values, color=EVALUATION, marker="o", markersize=5, linewidth=1, alpha=0.9, label="held-out")


def _finish(axes: "Axes", title: str, label: str) -> None:
    axes.set(title=title, xlabel="optimizer step", ylabel=label)
    axes.locator_params(axis="x", integer=True)
    if len(axes.get_legend_handles_labels()[0]) > 1:
        axes.legend()


SUBJECTS: dict[Panel, tuple[tuple[str, ...], ...]] = {
    "loss": (("loss",), ("eval_loss",)),
    "accuracy": (("accuracy",), ("eval_accuracy",)),
    "margin": (("margin",), ("eval_margin",)),
    "reward": (("reward",),),
    "reward_kl": (("reward", "kl"),),
    "length": (("length",),),
}
"""Metrics that make a panel worth drawing: those of any one group, in the same row."""
DRAWN: dict[Panel, Callable[["Axes", Sequence[Metrics]], None]] = {
    "loss": _loss,
    "accuracy": _accuracy,
    "margin": _margin,
    "reward": _reward,
    "reward_kl": _reward_kl,
    "length": _length,
}
