"""The wire request of `/v1/alignment/check`: a text or a conversation, and what it is held against."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from trimtab.server.api.schemas.messages import Messages, check_text
from trimtab.server.api.schemas.sampling import wrong
from trimtab.server.settings import Limits
from trimtab.strategies.core.errors import RequestRefused
from trimtab.strategies.core.messages import Message

Reader = Literal["none", "judge", "policy"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, strict=True)


class NormsToCheck(_Strict):
    """Rules that the text is held against."""

    corpus: Annotated[str, Field(min_length=1, max_length=200)]
    """A corpus of this server; `default-norms` comes with it."""
    k: int = Field(default=5, ge=1)
    """Most rules: those most similar to the text and to the question before it."""
    judge: Reader = "none"
    """Who reads whether the text keeps each rule, by the probabilities of its letters: nobody, the engine of the role `judge`
    (the model, where there is none), or the model."""


class CheckRequest(_Strict):
    """A text that is there already; nothing is generated."""

    text: Annotated[str, Field(min_length=1)] | None = None
    """A text by itself."""
    messages: Annotated[Messages, Field(min_length=1)] | None = None
    """A conversation whose last turn is the assistant's: the answer that is checked."""
    scorers: Annotated[list[str], Field(min_length=1, max_length=32)] | None = None
    """Names of scorers; default those of toxicity, refusal and reward that are possible here, or none beside `norms`."""
    norms: NormsToCheck | None = None
    """Rules to hold the text against."""
    model: str | None = None
    """A name of `/v1/models`, default its first; read where `norms.judge` may ask the model."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.text is None) == (self.messages is None):
            raise wrong("text", "give either `text` or `messages`")
        if self.text is not None:
            check_text("text", self.text)
        if self.model is not None and (self.norms is None or self.norms.judge == "none"):
            raise wrong("model", "only allowed beside a `norms.judge` that may ask it")
        if self.messages is not None:
            _check_ending(self.messages)
        for place, name in enumerate(self.scorers or ()):
            if name in (self.scorers or ())[:place]:
                raise wrong(f"scorers.{place}", f"{name[:100]!r} is named twice")
        return self

    @property
    def before(self) -> tuple[dict[str, Any], ...]:
        """What was said before the text."""
        return tuple(self.messages[:-1]) if self.messages is not None else ()

    @property
    def answer(self) -> str:
        """The text that is checked."""
        return (
            self.text if self.messages is None and self.text is not None else Message.from_wire((self.messages or [])[-1]).text
        )

    @property
    def question(self) -> str:
        """The last user turn before the text; empty where there is none."""
        asked = [Message.from_wire(turn).text for turn in self.before if turn["role"] == "user"]
        return asked[-1] if asked else ""


def _check_ending(messages: list[dict[str, Any]]) -> None:
    """Raise where a conversation does not end in an answer of text."""
    place = f"messages.{len(messages) - 1}"
    if messages[-1]["role"] != "assistant":
        raise wrong(
            f"{place}.role", f"the last turn must be the assistant's, whose text is checked, not {messages[-1]['role']!r}"
        )
    if not Message.from_wire(messages[-1]).text:
        raise wrong(f"{place}.content", "the last turn holds no text to check")


def check_size(request: CheckRequest, limits: Limits) -> None:
    """Raise RequestRefused for more text, turns or rules than the limits allow."""
    if request.messages is not None and len(request.messages) > limits.messages:
        told = f"messages has {len(request.messages)} entries; allowed are {limits.messages} (limits.messages)"
        raise RequestRefused(told, param="messages")
    size = len(request.answer) + sum(len(Message.from_wire(turn).text) for turn in request.before)
    if size > limits.document_chars:
        name = "text" if request.messages is None else "messages"
        told = f"{name} has {size} characters; allowed are {limits.document_chars} (limits.document_chars)"
        raise RequestRefused(told, param=name)
    if request.norms is not None and request.norms.k > limits.hits:
        told = f"norms.k={request.norms.k} is too large: allowed are 1 to {limits.hits} (limits.hits)"
        raise RequestRefused(told, param="norms.k")
