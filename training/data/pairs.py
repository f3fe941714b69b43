"""Records with a chosen and a rejected answer, in TRL's forms and HH's."""

from trimtab.training.data.fields import Record, a_number, a_text, as_prompt, dialogue_in, numbers
from trimtab.training.data.rows import Preference, Response, Row, Text, Turn, shared_prefix
from trimtab.training.data.validation import BadRecord


def pair_row(record: Record) -> Row:
    """The row of a pair: `chosen` is the first response, `rejected` the second."""
    prompt, chosen, rejected = _parts(record)
    if chosen == rejected:
        raise BadRecord("chosen and rejected are equal")
    scores = _scores(record)
    responses = (
        Response(chosen, score=scores[0] if scores else None, kind="chosen"),
        Response(rejected, score=scores[1] if scores else None, kind="rejected"),
    )
    p = next((a_number(record[column], column) for column in ("preference", "p") if column in record), 1.0)
    margin = a_number(record["margin"], "margin") if "margin" in record else 0.0
    return Row("", prompt, responses, (Preference(0, 1, p, margin),))


def _parts(record: Record) -> tuple[Text, Text, Text]:
    chosen, rejected = (a_text(record[column], column) for column in ("chosen", "rejected"))
    if isinstance(chosen, str) != isinstance(rejected, str):
        raise BadRecord("chosen and rejected must both be strings or both lists of turns")
    if "prompt" not in record:
        return _implicit(chosen, rejected)
    prompt = a_text(record["prompt"], "prompt")
    if isinstance(prompt, str) and _hold_prompt(prompt, chosen, rejected):
        return _implicit(chosen, rejected)
    read = as_prompt(prompt)
    return (read, _spoken(read, chosen), _spoken(read, rejected))


def _hold_prompt(prompt: str, *answers: Text) -> bool:
    """Whether the answers are whole conversations that repeat a plain prompt."""
    opening = Turn("user", prompt)
    return all(isinstance(answer, tuple) and opening in answer for answer in answers)


def _spoken(prompt: Text, answer: Text) -> Text:
    """An answer to turns as what is said, without the space that a dialogue string has before it."""
    return answer.strip() if isinstance(prompt, tuple) and isinstance(answer, str) else answer


def _implicit(chosen: Text, rejected: Text) -> tuple[Text, Text, Text]:
    """The prompt that both share at their beginning, and the rest of each."""
    first, second = (dialogue_in(text) if isinstance(text, str) else text for text in (chosen, rejected))
    if first is None or second is None:
        raise BadRecord("a pair of plain strings needs a prompt column (dialogue strings of the HH form do not)")
    prompt = shared_prefix(first, second)
    while prompt and prompt[-1].role == "assistant":
        prompt = prompt[:-1]
    if not prompt:
        raise BadRecord("chosen and rejected share no prompt at their beginning")
    return prompt, _one_or_several(first[len(prompt) :]), _one_or_several(second[len(prompt) :])


def _one_or_several(turns: tuple[Turn, ...]) -> Text:
    return turns[0].content if len(turns) == 1 and turns[0].role == "assistant" else turns


def _scores(record: Record) -> tuple[float, ...] | None:
    if "scores" in record:
        return numbers(record, "scores", 2)
    if {"score_chosen", "score_rejected"} <= record.keys():
        return tuple(a_number(record[column], column) for column in ("score_chosen", "score_rejected"))
    return None
