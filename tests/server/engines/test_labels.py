"""A scoring model's outputs as one number."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.server.engines.labels import Label, pick_label
from trimtab.strategies.core.errors import ConfigError


def config(*names: str, problem_type: str | None = None) -> Any:
    return SimpleNamespace(num_labels=len(names), id2label=dict(enumerate(names)), problem_type=problem_type)


def test_a_reward_is_its_output() -> None:
    label = pick_label(config("LABEL_0"), None)
    assert (label.score([-3.5]), label.name) == (-3.5, "")


def test_of_two_labels_the_second_counts() -> None:
    """Its log-odds are the difference of the outputs."""
    label = pick_label(config("bad", "good"), None)
    assert (label.name, label.score([1.0, 3.5])) == ("good", 2.5)


@pytest.mark.parametrize("asked", ["insult", "1"])
def test_a_label_by_name_or_number(asked: str) -> None:
    """Log-odds of softmax(0, 1, 2)[1]: 1 - log(e^0 + e^2) = -1.126928."""
    label = pick_label(config("neutral", "insult", "threat"), asked)
    assert (label.name, label.score([0.0, 1.0, 2.0])) == ("insult", pytest.approx(-1.126928, abs=1e-6))


def test_independent_labels_speak_for_themselves() -> None:
    label = pick_label(config("toxic", "threat", problem_type="multi_label_classification"), "toxic")
    assert label.score([-2.0, 5.0]) == -2.0


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=6), st.data())
def test_log_odds_are_those_of_the_softmax(outputs: list[float], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(outputs) - 1))
    weights = [math.exp(value - max(outputs)) for value in outputs]
    rest = sum(weights) - weights[index]
    if rest > 1e-9 and weights[index] > 1e-9:
        assert Label(index).score(outputs) == pytest.approx(math.log(weights[index] / rest), abs=1e-4)


@pytest.mark.parametrize(
    ("labels", "kind", "asked"),
    [
        (("a", "b", "c"), None, None),
        (("a", "b"), "multi_label_classification", None),
        (("a", "b"), None, "c"),
        (("a", "b"), None, "2"),
    ],
)
def test_a_label_that_is_open_or_unknown_is_an_error(labels: tuple[str, ...], kind: str | None, asked: str | None) -> None:
    with pytest.raises(ConfigError, match="it has a, b") as caught:
        pick_label(config(*labels, problem_type=kind), asked)
    assert caught.value.param == "roles.reward.label"
