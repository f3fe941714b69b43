"""The catalogue: every strategy this installation knows, and how a spec becomes a list of configurations.

Adding a strategy is one line in `BUILT_IN`; third parties add theirs through the entry-point group `trimtab.strategies`.
"""

import difflib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from pydantic import ValidationError

from trimtab.strategies.core.config import StrategyConfig
from trimtab.strategies.core.errors import ConfigError, UnknownStrategy
from trimtab.strategies.decoding.best_of_n import BestOfNConfig
from trimtab.strategies.decoding.plain import PlainConfig
from trimtab.strategies.revising.aligner import AlignerConfig
from trimtab.strategies.revising.critique_refine import CritiqueRefineConfig
from trimtab.strategies.shaping.value_prompt import ValuePromptConfig

BUILT_IN: tuple[type[StrategyConfig], ...] = (
    PlainConfig,
    ValuePromptConfig,
    BestOfNConfig,
    CritiqueRefineConfig,
    AlignerConfig,
)
ENTRY_POINT_GROUP = "trimtab.strategies"
MAX_STEPS = 16

Spec = str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]]
Catalogue = Mapping[str, type[StrategyConfig]]


def kind_of(config: type[StrategyConfig]) -> str:
    """The name under which a configuration is chosen."""
    return str(config.model_fields["kind"].default)


@cache
def catalogue() -> Catalogue:
    """All strategies by name, plug-ins included. Raises ConfigError where a plug-in takes a name that is in use."""
    known = {kind_of(config): config for config in BUILT_IN}
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda p: p.name):
        config = point.load()
        if not (isinstance(config, type) and issubclass(config, StrategyConfig)):
            raise ConfigError(f"plug-in {point.value!r} of group {ENTRY_POINT_GROUP!r} is no StrategyConfig")
        if kind_of(config) in known:
            raise ConfigError(f"plug-in {point.value!r} takes the name {kind_of(config)!r}, which is in use")
        known[kind_of(config)] = config
    return known


def describe(config: type[StrategyConfig]) -> dict[str, Any]:
    """One entry of `/v1/alignment/strategies`."""
    return {
        "kind": kind_of(config),
        "role": config.role,
        "summary": (config.__doc__ or "").strip().splitlines()[0],
        "streaming": config.streaming,
        "requires": sorted(config.requires),
        "accepts_text": config.accepts_text,
        "source": config.source,
        "schema": config.model_json_schema(),
    }


def parse_spec(
    spec: Spec,
    *,
    pipelines: Mapping[str, Spec] | None = None,
    known: Catalogue | None = None,
    param: str = "alignment.strategy",
) -> tuple[StrategyConfig, ...]:
    """The configurations a spec stands for, named pipelines replaced by their steps; `plain` alone is ().

    Raises UnknownStrategy (with the nearest name) or ConfigError naming the value and what is allowed.
    """
    parts = _expand(spec, pipelines or {}, known or catalogue(), param, ())
    steps = tuple(step for step in parts if not isinstance(step, PlainConfig))
    if len(steps) > MAX_STEPS:
        raise ConfigError(f"{len(steps)} strategies in one pipeline; at most {MAX_STEPS} are allowed", param=param)
    return steps


def _expand(
    spec: Spec, pipelines: Mapping[str, Spec], known: Catalogue, param: str, within: tuple[str, ...]
) -> tuple[StrategyConfig, ...]:
    if isinstance(spec, str):
        return _named(spec, pipelines, known, param, within)
    if isinstance(spec, Mapping):
        return (_configured(spec, known, param),)
    if isinstance(spec, Sequence):
        if len(spec) > MAX_STEPS:
            raise ConfigError(f"{len(spec)} strategies in one pipeline; at most {MAX_STEPS} are allowed", param=param)
        return tuple(step for part in spec for step in _expand(part, pipelines, known, param, within))
    raise ConfigError(f"a strategy is a name, an object or a list of them, not {type(spec).__name__}", param=param)


def _named(
    name: str, pipelines: Mapping[str, Spec], known: Catalogue, param: str, within: tuple[str, ...]
) -> tuple[StrategyConfig, ...]:
    if name in within:
        raise ConfigError(f"pipeline {name!r} contains itself: {' -> '.join((*within, name))}", param=param)
    if name in pipelines:
        return _expand(pipelines[name], pipelines, known, param, (*within, name))
    if name in known:
        return (_configured({"kind": name}, known, param),)
    raise _unknown(name, [*known, *pipelines], param)


def _configured(given: Mapping[str, Any], known: Catalogue, param: str) -> StrategyConfig:
    kind = given.get("kind")
    if not isinstance(kind, str):
        raise ConfigError("a strategy object needs a `kind`, e.g. {'kind': 'value_prompt'}", param=f"{param}.kind")
    if kind not in known:
        raise _unknown(kind, list(known), param)
    try:
        return known[kind].model_validate(dict(given))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        allowed = ", ".join(sorted(known[kind].model_fields))
        hint = f"; parameters of {kind}: {allowed}" if first["type"] == "extra_forbidden" else ""
        raise ConfigError(f"{kind}.{place}: {first['msg']}{hint}"[:1000], param=f"{param}.{place}"[:200]) from None


def _unknown(name: str, names: list[str], param: str) -> UnknownStrategy:
    near = difflib.get_close_matches(name[:200], names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return UnknownStrategy(f"unknown strategy {name[:100]!r}{hint} Known: {', '.join(sorted(names))}"[:1000], param=param)
