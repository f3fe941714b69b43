"""Records as the authors of RRHF, PRO and Aligner released them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from trimtab.training.data.fields import Record, a_list, a_string, a_text, as_prompt, numbers, texts
from trimtab.training.data.rows import Response, Row, Text, Turn
from trimtab.training.data.validation import BadRecord


def rrhf_row(record: Record) -> Row:
    """{query, responses, scores}: a ranked list. Source: Yuan et al. 2023, arXiv 2304.05302, released data."""
    responses = texts(record, "responses")
    if "scores" not in record:
        raise BadRecord("scores is missing: query and responses need the score of each response")
    prompt = as_prompt(a_string(record, "query"))
    return Row("", prompt, scored(_said(prompt, responses), numbers(record, "scores", len(responses))))


def pro_row(record: Record) -> Row:
    """{prefix, suffix, reward}: a ranked list; the prefixes, one a suffix, must agree.

    Source: Song et al. 2023, arXiv 2306.17492, released data. Deviation: `sft_index` is not read; the best reward says it.
    """
    suffixes = [_joined(item, f"suffix[{place}]") for place, item in enumerate(a_list(record, "suffix"))]
    given = record["prefix"] if isinstance(record["prefix"], list | tuple) else [record["prefix"]]
    prefixes = {_joined(item, f"prefix[{place}]") for place, item in enumerate(given)}
    if len(prefixes) != 1:
        raise BadRecord(f"prefix holds {len(prefixes)} different prompts; a list has one")
    if "reward" not in record:
        raise BadRecord("reward is missing: prefix and suffix need the reward of each suffix")
    prompt = as_prompt(prefixes.pop())
    return Row("", prompt, scored(_said(prompt, suffixes), numbers(record, "reward", len(suffixes))))


def aligner_row(record: Record) -> Row:
    """{question, answer, correction}: an edit. Source: Ji et al. 2024, arXiv 2402.02416, released data."""
    question = (Turn("user", a_string(record, "question")),)
    return _edit(record, question, a_string(record, "answer"))


def draft_row(record: Record) -> Row:
    """{prompt, draft, correction}: an edit of the answer to any prompt."""
    return _edit(record, as_prompt(a_text(record["prompt"], "prompt")), a_string(record, "draft"))


def scored(contents: Sequence[Text], scores: Sequence[float]) -> tuple[Response, ...]:
    """Responses with their scores."""
    return tuple(Response(content, score=score, kind="sample") for content, score in zip(contents, scores, strict=True))


def _edit(record: Record, prompt: Text, draft: str) -> Row:
    feedback = a_string(record, "feedback") if "feedback" in record else None
    revision = Response(a_string(record, "correction"), kind="revision")
    return Row("", prompt, (Response(draft, kind="original"), replace(revision, feedback=feedback)))


def _said(prompt: Text, answers: Sequence[Text]) -> list[Text]:
    """Answers to turns without the space that a dialogue string has before them."""
    if isinstance(prompt, str):
        return list(answers)
    return [answer.strip() if isinstance(answer, str) else answer for answer in answers]


def _joined(value: Any, name: str) -> str:
    """A string that may be given in pieces."""
    pieces = value if isinstance(value, list | tuple) else [value]
    if not all(isinstance(piece, str) for piece in pieces):
        raise BadRecord(f"{name} must be a string, or a list of strings that make one")
    return "".join(pieces)
