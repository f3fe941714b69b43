"""Which scorers a run uses, what identifies each, and what they dropped of a log."""

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from trimtab.server.evaluation.catalogue import CATALOGUE, ENTRIES, Entry, Materials
from trimtab.server.evaluation.identity import prompts_sha256, role_sha256
from trimtab.server.evaluation.log import Log
from trimtab.server.evaluation.records import ScorerRecord
from trimtab.server.evaluation.samples import Sample
from trimtab.server.evaluation.scorers.base import Scorer, ScorerError
from trimtab.server.evaluation.scoring import Dropped, dropped, everywhere
from trimtab.server.settings import Spec
from trimtab.strategies.config import parse_spec
from trimtab.strategies.core.errors import ConfigError
from trimtab.strategies.pipeline import Pipeline


@dataclass(frozen=True, slots=True)
class Chosen:
    """Scorers that can work, and why others cannot that would have been chosen."""

    scorers: tuple[Scorer, ...]
    fingerprints: Mapping[str, str]
    """Name -> hash of what its numbers depend on."""
    left_out: tuple[str, ...] = ()


def check_names(names: Sequence[str]) -> None:
    """Raise ScorerError for a name that no scorer has, or that comes twice."""
    for place, name in enumerate(names):
        if name not in CATALOGUE:
            near = difflib.get_close_matches(name[:200], CATALOGUE, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise ScorerError(f"unknown scorer {name[:200]!r}{hint} Known: {', '.join(CATALOGUE)}")
        if name in names[:place]:
            raise ScorerError(f"the scorer {name!r} is named twice")


def choose(names: Sequence[str] | None, materials: Materials) -> Chosen:
    """The named scorers, or those that data and roles allow.

    Raises ScorerError where a named one is unknown, cannot work here, or meets no sample that has what it needs.
    """
    if names is not None:
        check_names(names)
        check_needs(names, materials.samples)
        return _chosen({name: _built(CATALOGUE[name], materials) for name in names}, materials)
    built, left_out = {}, []
    for entry in ENTRIES:
        if entry.is_default(materials):
            try:
                built[entry.name] = _built(entry, materials)
            except ScorerError as error:
                left_out.append(str(error))
    return _chosen(built, materials, left_out)


def _built(entry: Entry, materials: Materials) -> Scorer:
    try:
        return entry.build(materials)
    except ScorerError as error:
        raise ScorerError(f"{entry.name}: {error}") from error


def check_needs(names: Sequence[str], samples: Iterable[Sample]) -> None:
    """Raise ScorerError for a known scorer that no sample has what it needs for."""
    known = tuple(samples)
    for entry in (CATALOGUE[name] for name in names):
        if not any(map(entry.needs, known)):
            raise ScorerError(f"{entry.name}: no sample has what it needs ({entry.wants})")


def _chosen(built: Mapping[str, Scorer], materials: Materials, left_out: Sequence[str] = ()) -> Chosen:
    marks = {name: _fingerprint(CATALOGUE[name], scorer, materials) for name, scorer in built.items()}
    return Chosen(tuple(built.values()), marks, tuple(left_out))


def _fingerprint(entry: Entry, scorer: Scorer, materials: Materials) -> str:
    """Of what its numbers depend on beside the model that answered: what it says of itself, its configuration, whom it asks."""
    told = {
        "about": asdict(scorer.about),
        "own": getattr(scorer, "sha256", ""),
        "config": repr(getattr(scorer, "config", "")),
        "model": _model_asked(entry, materials),
        "prompts": prompts_sha256() if entry.asks else "",
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _model_asked(entry: Entry, materials: Materials) -> str:
    """The model of a role; the policy itself, which a log's header names, is none."""
    if entry.asks in (None, "policy") or materials.service is None:
        return ""
    return role_sha256(materials.service, entry.asks, materials.model)


def dropped_by(log: Log, pipelines: Mapping[str, Spec] | None = None) -> list[Dropped]:
    """What each scorer of a log dropped, of what it should have scored.

    Of alignments that search or revise, a scorer that asks the policy cannot speak; one that compares says nothing of the
    first alignment. pipelines: those that specs may name.
    """
    found = []
    for record in log.scorers.values():
        entry = CATALOGUE.get(record.name)
        applies = entry.applies if entry is not None else everywhere
        found.append(dropped(log, record.name, applies=applies, under=_spoken_of(log, record, pipelines or {})))
    return found


def _spoken_of(log: Log, record: ScorerRecord, pipelines: Mapping[str, Spec]) -> list[str]:
    """The alignments of which a scorer is to say something."""
    alignments = log.header.alignments[1:] if record.compares else log.header.alignments
    return [one.name for one in alignments if not (record.of_policy and _searches(one.spec, pipelines))]


def _searches(spec: Spec, pipelines: Mapping[str, Spec]) -> bool:
    """Whether an alignment decodes or revises; False where the spec names what is not known here."""
    try:
        return not Pipeline.of(parse_spec(spec, pipelines=pipelines)).decodes_natively
    except ConfigError:
        return False
