"""The toxicity classifier: its arithmetic on three words, its file, and the weights that come with it."""

import json
import math
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.server.evaluation.scorers.texts import item, values, verdict
from trimtab.server.evaluation.scorers.base import ScorerError
from trimtab.server.evaluation.scorers.toxicity import Toxicity, ToxicityConfig
from trimtab.server.evaluation.scorers.toxicity_model import hash_of, packed, read_weights, shipped

WORDS = {"basil": (2.0, -1.0), "mould": (4.0, 3.0), "rotten": (1.0, 2.0)}
"""Word -> inverse document frequency, weight."""


def weights(**changes: Any) -> bytes:
    words = sorted(WORDS, key=hash_of)
    texts = {"name": "some texts", "sha256": "", "rows": 1}
    measured = {"higher": texts, "lower": {**texts, "name": "others"}, "auc": 0.75, "low": 0.7, "high": 0.8}
    told: Mapping[str, Any] = {
        "version": 1,
        "origin": {"library": "by hand 1", "licence": "", "sha256": {}, "largest_difference": 0},
        "toxicity": measured,
        "preference": measured,
        "bias": -0.5,
        "hashes": packed([hash_of(word) for word in words], "<u4"),
        "idf": packed([WORDS[word][0] for word in words], "<f2"),
        "weights": packed([WORDS[word][1] for word in words], "<f2"),
    }
    return json.dumps({**told, **changes}).encode()


def sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


@pytest.mark.parametrize(
    ("text", "logit"),
    [
        ("Mould.", 3.0 - 0.5),  # one word: its vector has length 1
        ("basil, mould", (2 * -1 + 4 * 3) / math.sqrt(4 + 16) - 0.5),
        ("Rotten ROTTEN basil", (2 * 2 + 2 * -1) / math.sqrt(4 + 4) - 0.5),  # rotten twice: tf-idf 2, basil 2
        ("The basil a b c unheard", -1 - 0.5),  # unknown words do not count
    ],
)
async def test_probability_by_hand(text: str, logit: float) -> None:
    assert (await verdict(Toxicity(weights=weights()), item(text))).value == pytest.approx(sigmoid(logit), abs=1e-6)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [("", "empty answer"), (None, "empty answer"), (" \n", "empty answer"), ("水をやる", "no word that the classifier knows")],
)
async def test_without_known_words_there_is_no_value(answer: str | None, reason: str) -> None:
    judged = await verdict(Toxicity(weights=weights()), item(answer))
    assert judged.value is None
    assert judged.unscored == reason


async def test_all_together() -> None:
    scorer = Toxicity(ToxicityConfig(threshold=0.9), weights=weights())
    items = [item("mould"), item("basil"), item("")]
    # sigmoid(2.5) = 0.924 is above 0.9, sigmoid(-1.5) is not; the empty one is not scored
    assert scorer.summary(items, await scorer.score(items)) == {"toxic": 0.5, "highest": pytest.approx(sigmoid(2.5))}
    assert scorer.summary([], []) == {}
    with pytest.raises(ValidationError, match="threshold"):
        ToxicityConfig(threshold=1)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x80\x04 a pickle", "not readable"),
        (b"{}", "not readable"),
        (weights(version=2), "version"),
        (weights(hashes="?"), "not readable"),
        (weights(idf=packed([1.0, 2.0], "<f2")), "3 words, 2 frequencies, 3 weights"),
        (weights(hashes="", idf="", weights=""), "0 words"),
        (weights(hashes=packed([3, 2, 1], "<u4")), "ascend"),
        (weights(weights=packed([1.0, math.nan, 1.0], "<f2")), "finite"),
        (weights(idf=packed([1.0, 0.0, 1.0], "<f2")), "above 0"),
    ],
)
def test_files_that_are_no_weights_are_refused(content: bytes, said: str) -> None:
    with pytest.raises(ScorerError, match=said):
        Toxicity(weights=content)


async def test_the_weights_that_come_with_it() -> None:
    polite, rude, empty = await values(
        Toxicity(), [item("Water the basil every other morning."), item("Only an idiot would water it, you fool."), item("")]
    )
    assert polite is not None
    assert rude is not None
    assert polite < 0.2
    assert rude > 0.8
    assert empty is None


async def test_they_repeat_the_library() -> None:
    """Recorded with alt-profanity-check 1.9.1 (`predict_prob`), which takes the mean of five probabilities, not log-odds."""
    texts = ("Water the basil every other morning.", "Only an idiot would water it, you fool.", "That was a silly mistake.")
    assert await values(Toxicity(), [item(text) for text in texts]) == [
        pytest.approx(one, abs=0.02) for one in (0.0224, 0.9999, 0.1668)
    ]


def test_a_report_says_how_good_it_is() -> None:
    said, _ = read_weights(shipped())
    about = Toxicity().about
    assert f"AUC {said.toxicity.auc:.3f}" in about.says
    assert f"AUC {said.preference.auc:.3f}" in about.says
    assert about.source == said.origin.library
    assert said.toxicity.low < said.toxicity.auc < said.toxicity.high


def test_another_file_has_another_hash() -> None:
    assert Toxicity().sha256 != Toxicity(weights=weights()).sha256


@given(st.text(max_size=80))
def test_any_text_has_a_probability_or_none(text: str) -> None:
    found = read_weights(weights())[1].probability(text)
    assert found is None or 0 < found < 1
