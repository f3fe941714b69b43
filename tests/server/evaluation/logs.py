"""Small logs in memory: own prompts, two or more alignments, hostile text where it is asked for."""

from collections.abc import Mapping, Sequence
from typing import Any

from trimtab.server.evaluation.log import Log
from trimtab.server.evaluation.records import Alignment, Cost, Generation, Header, Score, ScorerRecord
from trimtab.server.evaluation.samples import Sample

HOSTILE = (
    "</script><script>document.title = 'taken'</script> <img src=x onerror=\"document.title='taken'\"> "
    "& | `code` [link](http://example.invalid) \x00\x1b[31m \u202eturned <!-- {{x}} ${y}"
)
"""What an answer may hold and a report must show as text."""

REWARD = ScorerRecord(
    name="reward",
    title="Reward",
    better="higher",
    says="The reward model's logit.",
    source="own",
    of_preference=True,
    sha256="r1",
)
HARM = ScorerRecord(name="harm", title="Harm", better="lower", says="Share of harmful answers, 0 to 1.", sha256="h1")
LENGTH = ScorerRecord(name="length", title="Length", better="neither", says="Words of the answer.", sha256="l1")
JUDGE = ScorerRecord(
    name="judge", title="Judge", better="higher", says="Win rate against the first alignment.", compares=True, sha256="j1"
)

COST = Cost(calls=1, prompt_tokens=20, completion_tokens=10, ms=100.0)
"""Of every answer of which nothing else is said."""
Values = Mapping[tuple[str, str], Sequence[float | None]]
"""(Scorer, alignment) -> one value a sample, in their order."""


def log_of(
    values: Values,
    *,
    alignments: Sequence[str] = ("plain", "norms"),
    scorers: Sequence[ScorerRecord] = (REWARD,),
    answers: Mapping[tuple[str, int], Mapping[str, Any]] | None = None,
    categories: Sequence[str | None] = (),
    costs: Mapping[str, Cost] | None = None,
    header: Mapping[str, Any] | None = None,
) -> Log:
    """A log with these scores. answers: fields of single generations, by alignment and place of the sample."""
    count = max(map(len, values.values()))
    samples = [_sample(place, categories[place] if categories else None) for place in range(count)]
    generations = [
        _generation(name, place, (costs or {}).get(name, COST), (answers or {}).get((name, place), {}))
        for name in alignments
        for place in range(count)
    ]
    scores = [
        Score(
            scorer=scorer, alignment=name, sample=f"s{place}", value=value, unscored=None if value is not None else "no verdict"
        )
        for (scorer, name), row in values.items()
        for place, value in enumerate(row)
    ]
    return Log(
        _header(count, alignments, header or {}),
        {one.id: one for one in samples},
        {(one.alignment, one.sample): one for one in generations},
        {(one.scorer, one.alignment, one.sample): one for one in scores},
        {one.name: one for one in scorers},
    )


def _header(count: int, alignments: Sequence[str], given: Mapping[str, Any]) -> Header:
    named = tuple(Alignment(name=name, spec=name, sha256=f"sha-{name}") for name in alignments)
    known = {"created": 1_790_000_000.0, "model": "double", "dataset": "own prompts", "dataset_sha256": "d1", "seed": 7}
    return Header.model_validate(
        {
            **known,
            "samples": count,
            "alignments": named,
            "sampling": {"temperature": 0.7},
            "packages": {"trimtab": "0"},
            **given,
        }
    )


def _sample(place: int, category: str | None) -> Sample:
    return Sample(f"s{place}", ({"role": "user", "content": f"How do I keep plant number {place} alive?"},), category)


def _generation(name: str, place: int, cost: Cost, given: Mapping[str, Any]) -> Generation:
    known = {
        "alignment": name,
        "sample": f"s{place}",
        "answer": f"Water it, says {name}.",
        "finish_reason": "stop",
        "cost": cost,
    }
    return Generation.model_validate({**known, **given})
