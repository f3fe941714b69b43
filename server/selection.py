"""Which pipeline a request meets: body, header, model alias, key's policy, model, server default; and what a lock forbids."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from trimtab.server.api.schemas.alignment import AlignmentOptions
from trimtab.server.exchange import Principal
from trimtab.server.settings import Defaults, Spec
from trimtab.strategies.config import parse_spec
from trimtab.strategies.core.errors import StrategyNotAllowed
from trimtab.strategies.pipeline import OnError, Pipeline, beyond, combined


@dataclass(frozen=True, slots=True)
class Selection:
    """What was chosen. `pipeline` None = nothing was, and the request passes through."""

    pipeline: Pipeline | None
    options: AlignmentOptions = field(default_factory=AlignmentOptions)
    on_error: OnError = "closed"
    locked: bool = False


@dataclass(frozen=True, slots=True)
class Chooser:
    """The rules of one server."""

    pipelines: Mapping[str, Spec]
    defaults: Defaults

    def parse(self, spec: Spec, *, param: str = "alignment.strategy") -> Pipeline:
        """The pipeline of a spec. Raises ConfigError."""
        return Pipeline.of(parse_spec(spec, pipelines=self.pipelines, param=param), param=param)

    def choose(
        self,
        options: AlignmentOptions | None,
        *,
        header: str | None,
        alias: str | None,
        model_default: Spec | None,
        principal: Principal,
    ) -> Selection:
        """The selection of one request. Raises ConfigError and StrategyNotAllowed."""
        options = options or AlignmentOptions()
        wish = self._wish(options, header, alias)
        lock = principal.policy.lock if principal.policy else None
        if lock is not None:
            return self._locked(lock, wish, options)
        policy = principal.policy.strategy if principal.policy else None
        default = next((spec for spec in (policy, model_default, self.defaults.strategy) if spec is not None), None)
        pipeline = wish or (self.parse(default, param="defaults.strategy") if default is not None else None)
        return Selection(pipeline, options, options.on_error or self.defaults.on_error)

    def _wish(self, options: AlignmentOptions, header: str | None, alias: str | None) -> Pipeline | None:
        """What the client itself asks for."""
        if options.strategy is not None:
            return self.parse(options.strategy)
        if header is not None:
            return self.parse(header, param="x-alignment-strategy")
        return self.parse(alias, param="model") if alias is not None else None

    def _locked(self, name: str, wish: Pipeline | None, options: AlignmentOptions) -> Selection:
        """The lock with what the client adds. It fails closed whatever the server's default: a budget too small for a step,
        which any client may send, would otherwise leave that step out."""
        lock = self.parse(name, param="policies.lock")
        if options.on_error in {"open", "degrade"}:
            raise StrategyNotAllowed(
                f"alignment.on_error={options.on_error!r} is not allowed: the pipeline {name!r} is locked for this key, "
                "and 'closed' is the only choice"
            )
        if wish is None:
            return Selection(lock.locked(), options, locked=True)
        added = beyond(wish, lock)
        if added is not None:
            return Selection(combined(lock.locked(), added), options, locked=True)
        if wish.is_plain:
            raise StrategyNotAllowed(f"'plain' is not allowed: the pipeline {name!r} is locked for this key and always runs")
        if wish.decoder.kind != "plain":
            raise StrategyNotAllowed(
                f"the decoder {wish.decoder.kind!r} is not allowed: the pipeline {name!r} is locked for this key; "
                "shapers before it and revisers after it may be added"
            )
        return Selection(combined(lock.locked(), wish), options, locked=True)
