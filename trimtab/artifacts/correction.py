"""How a correction model is asked: the prompt format it was trained on, stored as `correction.json` beside its weights.

A format is the checkpoint's interface: another one, even by a space, is another task to the model. Knows no engine and no
strategy.
"""

import json
import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from trimtab.artifacts.errors import InvalidModel, StorageFailed

FILE = "correction.json"
QUESTION, ANSWER, MESSAGE = "{question}", "{answer}", "{message}"
SAFE_RLHF = "BEGINNING OF CONVERSATION: USER: {message} ASSISTANT:"
"""The raw dialogue format around both published forms."""
DIALOGUE_MARKS = ("BEGINNING OF CONVERSATION:", "USER:", "ASSISTANT:")

FormatName = Literal["question_answer", "edit_pair"]


class CorrectionTemplate(BaseModel):
    """The prompt format of a correction model."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    message: str = Field(max_length=20_000)
    """What the model is asked; holds `{question}` and `{answer}` once each. To a chat engine it is the user's message."""
    wrapper: str | None = Field(default=None, max_length=20_000)
    """The raw prompt around the message; holds `{message}` once. None: the engine's own chat template is used."""
    separators: tuple[str, ...] = Field(default=(), max_length=32)
    """Strings that part the fields: inside a question or answer they are written apart. Default: lines around the fields."""
    stops: tuple[str, ...] = Field(default=(), max_length=4)
    """Strings that end a correction, beside the model's end of sequence."""

    @field_validator("message")
    @classmethod
    def _holds_both_fields(cls, message: str) -> str:
        for field in (QUESTION, ANSWER):
            if message.count(field) != 1:
                raise ValueError(f"must hold {field} exactly once")
        return message

    @field_validator("wrapper")
    @classmethod
    def _holds_the_message(cls, wrapper: str | None) -> str | None:
        if wrapper is not None and (wrapper.count(MESSAGE) != 1 or QUESTION in wrapper or ANSWER in wrapper):
            raise ValueError(f"must hold {MESSAGE} exactly once, and neither {QUESTION} nor {ANSWER}")
        return wrapper

    @property
    def raw(self) -> str:
        """The whole raw prompt with both fields in place."""
        return self.message if self.wrapper is None else self.wrapper.replace(MESSAGE, self.message)

    @property
    def marks(self) -> tuple[str, ...]:
        """The separators: those given, else the lines around the fields."""
        if self.separators:
            return self.separators
        around = self.raw.replace(QUESTION, "\n").replace(ANSWER, "\n").splitlines()
        return tuple(dict.fromkeys(line.strip() for line in around if line.strip()))


FORMATS: dict[FormatName, CorrectionTemplate] = {
    "question_answer": CorrectionTemplate(
        message="##Question: {question}\n##Answer: {answer}\n##Correction: ",
        wrapper=SAFE_RLHF,
        separators=("##Question:", "##Answer:", "##Correction:", *DIALOGUE_MARKS),
        stops=("##Question:", "##Answer:", "BEGINNING OF CONVERSATION:"),
    ),
    "edit_pair": CorrectionTemplate(
        message="Edit the following Question-Answer pair to make it more helpful and harmless: {question} | {answer}",
        wrapper=SAFE_RLHF,
        separators=("|", *DIALOGUE_MARKS),
        stops=("BEGINNING OF CONVERSATION:",),
    ),
}
"""The two published formats of Ji et al. 2024, arXiv 2402.02416: that of its code, and that of the released checkpoints."""


class _Manifest(BaseModel):
    """What the file holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    template: FormatName | CorrectionTemplate


def read_correction(directory: Path) -> CorrectionTemplate | None:
    """The format stored in a checkpoint's directory; None where there is none. Raises InvalidModel for a broken file."""
    try:
        text = (directory / FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidModel(f"{FILE} in {str(directory)!r} cannot be read: {error}") from error
    try:
        template = _Manifest.model_validate_json(text).template
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InvalidModel(f"{FILE} in {str(directory)!r}: {place}: {first['msg']}") from None
    return template if isinstance(template, CorrectionTemplate) else FORMATS[template]


def write_correction(directory: Path, template: FormatName | CorrectionTemplate) -> Path:
    """Store the format of a checkpoint beside its weights; the file appears whole or not at all. Raises StorageFailed."""
    path, draft = directory / FILE, directory / f".{FILE}.{os.getpid()}"
    content = _Manifest(template=template).model_dump(mode="json")
    try:
        draft.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        raise StorageFailed(f"{FILE} cannot be written into {str(directory)!r}: {error}") from error
    return path
