"""The smallest logs: two alignments, samples of a word."""

from collections.abc import Sequence

from trimtab.server.evaluation.log import Log
from trimtab.server.evaluation.records import Alignment, Generation, Header
from trimtab.server.evaluation.samples import Sample

PLAIN, OTHER = Alignment(name="plain", spec="plain"), Alignment(name="value_prompt", spec="value_prompt")


def sample(name: str, prompt: str = "hello") -> Sample:
    return Sample(name, ({"role": "user", "content": prompt},))


def header(samples: int = 2, *, alignments: Sequence[Alignment] = (PLAIN, OTHER), **changes: object) -> Header:
    given: dict[str, object] = {
        "created": 1.0,
        "model": "double",
        "dataset": "own.jsonl",
        "dataset_sha256": "0" * 64,
        "samples": samples,
        "seed": 0,
        "sampling": {"max_tokens": 16},
        "alignments": tuple(alignments),
    }
    return Header.model_validate({**given, **changes})


def generation(alignment: str, sample: str, answer: str | None = "words", *, error: str | None = None) -> Generation:
    return Generation(alignment=alignment, sample=sample, answer=None if error else answer, error=error)


def log_of(
    *generations: Generation,
    samples: Sequence[Sample] = (sample("a"), sample("b")),
    alignments: Sequence[Alignment] = (PLAIN, OTHER),
) -> Log:
    return Log(
        header(len(samples), alignments=alignments),
        {one.id: one for one in samples},
        {(one.alignment, one.sample): one for one in generations},
    )
