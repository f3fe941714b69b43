"""The served models by name, and their aliases `model:pipeline`."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trimtab.server.engines.base import Engine, Renewable, Wire
from trimtab.server.engines.view import ports_of
from trimtab.server.errors import ModelNotFound
from trimtab.server.settings import Spec
from trimtab.strategies.core.engine import Ports


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model that answers chats and completions."""

    id: str
    engine: Engine
    created: int
    """Unix time at which it began to be served."""
    owned_by: str = "trimtab"
    strategy: Spec | None = None
    """Its own default strategy."""
    adapter: str | None = None
    """The engine's name for it where it is a LoRA beside the base model."""
    source: str = ""
    """Where its weights came from."""
    quantised_at_source: bool = False

    @property
    def ports(self) -> Ports:
        """What strategies may use of it: an adapter's answers come from the adapter."""
        return ports_of(self.engine, self.adapter)


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a request's `model` means."""

    model: ServedModel
    alias: str | None = None
    """The pipeline of an alias."""


@dataclass(frozen=True, slots=True)
class Registry:
    """All names under which something is served; the first model is the default."""

    models: Mapping[str, ServedModel]
    pipelines: Sequence[str] = ()
    embedders: Mapping[str, int] = field(default_factory=dict)
    """Embedding models by name -> Unix time."""

    def resolve(self, name: str) -> Resolved:
        """The model of a name or alias. Raises ModelNotFound with the nearest name."""
        if name in self.models:
            return Resolved(self.models[name])
        for model in self.models.values():
            alias = name.removeprefix(f"{model.id}:")
            if alias != name and alias in self.pipelines:
                return Resolved(model, alias)
        near = difflib.get_close_matches(name[:200], self.names(), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        shown = ", ".join(self.names()[:20])
        raise ModelNotFound(f"the model {name[:200]!r} does not exist{hint} Served: {shown}", param="model")

    def names(self) -> list[str]:
        """All names in the order of `/v1/models`: models, their aliases, embedding models."""
        aliases = [f"{model}:{pipeline}" for model in self.models for pipeline in self.pipelines]
        return [*self.models, *aliases, *self.embedders]

    def card(self, name: str, default_strategy: Any = None) -> Wire:
        """The model object of a name. Raises ModelNotFound."""
        if name in self.embedders:
            created = self.embedders[name]
            return {"id": name, "object": "model", "created": created, "owned_by": "trimtab", "alignment": {"task": "embed"}}
        resolved = self.resolve(name)
        model = resolved.model
        ports = model.ports
        capabilities = ports.capabilities
        strategy = resolved.alias or (model.strategy if model.strategy is not None else default_strategy)
        return {
            "id": name,
            "object": "model",
            "created": model.created,
            "owned_by": model.owned_by,
            "max_model_len": capabilities.max_model_len,
            "alignment": {
                "task": "generate",
                "base_model": model.id,
                "engine": model.engine.kind,
                "strategy": strategy,
                "ports": sorted(ports.names()),
                "capabilities": {
                    "prefill": capabilities.prefill,
                    "tools": capabilities.tools,
                    "response_format": sorted(capabilities.response_format),
                    "logprobs": capabilities.logprobs,
                    "n": capabilities.n,
                    "seed": capabilities.seed,
                    "images": capabilities.images,
                    "prompt_logprobs": capabilities.prompt_logprobs,
                    "safe_content": capabilities.safe_content,
                    "notes": list(capabilities.notes),
                },
                "quantised_at_source": model.quantised_at_source,
                "weights_version": model.engine.weights_version if isinstance(model.engine, Renewable) else 0,
            },
        }
