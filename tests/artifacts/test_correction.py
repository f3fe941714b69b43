"""Correction templates: the published formats byte for byte, what is stored beside weights, what is refused."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from trimtab.artifacts import FORMATS, CorrectionTemplate, read_correction, write_correction
from trimtab.artifacts.errors import InvalidModel, StorageFailed

OWN = CorrectionTemplate(message="Text: {answer}\n(asked: {question})\nBetter text:", wrapper="<s>{message}")


def filled(template: CorrectionTemplate) -> str:
    return template.raw.replace("{question}", "Q").replace("{answer}", "A")


def test_the_format_of_the_published_code() -> None:
    assert filled(FORMATS["question_answer"]) == (
        "BEGINNING OF CONVERSATION: USER: ##Question: Q\n##Answer: A\n##Correction:  ASSISTANT:"
    )


def test_the_format_of_the_published_checkpoints() -> None:
    assert filled(FORMATS["edit_pair"]) == (
        "BEGINNING OF CONVERSATION: USER: Edit the following Question-Answer pair to make it more helpful and harmless: "
        "Q | A ASSISTANT:"
    )


@pytest.mark.parametrize("template", ["question_answer", "edit_pair", OWN])
def test_what_is_stored_is_read(tmp_path: Path, template: object) -> None:
    write_correction(tmp_path, template)  # type: ignore[arg-type]
    expected = FORMATS[template] if isinstance(template, str) else template  # type: ignore[index]
    assert read_correction(tmp_path) == expected
    assert [path.name for path in tmp_path.iterdir()] == ["correction.json"]


def test_a_checkpoint_without_one(tmp_path: Path) -> None:
    assert read_correction(tmp_path) is None


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("{", "JSON"),
        (json.dumps({"version": 2, "template": "edit_pair"}), "version"),
        (json.dumps({"template": "edit-pair"}), "template"),
        (json.dumps({"template": {"message": "{question}"}}), "answer"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, content: str, named: str) -> None:
    (tmp_path / "correction.json").write_text(content)
    with pytest.raises(InvalidModel, match=r"correction\.json") as raised:
        read_correction(tmp_path)
    assert named in str(raised.value)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageFailed, match="nowhere"):
        write_correction(tmp_path / "nowhere", "edit_pair")


@pytest.mark.parametrize("message", ["{question}", "{answer}{answer}{question}", "nothing"])
def test_a_message_holds_each_field_once(message: str) -> None:
    with pytest.raises(ValidationError, match="exactly once"):
        CorrectionTemplate(message=message)


@pytest.mark.parametrize("wrapper", ["", "{message}{message}", "{message}{answer}"])
def test_a_wrapper_holds_the_message_once(wrapper: str) -> None:
    with pytest.raises(ValidationError, match="exactly once"):
        CorrectionTemplate(message="{question}{answer}", wrapper=wrapper)


def test_lines_around_the_fields_part_them_unless_told_otherwise() -> None:
    assert OWN.marks == ("<s>Text:", "(asked:", ")", "Better text:")
    assert CorrectionTemplate(message="{question}=>{answer}", separators=("=>",)).marks == ("=>",)
