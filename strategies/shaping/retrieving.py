"""What the shapers that retrieve have in common: which corpus, by what query, which documents may come, what if none does."""

import time
from datetime import UTC, date, datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from trimtab.retrieval.documents import Filter, Hit
from trimtab.strategies.core.config import StrategyConfig
from trimtab.strategies.core.context import RequestContext
from trimtab.strategies.core.errors import ConfigError, MissingCapability
from trimtab.strategies.core.messages import Conversation, Prompt
from trimtab.strategies.core.metering import in_time

CorpusName = Annotated[str, StringConstraints(min_length=1, max_length=200)]
QueryScope = Literal["last", "conversation"]


class RetrievingConfig(StrategyConfig):
    """Parameters of a shaper that retrieves."""

    corpus: CorpusName
    """Name of the corpus."""
    query: QueryScope = "last"
    """last: documents are looked up by what the user said last; conversation: by all that was said, the latest first."""
    filter: Filter = Field(default_factory=Filter)
    """Which documents may be used: jurisdiction, tags, validity, least trust, ids."""
    validity: Literal["today", "any"] = "today"
    """today: documents whose `valid_from` or `valid_until` leave out today (UTC) are not used, unless the filter has a day."""
    on_empty: Literal["skip", "error"] = "skip"
    """What happens where the corpus has nothing to offer: the prompt stays as it is, with a warning, or the request fails."""


def query_of(prompt: Prompt, scope: QueryScope) -> str:
    """What documents are looked up by: the user's own words, never what a strategy rendered of them."""
    asked = prompt.original if isinstance(prompt, Conversation) else prompt.asked
    messages = asked.messages if asked else ()
    said = [message.text for message in reversed(messages) if message.role in {"user", "assistant"} and message.text.strip()]
    last = [message.text for message in reversed(messages) if message.role == "user" and message.text.strip()]
    return "\n".join(said) if scope == "conversation" else next(iter(last or said), "")


async def search(
    config: RetrievingConfig, query: str, k: int, ctx: RequestContext, *, where: Filter | None = None
) -> list[Hit]:
    """At most `k` passages, most similar first, that are valid now.

    where: in place of the configuration's filter. Raises CorpusNotFound, DeadlineExceeded, and MissingCapability on a server
    without corpora.
    """
    if ctx.corpora is None:
        raise MissingCapability(f"{config.kind} reads the corpus {config.corpus!r}, and this server keeps no corpora")
    chosen = where or config.filter
    begin = time.perf_counter()
    found = ctx.corpora.search(config.corpus, query, k, where=None if chosen.is_empty else chosen)
    hits = await in_time(found, ctx.budget)
    ctx.step.note(corpus=config.corpus, retrieval_ms=round(1000 * (time.perf_counter() - begin), 3))
    if config.validity == "any" or chosen.valid_on is not None:
        return list(hits)
    now = Filter(valid_on=today())
    return [hit for hit in hits if now.admits(hit.document)]


def today() -> date:
    """The day in UTC."""
    return datetime.now(UTC).date()


async def leave_out(config: RetrievingConfig, ctx: RequestContext) -> None:
    """Record that the corpus had nothing to offer. Raises ConfigError where that is an error."""
    size = await ctx.corpora.size(config.corpus) if ctx.corpora else 0
    state = "is empty" if size == 0 else "has nothing that qualifies for this request"
    told = f"the corpus {config.corpus!r} {state}"
    if config.on_empty == "error":
        raise ConfigError(f"{config.kind}: {told}", code="empty_corpus")
    ctx.trace.warn(f"{config.kind}: {told}, so the prompt stays as it was")
    ctx.step.skip("empty corpus" if size == 0 else "nothing qualifies")
