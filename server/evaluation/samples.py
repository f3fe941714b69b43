"""One sample of an evaluation: a prompt to answer, with what is known about good answers to it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Turn = Mapping[str, Any]
"""`{"role", "content"}`."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A prompt; everything else is there where the data say it."""

    id: str
    messages: tuple[Turn, ...]
    """The conversation to answer; its last turn is the user's."""
    category: str | None = None
    chosen: str | None = None
    """The answer that people preferred."""
    rejected: str | None = None
    good: tuple[str, ...] = ()
    """Reference answers that are right."""
    bad: tuple[str, ...] = ()
    """Reference answers that are wrong."""
    choices: tuple[str, ...] = ()
    """Options of a multiple-choice question."""
    correct: tuple[int, ...] = ()
    """Places of the right options."""
    refuse: bool | None = None
    """Whether the prompt should be refused; None = unknown."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Numbers of the data that a scorer may use, e.g. `prompt_toxicity`."""

    @property
    def prompt(self) -> str:
        """The last user turn."""
        return str(self.messages[-1]["content"])
