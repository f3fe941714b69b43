"""OPO: rules that bear on a question are retrieved and stated with it; whoever edits the corpus edits the norms."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, StringConstraints

from trimtab.retrieval.documents import Filter, Hit
from trimtab.strategies.core.config import RoleName
from trimtab.strategies.core.context import RequestContext
from trimtab.strategies.core.errors import MissingCapability
from trimtab.strategies.core.messages import Conversation, Prompt
from trimtab.strategies.prompts.norms import as_quoted
from trimtab.strategies.shaping.fitting import Fitted, Overflow, fit
from trimtab.strategies.shaping.retrieving import RetrievingConfig, leave_out, nothing_found, query_of, search, timed

EVERYWHERE = "nationwide"
"""Jurisdiction of rules that hold in every place."""

Place = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
DocumentId = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class NormsConfig(RetrievingConfig):
    """States the rules of a corpus that bear on the question, and cites them in the trace."""

    kind: Literal["norms"] = "norms"
    corpus: Annotated[str, StringConstraints(min_length=1, max_length=200)] = "default-norms"
    """Name of the corpus of rules."""
    budget_tokens: int = Field(default=1000, ge=1, le=32_000)
    """The rules together have fewer tokens than this, in the policy's own."""
    max_k: int = Field(default=200, ge=1, le=1000)
    """Most rules that are looked at."""
    overflow: Overflow = "stop"
    """What the first rule that does not fit does: ends the list (the paper), or is passed over for shorter ones behind it."""
    min_similarity: float = Field(default=-1.0, ge=-1.0, le=1.0)
    """Least cosine similarity of a rule and the query; the paper knows none."""
    places: tuple[Place, ...] = Field(default=(), max_length=1000)
    """Names of jurisdictions that are looked for in the query, as whole words: only rules of those that it names, of
    `nationwide`, and rules without a jurisdiction qualify. Without any the filter alone decides."""
    documents: tuple[DocumentId, ...] = Field(default=(), max_length=1000)
    """Exactly these documents, whole, most similar first, in place of what is found (the paper's oracle condition)."""
    caution: bool = False
    """Adds that the rules may not bear on the question (the paper's optional note)."""

    role: ClassVar[RoleName] = "shaper"
    source: ClassVar[str] = "Xu et al. 2023, arXiv 2312.15907, section 3"

    def locked(self) -> Self:
        """Without a floor under similarity, unless the operator set one: a question far from every rule would leave all out."""
        return self if "min_similarity" in self.model_fields_set else self.model_copy(update={"min_similarity": -1.0})

    def build(self) -> "Norms":
        """The shaper."""
        return Norms(self)


@dataclass(frozen=True, slots=True)
class Norms:
    """States retrieved rules in the system turn, behind the caller's own system text, quoted as data.

    Source: Xu et al. 2023, arXiv 2312.15907, section 3 (retrieval_token_max 1000, retrieval_doc_num 200, first overflow stops).
    Deviation: rules are separated, numbered and quoted line by line, which the budget does not count (released: joined with no
    separator, unquoted); they stand in the system turn, so that they hold over a conversation; cosine similarity in place of
    L2 over text-embedding-ada-002; expired rules are left out.
    """

    config: NormsConfig

    async def shape(self, prompt: Prompt, ctx: RequestContext) -> Prompt:
        """The conversation with the rules in its system turn; unchanged where no rule qualifies or fits."""
        if not isinstance(prompt, Conversation):
            raise MissingCapability("norms works on conversations, not on raw prompts")
        with timed(ctx):
            hits = await self._ranked(query_of(prompt, self.config.query), ctx)
            texts, room = [self._rule(hit) for hit in hits], self.config.budget_tokens - 1
            fitted = await fit(texts, ctx, room=room, overflow=self.config.overflow)
        if not hits:
            await nothing_found(self.config, ctx)
            return prompt
        used = [hits[place] for place in fitted.kept]
        self._tell(hits, used, fitted, ctx)
        if not used:
            return prompt
        rules = as_quoted([texts[place] for place in fitted.kept], caution=self.config.caution)
        ctx.step.note_full(system=rules)
        return prompt.with_system(after=rules)

    def _rule(self, hit: Hit) -> str:
        """What is stated: the passage that was found, of a document that was named the whole."""
        return hit.document.text if self.config.documents else hit.text

    async def _ranked(self, query: str, ctx: RequestContext) -> list[Hit]:
        """The rules that qualify, most similar first."""
        k = self.config.max_k
        hits = await search(self.config, query, k, ctx, where=self._filter(query))
        if self.config.documents:
            absent = set(self.config.documents) - {hit.document.id for hit in hits}
            for name in sorted(absent)[:10]:
                ctx.trace.warn(f"norms: the corpus {self.config.corpus!r} has no document {name[:100]!r} that qualifies")
        return [hit for hit in hits if hit.score >= self.config.min_similarity or self.config.documents]

    def _filter(self, query: str) -> Filter:
        """Which rules qualify for this query."""
        chosen = self.config.filter
        if self.config.documents:
            chosen = chosen.model_copy(update={"ids": self.config.documents})
        if self.config.places:
            named = tuple(place for place in self.config.places if is_named(place, query))
            chosen = chosen.model_copy(update={"jurisdiction": (EVERYWHERE, *named)})
        return chosen

    def _tell(self, hits: Sequence[Hit], used: Sequence[Hit], fitted: Fitted, ctx: RequestContext) -> None:
        """Cite the rules in the trace, and warn where none fitted."""
        cited = [
            {"id": hit.document.id, "chunk": hit.chunk, "score": round(hit.score, 4), "tokens": tokens}
            for hit, tokens in zip(used, fitted.counts, strict=True)
        ]
        ctx.step.note(rules=cited, rule_tokens=fitted.total, found=len(hits))
        if not fitted.exact:
            ctx.step.note(tokens="estimated: this engine shows no tokenizer")
        if used or fitted.overflow is None:
            return
        place, tokens = fitted.overflow
        rule = f"the rule {hits[place].document.id!r} alone has {tokens} tokens"
        leave_out(self.config, ctx, f"{rule}, and budget_tokens is {self.config.budget_tokens}", "no rule fits the budget")


def is_named(place: str, query: str) -> bool:
    """Whether a query names a place, not inside another word; scripts without spaces have no such borders."""
    before = r"(?<![A-Za-z0-9])" if place[0].isascii() else ""
    after = r"(?![A-Za-z0-9])" if place[-1].isascii() else ""
    return re.search(f"{before}{re.escape(place)}{after}", query, re.IGNORECASE) is not None
