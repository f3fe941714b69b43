"""What a model's encoding must show before it is trusted: benign prompts unchanged, no control token from content."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from trimtab.server.engines.encoding.rendering import SHAPES
from trimtab.strategies.core.errors import RequestRefused

SafeMode = Literal["segment", "escape", "off"]

BENIGN = (
    "Hello there.",
    "  two spaces before, a tab\t, and after  ",
    "Grüße, 你好, здравствуйте, مرحبا, 🙂👍🏽 and e\u0301",
    "def f(x):\n    return x < 3 and x > 1  # <b>bold</b>\n\n\n\treturn [1, 2]\n",
    "1234567 x 89 = ?\r\nline\u2028separator \u00a0 nbsp",
    'don\'t you\'ll THEY\'RE  a<b>c [INSTALL] {"k": "v"} ```python\n```',
)
_STRINGS_ALONE = 24
"""Control strings that get a probe of their own; the rest stand in one probe together."""

_STRINGS_TOGETHER = 400

Turns = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class SelfCheck:
    """What the check of a model's encoding found."""

    mode: SafeMode
    failures: tuple[str, ...] = ()
    """Why better modes were not taken."""


@dataclass(frozen=True, slots=True)
class Subject:
    """One mode of an encoder, under check. Each function may raise RequestRefused."""

    chat_ids: Callable[[Turns], Sequence[int]] | None
    """None where the model has no chat template."""
    undefended_chat_ids: Callable[[Turns], Sequence[int]]
    text_ids: Callable[[Literal["literal", "content"], str], Sequence[int]]
    undefended_text_ids: Callable[[str], Sequence[int]]
    control_ids: frozenset[int]
    control_strings: Sequence[str]


def failures_of(subject: Subject) -> tuple[str, ...]:
    """What the subject fails, a sentence each; empty = it may be used."""
    try:
        return tuple(_text_failures(subject)) + tuple(_chat_failures(subject))
    except RequestRefused as error:
        return (str(error),)


def _text_failures(subject: Subject) -> Iterator[str]:
    for text in BENIGN:
        if list(subject.text_ids("content", text)) != list(subject.undefended_text_ids(text)):
            yield f"other ids than the tokenizer's own for {text!r}"
    for text in _forged_texts(subject):
        if subject.control_ids.intersection(subject.text_ids("content", text)):
            yield f"a control token from {text[:80]!r}"
    together = "a".join(_forged_texts(subject))
    if list(subject.text_ids("literal", together)) != list(subject.undefended_text_ids(together)):
        yield "other ids than the tokenizer's own for control strings in literal text"


def _chat_failures(subject: Subject) -> Iterator[str]:
    shapes = [shape for shape in SHAPES if subject.chat_ids and _accepted(subject, shape)]
    if subject.chat_ids is None:
        return
    if not shapes:
        yield "the chat template refuses every probe"
    for shape in shapes:
        for text in BENIGN:
            turns = _turns(shape, text)
            if list(subject.chat_ids(turns)) != list(subject.undefended_chat_ids(turns)):
                yield f"other ids than the template path's for {text!r} in {'/'.join(shape)}"
        expected = _controls(subject, _turns(shape, "x"))
        for text in _forged_texts(subject):
            if _controls(subject, _turns(shape, f"x{text}x")) != expected:
                yield f"a control token from {text[:80]!r} in {'/'.join(shape)}"


def _forged_texts(subject: Subject) -> list[str]:
    strings = subject.control_strings
    return [*strings[:_STRINGS_ALONE], "".join(strings[:_STRINGS_TOGETHER])]


def _accepted(subject: Subject, shape: Sequence[str]) -> bool:
    try:
        subject.undefended_chat_ids(_turns(shape, "x"))
    except RequestRefused:
        return False
    return True


def _controls(subject: Subject, turns: Turns) -> list[int]:
    assert subject.chat_ids is not None
    return [token_id for token_id in subject.chat_ids(turns) if token_id in subject.control_ids]


def _turns(shape: Sequence[str], text: str) -> Turns:
    return [{"role": role, "content": text} for role in shape]
