"""AlpacaEval's files out and in: its own names and numbers, what has no place there, and what is no such file."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.server.evaluation.logs import log_of
from trimtab.server.evaluation.alpaca import AlpacaError, annotated, outputs_of, preference_value, read_outputs, taken
from trimtab.server.evaluation.log import Log, LogWriter, read_log
from trimtab.server.evaluation.samples import Sample
from trimtab.server.evaluation.summary import summarise

QUESTIONS = ("How do I keep basil alive?", "Name a warm colour.", "What is dew?")


def write(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def rows(generator: str, *outputs: str) -> list[dict[str, str]]:
    return [
        {"instruction": asked, "output": said, "generator": generator, "dataset": "own"}
        for asked, said in zip(QUESTIONS, outputs, strict=False)
    ]


def log(**answers: Any) -> Log:
    found = {(name, place): {"answer": f"{name} {place}"} for name in ("plain", "norms") for place in range(3)}
    made = log_of(
        {("reward", "plain"): [0.0] * 3}, answers={**found, **answers.get("answers", {})}, categories=("herbs", None, None)
    )
    samples = {
        f"s{place}": Sample(f"s{place}", ({"role": "user", "content": asked},), None) for place, asked in enumerate(QUESTIONS)
    }
    return Log(made.header, {**samples, **answers.get("samples", {})}, made.generations)


def test_answers_go_out_as_alpaca_eval_reads_them() -> None:
    found = outputs_of(log(), "norms")
    assert found.left_out == ()
    assert found.rows[1] == {
        "dataset": "own prompts", "instruction": QUESTIONS[1], "output": "norms 1", "generator": "double:norms",
    }  # fmt: skip


def test_what_has_no_place_there_is_left_out_and_told() -> None:
    talk = Sample("s1", ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}))
    twice = Sample("s2", ({"role": "user", "content": QUESTIONS[0]},))
    found = outputs_of(log(samples={"s1": talk, "s2": twice}), "norms")
    assert [row["output"] for row in found.rows] == ["norms 0"]
    assert [reason.partition(":")[0] for reason in found.left_out] == ["s1", "s2"]
    failed = {("norms", 0): {"answer": None, "error": "500 internal_error"}}
    assert outputs_of(log(answers=failed), "norms").left_out == ("s0: no answer: 500 internal_error",)
    with pytest.raises(AlpacaError, match="no alignment 'rain'; it has: plain, norms"):
        outputs_of(log(), "rain")


def test_two_files_make_a_log_that_can_be_read(tmp_path: Path) -> None:
    reference = write(tmp_path / "reference.json", [*rows("base", "a", "b", "c"), {"instruction": "More?", "output": "d"}])
    outputs = write(tmp_path / "outputs.json", rows("tuned", "x", "y", "z")[::-1])
    found = taken(outputs, reference)
    assert found.unmatched == 1
    with LogWriter.create(tmp_path / "log", found.header, found.samples) as writer:
        for generation in found.generations:
            writer.add(generation)
    made = read_log(tmp_path / "log")
    assert [one.name for one in made.header.alignments] == ["base", "tuned"]
    assert [(sample.prompt, sample.category) for sample in made.samples.values()] == [(asked, "own") for asked in QUESTIONS]
    assert [made.generations["tuned", name].answer for name in made.samples] == ["x", "y", "z"]
    assert [made.generations["base", name].answer for name in made.samples] == ["a", "b", "c"]


def test_a_repeated_instruction_meets_its_own_repetition(tmp_path: Path) -> None:
    twice = [{"instruction": "Again?", "output": said, "generator": "base"} for said in "ab"]
    other = [{"instruction": "Again?", "output": said, "generator": "base"} for said in "xy"]
    found = taken(write(tmp_path / "o.json", other), write(tmp_path / "r.json", twice))
    assert [one.answer for one in found.generations] == ["a", "x", "b", "y"]
    assert [one.name for one in found.header.alignments] == ["base", "base#2"]


def test_old_files_have_an_input(tmp_path: Path) -> None:
    path = write(tmp_path / "o.json", [{"instruction": "Translate.", "input": "Guten Tag", "output": "Good day"}])
    assert read_outputs(path)[0].prompt == "Translate.\n\nGuten Tag"


@pytest.mark.parametrize(
    ("preference", "value"),
    [(1, 0.0), (2, 1.0), (1.5, 0.5), (0, 0.5), (1.93, 0.93), (-1, None), (None, None), (float("nan"), None)],
)
def test_preferences_are_wins_of_the_second(preference: float | None, value: float | None) -> None:
    found = preference_value(preference, "here")
    assert found == (None if value is None else pytest.approx(value))


@pytest.mark.parametrize("preference", [3, -2, 0.5, float("inf")])
def test_other_numbers_are_no_preference(preference: float) -> None:
    with pytest.raises(AlpacaError, match="here: preference is"):
        preference_value(preference, "here")


def annotation(place: int, preference: float | None, *, turned: bool = False, **more: Any) -> dict[str, Any]:
    first, second = (f"norms {place}", f"plain {place}") if turned else (f"plain {place}", f"norms {place}")
    told = {"instruction": QUESTIONS[place], "output_1": first, "output_2": second, "preference": preference}
    return {**told, "generator_1": "one", "generator_2": "two", "annotator": "a judge", **more}


def test_annotations_are_the_scores_of_a_comparing_scorer(tmp_path: Path) -> None:
    given = [annotation(0, 1.9), annotation(1, 1.2, turned=True), annotation(2, None)]
    found = annotated(log(), write(tmp_path / "a.json", [*given, annotation(0, 2.0, output_1="another")]))
    assert found.unmatched == 1
    values = {(score.alignment, score.sample): score.value for score in found.scores}
    assert values == {
        ("norms", "s0"): pytest.approx(0.9), ("norms", "s1"): pytest.approx(0.8), ("norms", "s2"): None,
        ("plain", "s0"): 0.5, ("plain", "s1"): 0.5, ("plain", "s2"): 0.5,
    }  # fmt: skip
    assert found.record.compares
    assert "a judge" in found.record.says
    scores = {(one.scorer, one.alignment, one.sample): one for one in found.scores}
    whole = Log(log().header, log().samples, log().generations, scores, {found.record.name: found.record})
    measure = summarise(whole).measure("alpaca_eval", "norms")
    assert measure.mean is not None
    assert measure.mean.estimate == pytest.approx(0.85)
    assert (measure.mean.n, measure.counts.unscored) == (2, 1)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"instruction": "x"}, "must hold a list"),
        ([], "must hold a list"),
        ([{"instruction": "x", "text": "y"}], r"row 1: output: Field required; the row has: instruction, text"),
        ([{"instruction": "x", "output": 3}], r"row 1: output"),
        (["x"], "row 1"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: Any, said: str) -> None:
    with pytest.raises(AlpacaError, match=said):
        read_outputs(write(tmp_path / "o.json", content))


def test_files_that_fit_nothing_are_refused(tmp_path: Path) -> None:
    one = write(tmp_path / "one.json", [{"instruction": "x", "output": "y"}])
    other = write(tmp_path / "other.json", [{"instruction": "z", "output": "y"}])
    with pytest.raises(AlpacaError, match="share no instruction"):
        taken(one, other)
    with pytest.raises(AlpacaError, match="no annotation of this log's answers"):
        annotated(log(), write(tmp_path / "a.json", [annotation(0, 1.0, instruction="Another?")]))
    with pytest.raises(AlpacaError, match="several annotators"):
        annotated(log(), write(tmp_path / "b.json", [annotation(0, 1.0), annotation(1, 1.0, annotator="b")]))
    (tmp_path / "c.json").write_text("{")
    with pytest.raises(AlpacaError, match=r"c\.json cannot be read"):
        read_outputs(tmp_path / "c.json")
