"""Answers to score."""

from collections.abc import Sequence

from trimtab.server.evaluation.records import Alignment, Generation
from trimtab.server.evaluation.samples import Sample
from trimtab.server.evaluation.scorers.base import Item, Scorer, Verdict

PLAIN = Alignment(name="plain", spec="plain")


def item(answer: str | None, *, good: tuple[str, ...] = (), bad: tuple[str, ...] = (), refuse: bool | None = None) -> Item:
    sample = Sample("s", ({"role": "user", "content": "How do I keep basil alive?"},), good=good, bad=bad, refuse=refuse)
    return Item(sample, PLAIN, Generation(alignment="plain", sample="s", answer=answer))


async def verdict(scorer: Scorer, one: Item) -> Verdict:
    (judged,) = await scorer.score([one])
    return judged


async def values(scorer: Scorer, items: Sequence[Item]) -> list[float | None]:
    return [one.value for one in await scorer.score(items)]
