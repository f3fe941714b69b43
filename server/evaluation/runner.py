"""The run: every sample under every alignment, one request each, and what came of it into the log.

It asks an `Answerer` and knows neither engines nor HTTP. Samples are taken in order, the alignments of one sample next to each
other, so that all alignments meet the same load and their latencies can be compared.
"""

import asyncio
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import Any, Protocol

from trimtab.server.evaluation.log import GenerationKey
from trimtab.server.evaluation.records import Alignment, Cost, Generation, Header
from trimtab.server.evaluation.samples import Sample
from trimtab.server.lines.answer import LineAnswer
from trimtab.server.lines.answering import Answerer
from trimtab.server.lines.offline import OutageWatch
from trimtab.server.lines.request import RequestLine

CONCURRENCY = 16
"""Requests in work at once, where nothing else is said."""
SAME_FOR_ALL = frozenset({401, 403, 404})
"""Statuses that do not depend on the sample."""


class RunError(Exception):
    """A run ends early: what a request met, every other would meet too."""


class Sink(Protocol):
    """Where answers go."""

    def add(self, record: Generation) -> None:
        """Keep an answer."""
        ...


def sample_seed(seed: int, sample: str) -> int:
    """The seed of every request about a sample, in [0, 2**31): the same under each alignment."""
    return int.from_bytes(hashlib.sha256(f"{seed}:sample:{sample}".encode()).digest()[:4], "big") >> 1


def request_of(header: Header, alignment: Alignment, sample: Sample, number: int = 1) -> RequestLine:
    """The request for an answer. It names its strategy, `plain` too, and wants no other answer where a step fails.

    A server may have defaults of its own for both.
    """
    body = {
        "model": header.model,
        "messages": [dict(turn) for turn in sample.messages],
        "seed": sample_seed(header.seed, sample.id),
        **header.sampling,
        "alignment": {"strategy": alignment.spec, "on_error": "closed", "trace": "full"},
    }
    return RequestLine(number, f"{alignment.name}/{sample.id}", "/v1/chat/completions", body)


async def generate(
    header: Header,
    samples: Sequence[Sample],
    answerer: Answerer,
    sink: Sink,
    *,
    done: Set[GenerationKey] = frozenset(),
    concurrency: int = CONCURRENCY,
    tell: Callable[[Generation], None] = lambda _: None,
) -> int:
    """Ask for every answer that is not `done` and keep it in the sink; how many were asked for.

    A failed request is a generation with its error. tell: called with each as it is kept.
    Raises RunError for a failure that every request would meet (a wrong key, an unknown model, a strategy that cannot run), and
    Outage where many in a row meet no server.
    """
    work, watch = _work(header, samples, done), OutageWatch()
    asked = 0

    async def worker() -> None:
        nonlocal asked
        for alignment, sample in work:
            asked += 1
            line = request_of(header, alignment, sample, asked)
            answer = await answerer.answer(line)
            generation = generation_of(answer, alignment.name, sample.id, seed=line.body["seed"])
            sink.add(generation)
            tell(generation)
            _check_hopeful(answer, alignment)
            watch.see(answer)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(worker())
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return asked


def _work(header: Header, samples: Sequence[Sample], done: Set[GenerationKey]) -> Iterator[tuple[Alignment, Sample]]:
    """What is left to ask, sample by sample."""
    for sample in samples:
        for alignment in header.alignments:
            if (alignment.name, sample.id) not in done:
                yield alignment, sample


def generation_of(answer: LineAnswer, alignment: str, sample: str, *, seed: int | None = None) -> Generation:
    """What is written down of an answer."""
    if not answer.ok or answer.body is None:
        return Generation(
            alignment=alignment, sample=sample, answer=None, error=_told(answer), cost=Cost(ms=answer.ms), seed=seed
        )
    choice = (answer.body.get("choices") or [{}])[0]
    message = choice.get("message") or {}
    text = message.get("content") if message.get("content") is not None else message.get("refusal")
    explained = answer.body.get("alignment")
    return Generation(
        alignment=alignment,
        sample=sample,
        answer=text if isinstance(text, str) else None,
        finish_reason=choice.get("finish_reason"),
        error=None if isinstance(text, str) else "the answer holds no text",
        status=explained.get("status") if explained else None,
        cost=cost_of(answer.body, answer.ms),
        trace=explained,
        seed=seed,
    )


def cost_of(body: Mapping[str, Any], ms: float) -> Cost:
    """What an answer took: of all calls behind it where it tells, else of the one there was."""
    used = (body.get("alignment") or {}).get("usage")
    total = _counts(body.get("usage") or {}, calls=1)
    if used is None:
        return Cost(**total, by_role={"policy": total}, ms=ms)
    by_role = {role: _counts(counts, calls=counts.get("calls") or 0) for role, counts in used["by_role"].items()}
    sums = {name: sum(counts[name] for counts in by_role.values()) for name in total}
    return Cost(**sums, by_role=by_role, ms=ms)


def _counts(usage: Mapping[str, Any], *, calls: int) -> dict[str, int]:
    return {
        "calls": calls,
        "prompt_tokens": usage.get("prompt_tokens") or 0,
        "completion_tokens": usage.get("completion_tokens") or 0,
    }


def _told(answer: LineAnswer) -> str:
    """Why there is no answer, in a line."""
    error = answer.error or (answer.body or {}).get("error") or {}
    status = f"{answer.status} " if answer.status else ""
    return f"{status}{error.get('code') or 'error'}: {error.get('message') or 'no message'}"


def _check_hopeful(answer: LineAnswer, alignment: Alignment) -> None:
    """Raise RunError for an answer that says that no other will be better."""
    param = ((answer.body or {}).get("error") or {}).get("param") or ""
    if answer.status in SAME_FOR_ALL or (answer.status == 400 and str(param).startswith("alignment")):
        raise RunError(f"{alignment.name}: {_told(answer)}")
