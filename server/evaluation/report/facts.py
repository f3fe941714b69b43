"""What was compared, in words: the header of a log as a reader wants it."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime

from trimtab.server.evaluation.log import Log
from trimtab.server.evaluation.report.wording import plain
from trimtab.server.evaluation.summary import Summary


def heading(log: Log) -> str:
    """The title of a report."""
    return f"{plain(log.header.model)} on {plain(log.header.dataset)}"


def sentence(log: Log, summary: Summary) -> str:
    """What was done, in a sentence or two."""
    count, first = len(summary.alignments), plain(summary.alignments[0])
    asked = f"{len(log.samples):,} prompt{'s' if len(log.samples) != 1 else ''} with seed {log.header.seed}"
    if count == 1:
        return f"1 alignment, {first}, was asked {asked}."
    return f"{count} alignments were asked the same {asked}; each is held against {first}, prompt by prompt."


def facts(log: Log) -> Iterator[tuple[str, str]]:
    """Name and value of each thing that one would need to do it again."""
    header = log.header
    yield "Model", plain(header.model)
    if header.model_sha256:
        yield "Model SHA-256", header.model_sha256
    if header.merged_from:
        yield "Merged from", "; ".join(map(plain, header.merged_from))
    if header.engine:
        yield "Engine", plain(header.engine)
    yield "Dataset", f"{plain(header.dataset)}, {header.samples:,} samples"
    yield "Dataset SHA-256", header.dataset_sha256
    yield "Seed", str(header.seed)
    yield "Sampling", ", ".join(f"{plain(k)} {plain(json.dumps(v))}" for k, v in header.sampling.items()) or "the model's own"
    yield "Begun", datetime.fromtimestamp(header.created, UTC).strftime("%Y-%m-%d %H:%M UTC")
    yield "Versions", ", ".join(f"{plain(name)} {plain(version)}" for name, version in sorted(header.packages.items()))


def alignments(log: Log) -> Iterator[tuple[str, str, str]]:
    """Name, specification and hash of each alignment."""
    for one in log.header.alignments:
        yield plain(one.name), plain(json.dumps(one.spec, ensure_ascii=False), most=2000), one.sha256
