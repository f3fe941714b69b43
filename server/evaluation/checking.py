"""Checks of a given text: what scorers say of it, and which rules of a corpus it keeps. Nothing is generated."""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trimtab.retrieval.documents import Filter, Hit
from trimtab.server.api.schemas.check import CheckRequest, NormsToCheck, check_size
from trimtab.server.evaluation.catalogue import CATALOGUE, ENTRIES, Materials
from trimtab.server.evaluation.norm_reading import Case, Kept, read_rules
from trimtab.server.evaluation.records import Alignment, Generation
from trimtab.server.evaluation.samples import Sample
from trimtab.server.evaluation.scorers.base import Item, Scorer, Verdict
from trimtab.server.evaluation.scorers.reward import Reward
from trimtab.server.evaluation.scoring import NOT_FINITE
from trimtab.server.exchange import Principal
from trimtab.server.models import ServedModel
from trimtab.server.service import Service
from trimtab.server.wire import new_id, usage_object
from trimtab.strategies.core.budget import Budget
from trimtab.strategies.core.context import RequestContext, Step, Trace
from trimtab.strategies.core.engine import Call, Params, Ports, ScoresPort
from trimtab.strategies.core.errors import MissingCapability, RequestRefused
from trimtab.strategies.core.messages import Conversation, Usage
from trimtab.strategies.shaping.retrieving import today

Wire = dict[str, Any]
COMPARING = frozenset({"judge"})
"""Scorers that need a second answer."""
CHECKABLE = tuple(entry.name for entry in ENTRIES if not entry.wants and entry.name not in COMPARING)
"""Scorers that need nothing but the text and what was said before it."""
DEFAULT = ("toxicity", "refusal", "reward")
GIVEN = Alignment(name="given", spec="plain")


async def check(service: Service, request: CheckRequest, principal: Principal) -> Wire:
    """What a text is worth, as the wire of `/v1/alignment/check` has it.

    Raises RequestRefused for a scorer that cannot work here, naming those that can; CorpusNotFound, ModelNotFound,
    StrategyNotAllowed; and EngineUnavailable where an engine is gone.
    """
    check_size(request, service.settings.limits)
    names = scorers_of(service, request)
    reader = _reader(service, request, principal)
    ctx = _context(service, reader)
    scores = [await _scored(name, request, ctx) for name in names]
    norms = await _norms(service, request, request.norms, ctx) if request.norms is not None else []
    cautions = [service.judge_cautions.get(reader.id)] if reader is not None and norms else []
    return {
        "object": "alignment.check",
        "id": ctx.request_id,
        "scores": scores,
        "norms": norms,
        "usage": _usage(ctx),
        "warnings": [*filter(None, cautions), *ctx.trace.warnings],
    }


def scorers_of(service: Service, request: CheckRequest) -> tuple[str, ...]:
    """The scorers of a check. Raises RequestRefused for one that is unknown or cannot work here."""
    if request.scorers is None:
        return () if request.norms is not None else tuple(name for name in DEFAULT if _obstacle(name, service, request) is None)
    for place, name in enumerate(request.scorers):
        if (obstacle := _obstacle(name, service, request)) is not None:
            possible = ", ".join(one for one in CHECKABLE if _obstacle(one, service, request) is None)
            raise RequestRefused(f"{obstacle}. Possible here: {possible}", param=f"scorers.{place}")
    return tuple(request.scorers)


def _obstacle(name: str, service: Service, request: CheckRequest) -> str | None:
    """Why a scorer cannot check this text here; None where it can."""
    if name not in CATALOGUE:
        near = difflib.get_close_matches(name[:200], CATALOGUE, n=1)
        return f"there is no scorer {name[:200]!r}{f', did you mean {near[0]!r}?' if near else ''}"
    if name in COMPARING:
        return f"{name} compares two answers, and a check has one"
    if CATALOGUE[name].wants:
        return f"{name} needs more than a text: {CATALOGUE[name].wants}"
    if name != "reward":
        return None
    if not any(turn["role"] == "user" for turn in request.before):
        return "reward scores an answer to somebody: give `messages` with a user turn before it"
    engine = service.roles.get("reward")
    if engine is None:
        return "reward needs an engine for the role 'reward', and none is configured"
    return None if engine.ports.scores is not None else "reward needs a scoring model, and the role 'reward' has none"


def _reader(service: Service, request: CheckRequest, principal: Principal) -> ServedModel | None:
    """The model, where it may be asked. Raises ModelNotFound, and StrategyNotAllowed for a key that may not use it."""
    if request.norms is None or request.norms.judge == "none":
        return None
    return service.model(request.model, principal)


def _context(service: Service, reader: ServedModel | None) -> RequestContext:
    """Who may be asked, and where it is counted."""
    name = new_id("check")
    engines: dict[str, Ports] = {role: engine.ports for role, engine in service.roles.items()}
    if reader is not None:
        engines["policy"] = reader.ports
    return RequestContext(name, engines, Params(), Budget(), Trace(name, "none"), Step("check", "scorer"))


async def _scored(name: str, request: CheckRequest, ctx: RequestContext) -> Wire:
    scorer = _built(name, ctx)
    item = Item(Sample("given", request.before), GIVEN, Generation(alignment=GIVEN.name, sample="given", answer=request.answer))
    (verdict,) = await scorer.score([item])
    verdict = verdict if verdict.value is None or math.isfinite(verdict.value) else Verdict(None, NOT_FINITE)
    return {
        "scorer": name,
        "value": verdict.value,
        "better": scorer.about.better,
        "unscored": verdict.unscored,
        "details": dict(verdict.details),
        "says": scorer.about.says,
    }


def _built(name: str, ctx: RequestContext) -> Scorer:
    """The scorer as an evaluation has it; what it asks is counted in this request, and goes before batches."""
    if name != "reward":
        return CATALOGUE[name].build(Materials(()))
    port = ctx.engine("reward").scores
    if port is None:
        raise MissingCapability("the engine of the role 'reward' gives no scores", param="scorers")
    return Reward(_Rewards(port, ctx.call("reward")))


@dataclass(frozen=True, slots=True)
class _Rewards:
    """A reward model, asked for this request."""

    port: ScoresPort
    call: Call

    async def score(self, conversations: Sequence[Sequence[Mapping[str, Any]]]) -> Sequence[float]:
        return await self.port.score([Conversation.from_wire(turns) for turns in conversations], self.call)


async def _norms(service: Service, request: CheckRequest, norms: NormsToCheck, ctx: RequestContext) -> list[Wire]:
    """The rules nearest to the text, and whether it keeps them."""
    hits = await _nearest(service, request, norms)
    if norms.judge == "none":
        return [_hit(hit, None) for hit in hits]
    case = Case(request.question, request.answer)
    read = await read_rules([hit.text for hit in hits], case, ctx, role=norms.judge)
    return [_hit(hit, kept) for hit, kept in zip(hits, read, strict=True)]


async def _nearest(service: Service, request: CheckRequest, norms: NormsToCheck) -> Sequence[Hit]:
    """Rules that hold today, the most similar first. The text stands before the question: encoders read the beginning."""
    if service.corpora is None:
        raise MissingCapability("this server keeps no corpora", param="norms.corpus")
    query, valid = "\n".join(filter(None, (request.answer, request.question))), Filter(valid_on=today())
    return await service.corpora.read(
        lambda library: library.open(norms.corpus).search(query, norms.k, where=valid), param="norms.corpus"
    )


def _hit(hit: Hit, read: Kept | None) -> Wire:
    told: Wire = {"id": hit.document.id, "text": hit.text, "score": round(hit.score, 4)}
    return told if read is None else {**told, "kept": read.kept, "probability": read.probability, "unscored": read.unscored}


def _usage(ctx: RequestContext) -> Wire:
    """Tokens and calls of all that was asked."""
    meters = ctx.step.meters
    total = sum((meter.usage for meter in meters.values()), Usage())
    return {**usage_object(total), "calls": sum(meter.calls for meter in meters.values())}
