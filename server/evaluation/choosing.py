"""Which scorers a run uses, what identifies each, and what they dropped of a log."""

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from trimtab.server.evaluation.catalogue import CATALOGUE, ENTRIES, Entry, Materials
from trimtab.server.evaluation.identity import prompts_sha256, role_sha256
from trimtab.server.evaluation.log import Log
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
        return _chosen({name: _named(CATALOGUE[name], materials) for name in names}, materials)
    built, left_out = {}, []
    for entry in ENTRIES:
        if entry.is_default(materials):
            try:
                built[entry.name] = entry.build(materials)
            except ScorerError as error:
                left_out.append(f"{entry.name}: {error}")
    return _chosen(built, materials, left_out)


def _named(entry: Entry, materials: Materials) -> Scorer:
    if not any(map(entry.needs, materials.samples)):
        raise ScorerError(f"{entry.name}: no sample has what it needs ({entry.wants})")
    return entry.build(materials)


def _chosen(built: Mapping[str, Scorer], materials: Materials, left_out: Sequence[str] = ()) -> Chosen:
    marks = {name: _fingerprint(CATALOGUE[name], scorer, materials) for name, scorer in built.items()}
    return Chosen(tuple(built.values()), marks, tuple(left_out))


def _fingerprint(entry: Entry, scorer: Scorer, materials: Materials) -> str:
    """Of what its numbers depend on: what it says of itself, its configuration, its model and the prompts of that."""
    told = {
        "about": asdict(scorer.about),
        "own": getattr(scorer, "sha256", ""),
        "config": repr(getattr(scorer, "config", "")),
        "model": role_sha256(materials.service, entry.asks, materials.model) if entry.asks and materials.service else "",
        "prompts": prompts_sha256() if entry.asks else "",
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def dropped_by(log: Log, pipelines: Mapping[str, Spec] | None = None) -> list[Dropped]:
    """What each scorer of a log dropped, of what it should have scored.

    Of alignments that search or revise, a scorer that asks the policy cannot speak. pipelines: those that specs may name.
    """
    speaking = [one.name for one in log.header.alignments if not _searches(one.spec, pipelines or {})]
    found = []
    for record in log.scorers.values():
        entry = CATALOGUE.get(record.name)
        applies = entry.applies if entry is not None else everywhere
        found.append(dropped(log, record.name, applies=applies, under=speaking if record.of_policy else None))
    return found


def _searches(spec: Spec, pipelines: Mapping[str, Spec]) -> bool:
    """Whether an alignment decodes or revises; False where the spec names what is not known here."""
    try:
        return not Pipeline.of(parse_spec(spec, pipelines=pipelines)).decodes_natively
    except ConfigError:
        return False
