"""Views of drafts and their corrections: the aligner's prompt and answer, and SECOND THOUGHTS' chain of edits."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from trimtab.artifacts.correction import ANSWER, FORMATS, QUESTION, CorrectionTemplate
from trimtab.training.data.choices import preferences_of, trained
from trimtab.training.data.edits import edit_chain, written
from trimtab.training.data.examples import Example
from trimtab.training.data.rows import Response, Row, Text, Turn
from trimtab.training.data.templates import RowTokenizer
from trimtab.training.data.tokens import Tokens, Unusable, shared

EARLIER, NOW = "Earlier in this conversation:", "Now:"
SPEAKERS = {"user": "Person", "assistant": "Reply"}
"""How serving tells a correction model of earlier turns; a test keeps both the same."""
DRAFT, EDITS, RESULT = "Draft:\n", "\n\nEdits:\n", "\n\nResult:\n"


@dataclass(frozen=True, slots=True)
class Edited:
    """An example for each draft with a better answer: the correction model's prompt as it is served, and the better answer.

    Source: Ji et al. 2024, arXiv 2402.02416, Eq. 1. Deviation: the prompt is tokenised by itself, as serving sends it, so no
    token merges its end with the correction's beginning.
    """

    template: CorrectionTemplate = FORMATS["question_answer"]

    def __call__(self, row: Row, tokenizer: RowTokenizer, /) -> Sequence[Example]:
        """A single branch each: the correction and the end of sequence."""
        found = drafts_of(row)
        return [_of(row, better, corrected(row, draft, better, self.template, tokenizer)) for draft, better in found]


@dataclass(frozen=True, slots=True)
class Identity:
    """The same with the draft as its own correction: what the aligner learns first.

    Source: Ji et al. 2024, arXiv 2402.02416, section 3.2 (identity warm-up, "Q-A-A"). Answers without a correction serve.
    """

    template: CorrectionTemplate = FORMATS["question_answer"]

    def __call__(self, row: Row, tokenizer: RowTokenizer, /) -> Sequence[Example]:
        """A single branch each."""
        responses = trained(row)
        if not responses:
            raise Unusable("has no response")
        drafts = [draft for draft, _ in _corrections(row)] or [*responses[:1]]
        return [_of(row, draft, corrected(row, draft, draft, self.template, tokenizer)) for draft in dict.fromkeys(drafts)]


@dataclass(frozen=True, slots=True)
class SecondThoughts:
    """An example for each draft with a better answer: the draft, then the edits and the result, which count.

    Source: Liu et al. 2022, arXiv 2301.00355, section 3. Deviation: our reading and our own notation (no code was released);
    only the supervised stage.
    """

    def __call__(self, row: Row, tokenizer: RowTokenizer, /) -> Sequence[Example]:
        """A single branch each."""
        return [_of(row, better, self._tokens(row, draft, better, tokenizer)) for draft, better in drafts_of(row)]

    def _tokens(self, row: Row, draft: Response, better: Response, tokenizer: RowTokenizer) -> Tokens:
        source, target = _one_text(draft.content).strip(), _one_text(better.content).strip()
        opening = "" if isinstance(row.prompt, tuple) else "\n"
        thought = f"{written(source, edit_chain(source, target))}{RESULT}{target}"
        return tokenizer.marked(row.prompt, [(f"{opening}{DRAFT}{source}{EDITS}", False), (thought, True)])


def drafts_of(row: Row) -> tuple[tuple[Response, Response], ...]:
    """Each draft with what it should become. Raises Unusable where there is none."""
    found = _corrections(row)
    if not found:
        raise Unusable("has no draft with its correction (kinds original and revision, or a pair)")
    return found


def question_of(prompt: Text) -> str:
    """What a correction model is told of a prompt: the last question, with the turns before it told in words."""
    if isinstance(prompt, str):
        return prompt
    said = [turn for turn in prompt if turn.role in SPEAKERS and turn.content]
    if not said:
        raise Unusable("its prompt holds no question")
    *before, last = said
    told = "\n".join(f"{SPEAKERS[turn.role]}: {turn.content}" for turn in before)
    return f"{EARLIER}\n{told}\n{NOW}\n{last.content}" if before else last.content


def corrected(row: Row, draft: Response, better: Response, template: CorrectionTemplate, tokenizer: RowTokenizer) -> Tokens:
    """A correction's prompt and the correction, as an aligner is served: raw, or a message where the format has no wrapper."""
    question, answer, correction = question_of(row.prompt), _one_text(draft.content), _one_text(better.content)
    for text in (question, answer, correction):
        if control := tokenizer.acting(text):
            raise Unusable(f"a text holds the control string {control!r}")
        if found := _marks(template).search(text):
            raise Unusable(f"a text holds {found[0]!r}, which parts the fields of the correction format")
    if template.wrapper is None and tokenizer.has_template:
        return tokenizer.answer((Turn("user", filled(template.message, question, answer)),), correction)
    return tokenizer.continued(filled(template.raw, question, answer), correction)


def filled(form: str, question: str, answer: str) -> str:
    """A format with its fields in place; what stands in a field is never taken for another field."""
    values = {QUESTION: question, ANSWER: answer}
    return re.sub("|".join(re.escape(field) for field in values), lambda found: values[found[0]], form)


def _corrections(row: Row) -> tuple[tuple[Response, Response], ...]:
    """(draft, better) of every original with its revisions, else of every preference."""
    responses = trained(row)
    drafts, revisions = ([one for one in responses if one.kind == kind] for kind in ("original", "revision"))
    if drafts and revisions:
        return tuple((drafts[0], revision) for revision in revisions)
    return tuple((row.responses[one.b], row.responses[one.a]) for one in preferences_of(row) if one.p > 0.5)


def _of(row: Row, response: Response, tokens: Tokens) -> Example:
    return replace(shared([tokens]), weight=response.weight, line=row.line)


def _one_text(content: Text) -> str:
    if isinstance(content, str):
        return content
    if len(content) > 1:
        raise Unusable("an answer of several turns cannot be corrected as one text")
    return content[0].content


@lru_cache(maxsize=16)
def _marks(template: CorrectionTemplate) -> re.Pattern[str]:
    """What serving writes apart inside fields; a single character only where it stands alone."""
    marks = [mark.strip() for mark in template.marks if mark.strip()]
    forms = (
        rf"(?<!\S)(?:{re.escape(m)})+(?!\S)" if len(m) == 1 else rf"{re.escape(m[:-1])} *{re.escape(m[-1])}" for m in marks
    )
    return re.compile("|".join(forms) or r"(?!)")
