"""How likely the model finds good text under an alignment: what of its ability an alignment costs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trimtab.server.evaluation.records import Alignment
from trimtab.server.evaluation.samples import Sample
from trimtab.server.evaluation.scorers.asking import AT_ONCE, each, number
from trimtab.server.evaluation.scorers.base import About, Item, Likelihood, Likelihoods, Undefined, Verdict

ABOUT = About(
    name="perplexity",
    title="Loss on references",
    better="lower",
    says=(
        "Mean negative log-likelihood of a token of the reference answer (or raw text), in nats, 0 or more; its exponential, "
        "the perplexity, stands beside it. The difference from the unaligned model is the alignment's tax. Alignments that "
        "search or revise are unscored, and only one model's values can be compared."
    ),
    of_policy=True,
)


@dataclass(frozen=True, slots=True)
class Perplexity:
    """Scores the first good reference, else the chosen answer, after the shaped prompt; raw text where there is no prompt."""

    likelihoods: Likelihoods
    at_once: int = AT_ONCE

    @property
    def about(self) -> About:
        """What it measures."""
        return ABOUT

    async def score(self, items: Sequence[Item]) -> Sequence[Verdict]:
        """One verdict an item, in order."""
        return await each(items, self._verdict, at_once=self.at_once)

    def summary(self, items: Sequence[Item], verdicts: Sequence[Verdict]) -> Mapping[str, float]:
        """perplexity: of all tokens together. tokens: how many."""
        scored = [verdict.details for verdict in verdicts if verdict.value is not None]
        tokens = sum(details["tokens"] for details in scored)
        if not tokens:
            return {}
        loss = -sum(details["logp"] for details in scored) / tokens
        return {"perplexity": math.exp(min(loss, 700.0)), "tokens": float(tokens)}

    async def _verdict(self, item: Item) -> Verdict:
        reference = reference_of(item.sample)
        if reference is None:
            return Verdict(None, "the sample has no reference answer (good or chosen)")
        found = await self._likelihood(item, reference)
        if not found.tokens:
            return Verdict(None, "the reference is too short: no token of it has a likelihood")
        return number(-found.logp / found.tokens, {"logp": found.logp, "tokens": found.tokens})

    async def _likelihood(self, item: Item, reference: str) -> Likelihood:
        if item.sample.messages:
            (found,) = await self.likelihoods.logps(item.alignment, item.sample.messages, [reference])
            return found
        if not is_plain(item.alignment):
            raise Undefined(f"raw text has no prompt that {item.alignment.name} could shape")
        (found,) = await self.likelihoods.text_logps([reference])
        return found


def reference_of(sample: Sample) -> str | None:
    """The text to find likely."""
    return sample.good[0] if sample.good else sample.chosen


def is_plain(alignment: Alignment) -> bool:
    """Whether an alignment says by its spec that it does nothing."""
    return alignment.spec in (None, "plain", [], ["plain"], {"kind": "plain"}, [{"kind": "plain"}])
