"""The samples that a page carries for its browser, as JSON that a script element can hold.

Answers are hostile text: nothing of them may end the element, so `<` never stands in it. What is left out for size is said.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from trimtab.server.evaluation.log import Log
from trimtab.server.evaluation.records import Generation
from trimtab.server.evaluation.report.json import finite
from trimtab.server.evaluation.samples import Sample

MOST_ANSWERS = 2_000
"""Of a page, all alignments together."""
MOST_CHARS = 24_000_000
"""Of a page's samples."""
TEXT_CHARS = 20_000
"""Of one answer or turn; the log has the rest."""
TRACE_CHARS = 16_000
"""Of one trace, or of one scorer's details."""
MEMBER_CHARS = 3_000
"""Of one member of a step, in a trace that is too long."""


def embedded(log: Log) -> str:
    """The browser's data: `alignments`, `scorers`, `samples` and `total`, which counts also those left out."""
    alignments = tuple(one.name for one in log.header.alignments)
    wire = {
        "alignments": alignments,
        "scorers": [
            {"name": one.name, "title": one.title, "better": one.better, "compares": one.compares}
            for one in log.scorers.values()
        ],
        "total": len(log.samples),
    }
    samples = ",".join(_within(log, max(1, MOST_ANSWERS // len(alignments))))
    return f'{_safe(wire)[:-1]},"samples":[{samples}]}}'


def _within(log: Log, most: int) -> Iterator[str]:
    """The first samples, until there are as many as a page may hold."""
    size = 0
    for place, sample in enumerate(log.samples.values()):
        text = _safe(_sample(log, sample))
        size += len(text)
        if place and (place >= most or size > MOST_CHARS):
            return
        yield text


def _safe(value: Any) -> str:
    """JSON without the characters that mean something to HTML."""
    try:
        text = _json(value)
    except ValueError:
        text = _json(finite(value))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _json(value: Any) -> str:
    """JSON of ASCII alone. Raises ValueError where a number is not finite."""
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"), default=str)


def _sample(log: Log, sample: Sample) -> dict[str, Any]:
    references = {"chosen": sample.chosen, "rejected": sample.rejected, "good": sample.good, "bad": sample.bad}
    known = {**references, "choices": sample.choices, "correct": sample.correct, "refuse": sample.refuse}
    return {
        "id": sample.id,
        "category": sample.category,
        "messages": [{"role": str(turn.get("role")), "content": _turn(turn.get("content"))} for turn in sample.messages],
        "known": {name: _cut_deep(value) for name, value in known.items() if value not in (None, ())},
        "answers": [_answer(log, one.name, sample.id) for one in log.header.alignments],
    }


def _answer(log: Log, alignment: str, sample: str) -> dict[str, Any] | None:
    one = log.generations.get((alignment, sample))
    return None if one is None else {**_told(one), "scores": _scores(log, alignment, sample)}


def _told(one: Generation) -> dict[str, Any]:
    """An answer with how it came about; what is empty is left out."""
    told = {
        "answer": None if one.answer is None else _cut(one.answer),
        "error": None if one.error is None else _cut(one.error),
        "finish": one.finish_reason,
        "status": one.status,
        "calls": one.cost.calls,
        "tokens": [one.cost.prompt_tokens, one.cost.completion_tokens],
        "ms": round(one.cost.ms, 1),
        "trace": None if one.trace is None else _trace(one.trace),
    }
    return {name: value for name, value in told.items() if value is not None}


def _scores(log: Log, alignment: str, sample: str) -> list[list[Any] | None]:
    """One a scorer: value, why there is none, details."""
    found = (log.scores.get((scorer, alignment, sample)) for scorer in log.scorers)
    return [None if one is None else [one.value, one.unscored, _short(one.details)] for one in found]


def _trace(trace: Mapping[str, Any]) -> Any:
    """The trace; in one that is too long, the long members of its steps are left out, or all of it."""
    if _size(trace) <= TRACE_CHARS:
        return trace
    steps = [
        {name: _left_out(value) if _size(value) > MEMBER_CHARS else value for name, value in step.items()}
        for step in trace.get("steps") or ()
        if isinstance(step, dict)
    ]
    return _short({**trace, "steps": steps})


def _short(value: Any) -> Any:
    return value if _size(value) <= TRACE_CHARS else _left_out(value)


def _left_out(value: Any) -> str:
    return f"({_size(value):,} characters are left out; the log has them)"


def _size(value: Any) -> int:
    return len(json.dumps(value, default=str))


def _turn(content: Any) -> str:
    return _cut(content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, default=str))


def _cut_deep(value: Any) -> Any:
    return _cut(value) if isinstance(value, str) else [_cut_deep(one) for one in value] if isinstance(value, tuple) else value


def _cut(text: str) -> str:
    return (
        text
        if len(text) <= TEXT_CHARS
        else f"{text[:TEXT_CHARS]}\n({len(text) - TEXT_CHARS:,} more characters; the log has them)"
    )
