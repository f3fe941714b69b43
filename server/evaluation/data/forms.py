"""From a record's columns to a sample: published forms first, then our own, whose parts go together as a row has them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trimtab.server.evaluation.data import multiple_choice
from trimtab.server.evaluation.data.conversations import answer_to, as_user, pair_of, prompt_of, turns_of, with_system
from trimtab.server.evaluation.data.fields import BadRecord, Record, a_flag, a_number, a_string, an_object, named, strings
from trimtab.server.evaluation.data.published.hh import hh_sample, is_hh, is_transcript, transcript
from trimtab.server.evaluation.data.published.realtoxicity import is_realtoxicity, realtoxicity_sample
from trimtab.server.evaluation.data.published.truthfulqa import is_truthfulqa, truthfulqa_sample
from trimtab.server.evaluation.samples import Sample, Turn


class NoForm(BadRecord):
    """A record whose columns fit no form."""


@dataclass(frozen=True, slots=True)
class Form:
    """A way in which records say a sample."""

    name: str
    columns: str
    """As a reader is told them."""
    fits: Callable[[Record], bool]
    read: Callable[[Record], Sample]
    """The sample without its id. Raises BadRecord."""


PUBLISHED: dict[str, Form] = {
    "hh": Form("HH-RLHF", "chosen, rejected (transcripts of Human and Assistant)", is_hh, hh_sample),
    "truthfulqa": Form(
        "TruthfulQA",
        "Question, Best Answer, Correct Answers, Incorrect Answers; or question, mc1_targets",
        is_truthfulqa,
        truthfulqa_sample,
    ),
    "realtoxicity": Form("RealToxicityPrompts", "prompt (an object with text, toxicity)", is_realtoxicity, realtoxicity_sample),
}
"""By the name of `trimtab data convert`."""


def sample_of(record: Record) -> Sample:
    """The sample of a record, its id empty where the record has none. Raises BadRecord with the reason where it makes none."""
    for form in FORMS:
        if form.fits(record):
            return common(form.read(record), record)
    raise NoForm(f"fits no form; its columns are {', '.join(record) or 'none'}")


def common(sample: Sample, record: Record) -> Sample:
    """With what every form may have beside its own: id, category, refuse, system."""
    name = record.get("id", sample.id)
    if isinstance(name, bool) or not isinstance(name, str | int):
        raise BadRecord(f"id must be a string or a whole number, not {named(name)}")
    return replace(
        sample,
        id=a_string(str(name), "id") if "id" in record else "",
        messages=with_system(a_string(record["system"], "system"), sample.messages) if "system" in record else sample.messages,
        category=_category(record["category"]) if "category" in record else sample.category,
        refuse=a_flag(record["refuse"], "refuse") if "refuse" in record else None,
    )


def _own(record: Record) -> Sample:
    """A prompt, and whatever is known of its answers."""
    prompt, references = _prompt(record)
    options, correct = multiple_choice.options_of(record)
    chosen, rejected = (_answer(record, prompt, column) for column in ("chosen", "rejected"))
    if chosen is not None and chosen == rejected:
        raise BadRecord("chosen and rejected are equal")
    extra = an_object(record.get("extra", {}), "extra")
    return Sample(
        "",
        prompt,
        chosen=chosen,
        rejected=rejected,
        good=_several(record, ("best", "good", "correct_answers", "references"), references),
        bad=_several(record, ("bad", "incorrect_answers")),
        choices=options,
        correct=correct,
        extra={name: a_number(value, f"extra.{name}") for name, value in extra.items()},
    )


def _prompt(record: Record) -> tuple[tuple[Turn, ...], tuple[str, ...]]:
    """The conversation to answer; and the answer, where it is a conversation that has one."""
    if "prompt" not in record:
        turns = turns_of(record["messages"], "messages")
        if turns[-1]["role"] == "assistant" and len(turns) > 1:
            return prompt_of(turns[:-1], "messages"), (str(turns[-1]["content"]),)
        return prompt_of(turns, "messages"), ()
    prompt = record["prompt"]
    if isinstance(prompt, str):
        text = a_string(prompt, "prompt")
        return (prompt_of(_open(text), "prompt") if is_transcript(text) else as_user(text)), ()
    if not isinstance(prompt, list | tuple):
        raise BadRecord(f"prompt must be a string or a list of turns, not {named(prompt)}")
    return prompt_of(turns_of(prompt, "prompt"), "prompt"), ()


def _answer(record: Record, prompt: Sequence[Turn], column: str) -> str | None:
    if column not in record:
        return None
    answer = answer_to(prompt, record[column], column)
    return answer.strip() if is_transcript(record.get("prompt")) else answer  # a transcript has a space before each turn


def _open(text: str) -> tuple[Turn, ...]:
    """The turns of a transcript that may end with the assistant's name."""
    return transcript(text.rstrip().removesuffix("Assistant:").rstrip(), "prompt")


def _several(record: Record, columns: Sequence[str], before: tuple[str, ...] = ()) -> tuple[str, ...]:
    """All texts of several columns, each once, in order."""
    found = [*before]
    for column in columns:
        if column in record:
            found += strings(record[column], column)
    return tuple(dict.fromkeys(found))


def _pair(record: Record) -> Sample:
    """A pair of conversations that share their prompt."""
    chosen, rejected = (turns_of(record[column], column) for column in ("chosen", "rejected"))
    prompt, better, worse = pair_of(chosen, rejected)
    if better == worse:
        raise BadRecord("chosen and rejected are equal")
    return Sample("", prompt, chosen=better, rejected=worse)


def _category(value: Any) -> str:
    return a_string(str(value) if isinstance(value, int) and not isinstance(value, bool) else value, "category")


def _has_prompt(record: Record) -> bool:
    return "prompt" in record or "messages" in record


def _has_pair(record: Record) -> bool:
    return {"chosen", "rejected"} <= record.keys() and not isinstance(record["chosen"], str)


FORMS: tuple[Form, ...] = (
    *PUBLISHED.values(),
    Form("prompts", "prompt (text or turns) or messages; further system, category, refuse, id, extra", _has_prompt, _own),
    Form("pairs", "prompt, chosen, rejected", _has_prompt, _own),
    Form("references", "prompt, and good or best or correct_answers, bad or incorrect_answers", _has_prompt, _own),
    Form(
        "multiple choice",
        "prompt, choices (in CSV one cell with ; between, or a column each: A, B, ...), answer; or prompt, mc1_targets",
        _has_prompt,
        _own,
    ),
    Form("conversations", "chosen, rejected (lists of turns that differ in the last)", _has_pair, _pair),
)


def described() -> str:
    """All forms, a line each."""
    return "\n".join(f"  {form.name}: {form.columns}" for form in FORMS)
