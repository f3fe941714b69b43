"""Rows to samples: the forms, the mapping of columns, ids, parts and hashes."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.server.evaluation.data.data_files import jsonl, reason, sample, samples
from trimtab.server.evaluation.data.datasets import read_samples
from trimtab.server.evaluation.data.rows import row_of, write_rows
from trimtab.server.evaluation.data.sources import DatasetError
from trimtab.server.evaluation.samples import Sample

Q = "What floats on water?"
USER = {"role": "user", "content": Q}


def said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


PROMPTS: dict[str, Any] = {
    "text": {"prompt": Q},
    "turns": {"prompt": [USER]},
    "messages": {"messages": [USER]},
    "further members of a turn": {"prompt": [{**USER, "name": "Ada", "tool_calls": None}]},
    "a transcript": {"prompt": f"\n\nHuman: {Q}\n\nAssistant:"},
}


@pytest.mark.parametrize("form", PROMPTS)
def test_a_prompt_is_a_conversation(tmp_path: Path, form: str) -> None:
    found = sample(tmp_path, PROMPTS[form])
    assert found.messages == (USER,)
    assert found.prompt == Q
    assert (found.category, found.chosen, found.good, found.choices, found.refuse, found.extra) == (
        None,
        None,
        (),
        (),
        None,
        {},
    )


def test_a_conversation_with_an_answer_has_it_as_a_reference(tmp_path: Path) -> None:
    found = sample(tmp_path, {"messages": [USER, said("Ice."), {"role": "user", "content": "Why?"}, said("It is lighter.")]})
    assert [turn["content"] for turn in found.messages] == [Q, "Ice.", "Why?"]
    assert found.good == ("It is lighter.",)


def test_a_system_column_stands_before_the_prompt(tmp_path: Path) -> None:
    assert sample(tmp_path, {"prompt": Q, "system": "Be brief."}).messages == ({"role": "system", "content": "Be brief."}, USER)


PAIRS: dict[str, Any] = {
    "texts": {"prompt": Q, "chosen": "Ice.", "rejected": "Iron."},
    "turns": {"prompt": [USER], "chosen": [said("Ice.")], "rejected": [said("Iron.")]},
    "the prompt again": {"prompt": Q, "chosen": [USER, said("Ice.")], "rejected": [USER, said("Iron.")]},
    "a shared beginning": {"chosen": [USER, said("Ice.")], "rejected": [USER, said("Iron.")]},
    "transcripts": {"chosen": f"\n\nHuman: {Q}\n\nAssistant: Ice.", "rejected": f"\n\nHuman: {Q}\n\nAssistant: Iron."},
    "a transcript and answers": {"prompt": f"\n\nHuman: {Q}\n\nAssistant:", "chosen": " Ice.", "rejected": " Iron."},
}


@pytest.mark.parametrize("form", PAIRS)
def test_a_pair(tmp_path: Path, form: str) -> None:
    found = sample(tmp_path, PAIRS[form])
    assert (found.messages, found.chosen, found.rejected) == ((USER,), "Ice.", "Iron.")


def test_a_pair_behind_a_system_turn(tmp_path: Path) -> None:
    turns = [{"role": "system", "content": "Be brief."}, USER]
    found = sample(tmp_path, {"prompt": turns, "chosen": [USER, said("Ice.")], "rejected": [*turns, said("Iron.")]})
    assert (found.chosen, found.rejected) == ("Ice.", "Iron.")


def test_references_of_all_names_are_joined(tmp_path: Path) -> None:
    row = {"prompt": Q, "good": ["Ice", "Wood"], "best": "Wood", "correct_answers": ["Cork"], "bad": "Iron"}
    found = sample(tmp_path, {**row, "incorrect_answers": ["Iron", "Lead"]})
    assert found.good == ("Wood", "Ice", "Cork")
    assert found.bad == ("Iron", "Lead")


CHOICES: dict[str, Any] = {
    "place": 1,
    "place as text": "1",
    "letter": "B",
    "small letter with a dot": "b.",
    "text": "Ice",
    "list": ["Ice"],
}


@pytest.mark.parametrize("answer", CHOICES)
def test_a_right_choice_is_named_by(tmp_path: Path, answer: str) -> None:
    found = sample(tmp_path, {"prompt": Q, "choices": ["Iron", "Ice", "Lead"], "answer": CHOICES[answer]})
    assert (found.choices, found.correct) == (("Iron", "Ice", "Lead"), (1,))


def test_labels_of_the_data_come_first(tmp_path: Path) -> None:
    options = {"text": ["Iron", "Ice"], "label": ["1", "2"]}
    assert sample(tmp_path, {"prompt": Q, "choices": options, "answer": "2"}).correct == (1,)


def test_the_text_of_an_option_comes_before_its_place_and_letter(tmp_path: Path) -> None:
    assert sample(tmp_path, {"prompt": "1 + 0?", "choices": ["2", "1", "0"], "answer": "1"}).correct == (1,)
    assert sample(tmp_path, {"prompt": "Last of A, B?", "choices": ["B", "A"], "answer": "B"}).correct == (0,)


def test_a_column_for_each_option(tmp_path: Path) -> None:
    """As MMLU is published; what stands behind a missing letter is no option."""
    path = tmp_path / "mmlu.csv"
    path.write_text("question,A,B,C,answer,E\nWhat floats?,Iron,Cork,Lead,B,note\n", encoding="utf-8")
    (found,) = read_samples(str(path), columns={"prompt": "question"}).samples
    assert (found.choices, found.correct) == (("Iron", "Cork", "Lead"), (1,))
    assert sample(tmp_path, {"prompt": Q, "A": "One model's answer.", "B": "Another's."}).choices == ()


def test_targets_are_options(tmp_path: Path) -> None:
    lists = {"prompt": Q, "mc2_targets": {"choices": ["Ice", "Iron", "Wood"], "labels": [1, 0, 1]}}
    assert sample(tmp_path, lists).correct == (0, 2)
    assert sample(tmp_path, {"prompt": Q, "mc1_targets": {"Iron": 0, "Ice": 1}}).correct == (1,)


@pytest.mark.parametrize(("value", "expected"), [(True, True), ("no", False), (1, True), ("False", False), (None, None)])
def test_refuse(tmp_path: Path, value: Any, expected: bool | None) -> None:
    assert sample(tmp_path, {"prompt": Q, "refuse": value}).refuse is expected


BAD: dict[str, tuple[Any, str]] = {
    "no json": (b'{"prompt": ', "invalid JSON"),
    "no utf-8": (b'{"prompt": "\xff"}', "invalid UTF-8 at byte 13"),
    "nested": (b"[" * 100_000, "nested too deep"),
    "no object": ([1], "must be an object, not a list"),
    "no form": ({"foo": 1, "bar": 2}, "fits no form; its columns are foo, bar"),
    "number": ({"prompt": 3}, "prompt must be a string or a list of turns, not a number"),
    "empty": ({"prompt": " \n"}, "prompt is empty"),
    "no turn": ({"prompt": []}, "prompt holds no turn"),
    "surrogate": ({"prompt": "a\ud800"}, "lone surrogate"),
    "role": ({"prompt": [{"role": "wizard", "content": "x"}]}, "the role of prompt[0] is 'wizard'; known are system, user"),
    "parts": ({"prompt": [{"role": "user", "content": ["x"]}]}, "content of prompt[0] must be a string, not a list"),
    "tools": ({"prompt": [{**USER, "tool_calls": [{}]}]}, "tool_calls"),
    "assistant last": ({"prompt": [USER, said("Ice.")]}, "the last turn of prompt must be the user's, not the assistant's"),
    "two systems": (
        {"system": "Be brief.", "prompt": [{"role": "system", "content": "Be long."}, USER]},
        "a system column, but the prompt has a system turn",
    ),
    "equal": ({"prompt": Q, "chosen": "Ice.", "rejected": "Ice."}, "chosen and rejected are equal"),
    "several turns": ({"prompt": Q, "chosen": [said("Ice."), USER, said("Wood.")]}, "chosen must be one turn of the assistant"),
    "another beginning": (
        {"chosen": [USER, said("Ice.")], "rejected": [{**USER, "content": "Else?"}, said("Iron.")]},
        "differ before their last answers, at turn 1",
    ),
    "no shared prompt": ({"chosen": [said("Ice.")], "rejected": [said("Iron.")]}, "share no prompt"),
    "no answer": ({"prompt": Q, "choices": ["Ice", "Iron"]}, "choices need the column answer"),
    "no options": ({"prompt": Q, "answer": "Iron"}, "answer names one of several options, and there are none"),
    "one option": ({"prompt": Q, "choices": ["Ice"], "answer": 0}, "holds 1 option; at least 2"),
    "option twice": ({"prompt": Q, "choices": ["Ice", "Ice"], "answer": 0}, "an option twice"),
    "place": ({"prompt": Q, "choices": ["Ice", "Iron"], "answer": 2}, "answer names option 2 (from 0), but there are 2"),
    "letter": ({"prompt": Q, "choices": ["Ice", "Iron"], "answer": "C"}, "answer names option 2 (from 0), but there are 2"),
    "another text": ({"prompt": Q, "choices": ["Ice", "Iron"], "answer": "Cork"}, "'Cork' is none of the choices"),
    "truth": ({"prompt": Q, "choices": ["Ice", "Iron"], "answer": True}, "answer must be a place, letter or text"),
    "nothing right": ({"prompt": Q, "mc1_targets": {"Ice": 0, "Iron": 0}}, "marks no option as right"),
    "labels": ({"prompt": Q, "mc1_targets": {"choices": ["Ice", "Iron"], "labels": [1]}}, "holds 1 labels for 2 options"),
    "refuse": ({"prompt": Q, "refuse": "perhaps"}, "refuse must be true or false"),
    "extra": ({"prompt": Q, "extra": {"toxicity": "high"}}, "extra.toxicity must be a number, not 'high'"),
    "nan": (b'{"prompt": "x", "extra": {"toxicity": NaN}}', "extra.toxicity is nan; it must be finite"),
    "id": ({"prompt": Q, "id": [1]}, "id must be a string or a whole number, not a list"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_row_is_told_with_its_line_and_reason(tmp_path: Path, case: str) -> None:
    row, expected = BAD[case]
    assert expected in reason(tmp_path, row)


def test_ids_follow_from_the_content_unless_they_are_given(tmp_path: Path) -> None:
    one, same, other, own = (
        sample(tmp_path, row) for row in ({"prompt": Q}, {"prompt": [USER]}, {"prompt": Q + "!"}, {"id": 7, "prompt": Q})
    )
    assert one.id == same.id != other.id
    assert (len(one.id), own.id) == (16, "7")


def test_a_repeated_row_or_id_is_told_with_both_lines(tmp_path: Path) -> None:
    found = samples(tmp_path, {"prompt": Q}, {"prompt": "x", "id": "a"}, {"prompt": Q}, {"prompt": "y", "id": "a"})
    assert len(found.samples) == 2
    assert [str(bad) for bad in found.bad] == ["line 3: the same as line 1", "line 4: the id 'a' is that of line 2 too"]


def test_columns_are_read_by_other_names(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "rows.jsonl", {"question": Q, "good": "Ice.", "bad": "Iron.", "prompt": "unused"})
    found = read_samples(path, columns={"prompt": "question", "chosen": "good", "rejected": "bad"}).samples[0]
    assert (found.prompt, found.chosen, found.rejected, found.good, found.bad) == (Q, "Ice.", "Iron.", (), ())


def test_a_mapped_column_that_is_missing_is_told_with_those_that_are_there(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "rows.jsonl", {"question": Q, "answer": "Ice."}, {"question": Q, "topic": "water"})
    with pytest.raises(
        DatasetError, match=r"no column 'questoin' \(meant: question\?\); its columns are question, answer, topic"
    ):
        read_samples(path, columns={"prompt": "questoin"})


def test_a_mapping_to_no_known_column_is_told(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "rows.jsonl", {"prompt": Q})
    with pytest.raises(DatasetError, match=r"no form has the column 'promt' \(meant: prompt\?\)"):
        read_samples(path, columns={"promt": "prompt"})


def test_columns_that_fit_no_form_are_listed_with_the_forms(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "rows.jsonl", {"instruction": Q, "output": "Ice."}, {"instruction": "Hm?", "output": "Ah."})
    with pytest.raises(DatasetError) as error:
        read_samples(path)
    assert "its columns are instruction, output, which fit no form; e.g. --columns prompt=instruction" in str(error.value)
    assert "  pairs: prompt, chosen, rejected" in str(error.value)


def test_rows_that_are_all_bad_are_told_by_reason(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "rows.jsonl", {"prompt": ""}, {"prompt": 3}, {"prompt": " "})
    with pytest.raises(DatasetError) as error:
        read_samples(path)
    expected = "none of its 3 rows can be used:\n  line 1: prompt is empty (and 1 more)\n  line 2: prompt must be a string"
    assert expected in str(error.value)


NUMBERED = [{"prompt": f"What is {i} and {i}?", "id": f"n{i}"} for i in range(60)]


def test_a_limit_takes_the_same_random_part_in_order(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "rows.jsonl", *NUMBERED)
    part, again, other = (read_samples(path, limit=20, seed=seed) for seed in (1, 1, 2))
    assert part == again
    assert (len(part.samples), part.available) == (20, 60)
    numbers = [int(one.id[1:]) for one in part.samples]
    assert numbers == sorted(numbers)
    assert numbers != list(range(20))
    assert part.samples != other.samples
    assert part.sha256 != other.sha256


def test_a_smaller_part_lies_within_a_larger_and_rows_that_are_added_move_little(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "rows.jsonl", *NUMBERED)
    small, large = ({one.id for one in read_samples(path, limit=limit).samples} for limit in (10, 30))
    assert small < large
    backwards = jsonl(tmp_path / "backwards.jsonl", *reversed(NUMBERED))
    assert {one.id for one in read_samples(backwards, limit=10).samples} == small


def test_a_limit_above_the_samples_takes_all_and_one_below_1_is_refused(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "rows.jsonl", *NUMBERED)
    assert read_samples(path, limit=99) == read_samples(path)
    with pytest.raises(DatasetError, match="the limit is 0"):
        read_samples(path, limit=0)


def test_the_hash_is_of_the_samples_and_not_of_the_file(tmp_path: Path) -> None:
    compact = jsonl(tmp_path / "a.jsonl", {"id": "x", "prompt": Q, "category": "water"})
    spaced = jsonl(
        tmp_path / "b.jsonl", b'\n{ "category":"water",  "unused": 3, "prompt": "What floats on water?", "id": "x"}\n\n'
    )
    canonical = b'{"category":"water","id":"x","prompt":[{"content":"What floats on water?","role":"user"}]}\n'
    assert read_samples(compact).sha256 == read_samples(spaced).sha256 == hashlib.sha256(canonical).hexdigest()
    assert read_samples(compact).name == "a.jsonl"


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(str.strip)
SEVERAL = st.lists(TEXTS, max_size=3, unique=True).map(tuple)
SAMPLES = st.builds(
    Sample,
    id=TEXTS,
    messages=st.lists(TEXTS, min_size=1, max_size=3).map(
        lambda texts: tuple(
            {"role": ("user", "assistant")[(len(texts) - 1 - i) % 2], "content": t} for i, t in enumerate(texts)
        )
    ),
    category=st.none() | TEXTS,
    good=SEVERAL,
    bad=SEVERAL,
    choices=st.just(("red", "blue", "green")),
    correct=st.sets(st.integers(0, 2), min_size=1).map(lambda places: tuple(sorted(places))),
    refuse=st.none() | st.booleans(),
    extra=st.dictionaries(TEXTS, st.floats(-5, 5), max_size=2),
)


@settings(max_examples=40)
@given(SAMPLES)
def test_a_written_sample_is_read_again_as_it_was(tmp_path_factory: pytest.TempPathFactory, one: Sample) -> None:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    write_rows(path, [one])
    assert read_samples(str(path)).samples == (one,)


def test_a_written_pair_is_read_again_as_it_was(tmp_path: Path) -> None:
    found = samples(tmp_path, *PAIRS.values())
    assert len(found.samples) == 1  # they are all the same
    write_rows(tmp_path / "written.jsonl", found.samples)
    assert read_samples(str(tmp_path / "written.jsonl")).samples == found.samples
    assert json.loads((tmp_path / "written.jsonl").read_text()) == row_of(found.samples[0])


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_text("as before")

    def breaking() -> Iterator[Sample]:
        yield Sample("a", (USER,))
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        write_rows(tmp_path / "out.jsonl", breaking())
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("out.jsonl", "as before")]
