import math
import random
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.training.errors import ConfigInvalid, OutputError
from trimtab.training.reports.metrics import MetricsFile, Scalar
from trimtab.training.reports.plot import plot_run, smoothed

PNG = b"\x89PNG\r\n\x1a\n"


def written(path: Path, rows: list[dict[str, Scalar]]) -> None:
    for row in rows:
        MetricsFile(path).append(row)


def preference_run(steps: int) -> list[dict[str, Scalar]]:
    rng = random.Random(0)
    rows: list[dict[str, Scalar]] = [
        {"step": step, "loss": 0.69 - step / 1000 + rng.gauss(0, 0.05), "accuracy": rng.random(), "margin": step / 300}
        for step in range(1, steps + 1)
    ]
    ends: dict[str, Scalar] = {"eval_accuracy_low": 0.55, "eval_accuracy_high": 0.7, "eval_length_accuracy": 0.6}
    return [*rows, {"step": steps, "eval_loss": 0.6, "eval_accuracy": 0.63, **ends}]


def online_run(steps: int) -> list[dict[str, Scalar]]:
    return [{"step": step, "reward": step / 100, "kl": step / 50, "length": 60.0} for step in range(1, steps + 1)]


@pytest.mark.parametrize("steps", [1, 5, 60])
def test_a_preference_run(tmp_path: Path, steps: int) -> None:
    written(tmp_path / "m", preference_run(steps))
    assert plot_run(tmp_path / "m", tmp_path / "plots" / "run.png", title="DPO") == ("loss", "accuracy", "margin")
    assert (tmp_path / "plots" / "run.png").read_bytes().startswith(PNG)


def test_an_online_run(tmp_path: Path) -> None:
    written(tmp_path / "m", online_run(30))
    assert plot_run(tmp_path / "m", tmp_path / "run.png", loss_unit="") == ("reward", "reward_kl", "length")
    assert (tmp_path / "run.png").read_bytes().startswith(PNG)


def test_divergence_without_reward_is_no_picture(tmp_path: Path) -> None:
    written(tmp_path / "m", [{"step": 1, "kl": 0.5, "loss": 1.0}])
    assert plot_run(tmp_path / "m", tmp_path / "run.png") == ("loss",)


def test_nothing_to_draw_writes_nothing(tmp_path: Path) -> None:
    written(tmp_path / "m", [{"step": 1, "loss": math.nan}])
    assert plot_run(tmp_path / "m", tmp_path / "run.png") == ()
    assert not (tmp_path / "run.png").exists()


def test_the_same_metrics_give_the_same_picture(tmp_path: Path) -> None:
    written(tmp_path / "m", preference_run(20))
    for name in ("a.png", "b.png"):
        plot_run(tmp_path / "m", tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    written(tmp_path / "m", preference_run(3))
    with pytest.raises(ConfigInvalid, match=r"trimtab\[train\]"):
        plot_run(tmp_path / "m", tmp_path / "run.png")


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    written(tmp_path / "m", preference_run(3))
    with pytest.raises(OutputError, match="cannot write"):
        plot_run(tmp_path / "m", tmp_path / "m" / "run.png")


def test_smoothing_by_hand() -> None:
    """Three points: width 1, reach 1, bell e^-0.5, 1, e^-0.5 with e^-0.5 = 0.606531.

    0, 3, 0: ends 3 * 0.606531 / 1.606531 = 1.132623, middle 3 / 2.213061 = 1.355589.
    """
    assert smoothed([0.0, 3.0, 0.0]) == pytest.approx([1.132623, 1.355589, 1.132623], abs=1e-5)


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=200))
def test_smoothing_invents_nothing(values: list[float]) -> None:
    course = smoothed(values)
    assert len(course) == len(values)
    assert min(values) - 1e-6 <= min(course) <= max(course) <= max(values) + 1e-6
