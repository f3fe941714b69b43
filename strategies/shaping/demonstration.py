"""A demonstration: a prompt and its answer, how it reads in a raw prompt, and which of several are one and the same."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from trimtab.retrieval.documents import Hit
from trimtab.strategies.core.messages import Segment
from trimtab.strategies.shaping.frames import escaped, header_lines

QUESTION = "Question: "
ANSWER = "\n\nHere\u2019s an example answer:"
"""The apostrophe is U+2019, as in the released code."""
BASELINE = "\n\nAnswer:"
"""What stands in its place where nothing is demonstrated."""
STOP = "\nQuestion:"
"""What a base model writes once its answer is over."""
_HEADERS = header_lines(r"Question[^\S\n]*:", r"Here['\u2019]s an example answer[^\S\n]*:")

NEAR = 0.9
"""Share of the words of either (Jaccard) from which on two demonstrations are one."""
_WORDS = re.compile(r"\w+")
KEPT_CHARACTERS = 4000
"""Of a longer text words are not kept."""


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A prompt and its answer."""

    id: str
    prompt: str
    answer: str
    score: float
    """Cosine similarity to the query."""

    @property
    def rendered(self) -> str:
        """Its text in a raw prompt."""
        return "".join(segment.text for segment in self.segments()).rstrip("\n")

    def segments(self) -> Iterator[Segment]:
        """Its pieces in a raw prompt, with what separates it from the next."""
        yield Segment("literal", QUESTION)
        yield Segment("content", plain(self.prompt))
        yield Segment("literal", f"{ANSWER} ")
        yield Segment("content", plain(self.answer))
        yield Segment("literal", "\n\n")


def plain(text: str) -> str:
    """A text in which no line reads as a header of the raw prompt."""
    return escaped(text, _HEADERS)


def distinct(hits: Iterable[Hit], *, unlike: str | None) -> Iterator[Demonstration]:
    """The demonstrations of a ranking, in its order: a document once, of near-identical ones the first.

    Documents without an answer are passed over, and those whose prompt is `unlike` but for case, space and punctuation.
    """
    forbidden = None if unlike is None else _words(unlike)
    seen: list[frozenset[str]] = []
    for hit in hits:
        answer = hit.document.metadata.get("answer")
        if not isinstance(answer, str) or not answer.strip() or _words(hit.document.text) == forbidden:
            continue
        words = frozenset(_words(f"{hit.document.text}\n{answer}"))
        if any(_are_near(words, other) for other in seen):
            continue
        seen.append(words)
        yield Demonstration(hit.document.id, hit.document.text, answer.strip(), hit.score)


def _words(text: str) -> tuple[str, ...]:
    return (_kept_words if len(text) <= KEPT_CHARACTERS else _split)(text)


def _split(text: str) -> tuple[str, ...]:
    return tuple(_WORDS.findall(text.casefold()))


_kept_words = lru_cache(2048)(_split)
"""Requests meet the same documents."""


def _are_near(one: frozenset[str], other: frozenset[str]) -> bool:
    """Whether they share so many of their words. Sets of very different sizes cannot, and are not compared."""
    if min(len(one), len(other)) < NEAR * max(len(one), len(other)):
        return False
    shared = len(one & other)
    return shared >= NEAR * (len(one) + len(other) - shared)
