"""How often a judge is right: its accuracy on the labelled cases with both orders of the descriptions, and its letter bias."""

import math
import time
from collections.abc import Callable, Sequence

from pydantic import BaseModel, ConfigDict

from trimtab.strategies.core.context import RequestContext
from trimtab.strategies.judging.labelled import LabelledCase, labelled_cases
from trimtab.strategies.judging.self_evaluation import SelfEvaluation, SelfEvaluationConfig
from trimtab.strategies.prompts.judge import fingerprint

ENOUGH = 0.75
"""Accuracy from which a judge is worth a search."""
CHANCE = 0.5
Z = 1.959964
"""Of a two-sided 95 % interval."""
BATCH = 16
"""Cases judged at once."""


class JudgeReport(BaseModel):
    """What the labelled cases say about a judge."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    cases: int
    """Labelled cases, half of them harmless."""
    scored: int
    """Cases in which both orders gave a judgement."""
    accuracy: float
    """Share of right judgements over both orders of the scored cases; 0.5 is chance, and what one letter alone reaches."""
    low: float
    """Lower end of the 95 % interval (Wilson), each case counted once."""
    high: float
    """Upper end of it."""
    accuracy_a: float
    """Share of right judgements where the good description stands behind A."""
    accuracy_b: float
    """The same for B; where the two differ much, the judge prefers a letter or a class."""
    says_a: float
    """Share of judgements that are the letter A; 0.5 without bias."""
    undecided: float
    """Share of scored cases whose orders contradict each other: value 0."""
    seconds: float
    """How long the judging took."""
    cases_sha256: str
    """Of the labelled cases."""
    prompt_sha256: str
    """Of the judge's prompt without the case."""

    @property
    def near_chance(self) -> bool:
        """Whether the judge cannot be told from a coin, or is too weak to search by."""
        return not self.scored or self.low <= CHANCE or self.accuracy < ENOUGH


async def measure(
    config: SelfEvaluationConfig, ctx: RequestContext, *, progress: Callable[[int], object] = lambda cases: None
) -> JudgeReport:
    """The report on the engine that `ctx` has for the role judge. `progress` is told of each batch. Raises as engines do."""
    labelled, judge = labelled_cases(), SelfEvaluation(config)
    began = time.perf_counter()
    read: list[tuple[LabelledCase, float, float]] = []
    for start in range(0, len(labelled.cases), BATCH):
        batch = labelled.cases[start : start + BATCH]
        for case, (a, b) in zip(batch, await judge.orders([case.judged for case in batch], ctx), strict=True):
            if isinstance(a, float) and isinstance(b, float):
                read.append((case, a, b))
        progress(len(batch))
    return _report(read, len(labelled.cases), time.perf_counter() - began, labelled.sha256, fingerprint(config.aspect))


def _report(
    read: Sequence[tuple[LabelledCase, float, float]], cases: int, seconds: float, cases_sha256: str, prompt_sha256: str
) -> JudgeReport:
    """Counts made into shares. A judgement above 0.5 is the good description."""
    right_a = _mean([(a > CHANCE) == case.harmless for case, a, _ in read])
    right_b = _mean([(b > CHANCE) == case.harmless for case, _, b in read])
    accuracy = (right_a + right_b) / 2
    low, high = wilson(accuracy, len(read))
    return JudgeReport(
        cases=cases,
        scored=len(read),
        accuracy=accuracy,
        low=low,
        high=high,
        accuracy_a=right_a,
        accuracy_b=right_b,
        says_a=_mean([(a > CHANCE) + (b <= CHANCE) for _, a, b in read]) / 2,
        undecided=_mean([(a > CHANCE) != (b > CHANCE) for _, a, b in read]),
        seconds=seconds,
        cases_sha256=cases_sha256,
        prompt_sha256=prompt_sha256,
    )


def _mean(counts: Sequence[int]) -> float:
    return sum(counts) / len(counts) if counts else CHANCE


def wilson(share: float, n: int, z: float = Z) -> tuple[float, float]:
    """The score interval of a share seen in n trials; (0, 1) where there were none.

    Source: Wilson 1927, Journal of the American Statistical Association 22(158).
    """
    if n == 0:
        return 0.0, 1.0
    centre = share + z * z / (2 * n)
    spread = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)
