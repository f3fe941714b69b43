"""The composition root: settings become a service. The only file that names concrete engines."""

import importlib.util
import time
from collections.abc import Mapping
from pathlib import Path

from trimtab.artifacts import DEFAULT_MODEL, FORMATS, CorrectionTemplate, ResolvedModel, read_correction, resolve
from trimtab.artifacts.progress import Progress
from trimtab.server.config_file import ConfigFileError
from trimtab.server.corpora import ServedCorpora
from trimtab.server.encoders import Encoders, served_encoders
from trimtab.server.engines.base import Engine
from trimtab.server.engines.view import View
from trimtab.server.engines.vllm.defaults import for_copying, is_scoring
from trimtab.server.models import Registry, ServedModel
from trimtab.server.service import Service
from trimtab.server.settings import (
    AutoEngine,
    EngineConfig,
    ModelConfig,
    RoleConfig,
    ScriptedConfig,
    Settings,
    TransformersConfig,
    UpstreamConfig,
    VllmConfig,
)
from trimtab.strategies.config import catalogue

ALIGNER = "aligner"
RESERVED = frozenset({"plain"})
"""Names no pipeline may take: each must mean the same everywhere."""


def build(settings: Settings, *, progress: Progress | None = None) -> Service:
    """The service of these settings; models are fetched and converted here, loaded in `Service.start`.

    Raises ArtifactError where a model cannot be had and ConfigFileError where settings contradict each other.
    """
    _check_names(settings)
    assembly = _Assembly(settings, progress)
    models: dict[str, ServedModel] = {}
    for name, config in (settings.models or {DEFAULT_MODEL: ModelConfig()}).items():
        models |= assembly.served(name, config)
    roles: dict[str, Engine] = {
        role: assembly.role(role, given, models) for role, given in settings.roles.items() if role != "embed"
    }
    encoders = served_encoders(settings, progress)
    created = int(time.time())
    registry = Registry(models, tuple(settings.pipelines), dict.fromkeys(encoders, created))
    corpora = ServedCorpora(settings.data_root, Encoders.of(encoders, progress))
    return Service(settings, registry, roles, encoders, corpora)


def _check_names(settings: Settings) -> None:
    for name in settings.pipelines:
        if name in RESERVED or name in catalogue():
            raise ConfigFileError(f"pipelines.{name}: a strategy has this name; give the pipeline another one")
    for policy in settings.policies:
        if policy.lock is not None and policy.lock not in settings.pipelines and policy.lock not in catalogue():
            known = ", ".join(settings.pipelines) or "none"
            raise ConfigFileError(f"policies: lock {policy.lock!r} is no pipeline; pipelines: {known}")
        if policy.lock == "plain":
            raise ConfigFileError("policies: lock 'plain' would lock nothing")


def automatic(config: AutoEngine) -> VllmConfig | TransformersConfig:
    """vLLM where it is installed, else transformers."""
    if importlib.util.find_spec("vllm") is not None:
        return VllmConfig(max_model_len=config.max_model_len, dtype=config.dtype, lora=config.lora)
    return TransformersConfig(max_model_len=config.max_model_len, dtype=config.dtype, lora=config.lora)


class _Assembly:
    """Builds engines; a source that two entries share is resolved once."""

    def __init__(self, settings: Settings, progress: Progress | None) -> None:
        self._settings = settings
        self._progress = progress
        self._sources: dict[str, ResolvedModel] = {}

    def served(self, name: str, config: ModelConfig) -> Mapping[str, ServedModel]:
        """The model, and the adapters it serves beside it."""
        engine_config = automatic(config.engine) if isinstance(config.engine, AutoEngine) else config.engine
        source = config.source or name
        engine = self._engine(name, source, engine_config, config.chat_template)
        local = not isinstance(engine_config, UpstreamConfig | ScriptedConfig)
        created = int(time.time())
        base = ServedModel(
            id=name,
            engine=engine,
            created=created,
            strategy=config.strategy,
            source=source if local else getattr(engine_config, "url", ""),
            quantised_at_source=self._source(source).quantised_at_source if local else False,
        )
        adapters = engine_config.lora if isinstance(engine_config, VllmConfig | TransformersConfig) else {}
        beside = {
            adapter: ServedModel(adapter, engine, created, strategy=config.strategy, adapter=adapter, source=folder)
            for adapter, folder in adapters.items()
        }
        return {name: base, **beside}

    def role(self, role: str, given: str | RoleConfig, models: Mapping[str, ServedModel]) -> Engine:
        """The engine of a role: that of a served model (under its adapter), or one of its own."""
        if isinstance(given, str):
            if given in models:
                return self._lent(role, models[given])
            given = RoleConfig(source=given)
        if given.template is not None and role != ALIGNER:
            raise ConfigFileError(f"roles.{role}.template: only an aligner has one")
        config = automatic(given.engine) if isinstance(given.engine, AutoEngine) else given.engine
        self._check_label(role, given, config)
        source = given.source or role
        if role != ALIGNER:
            return self._engine(role, source, config, None, given.label)
        if isinstance(config, VllmConfig):
            config = for_copying(config)
        return View(self._engine(role, source, config, None), correction=self._correction(given, source, config))

    def _check_label(self, role: str, given: RoleConfig, config: EngineConfig) -> None:
        """Raise ConfigFileError for a label of a model that has none."""
        local = isinstance(config, VllmConfig | TransformersConfig)
        if given.label is not None and not (local and is_scoring(self._source(given.source or role).path)):
            raise ConfigFileError(f"roles.{role}.label: {given.source or role!r} is no classifier that runs here")

    def _lent(self, role: str, model: ServedModel) -> Engine:
        """A served model's engine in a role."""
        stored = self._stored(model) if role == ALIGNER else None
        if model.adapter is None and stored is None:
            return model.engine
        return View(model.engine, model.adapter, stored, is_lent=True)

    def _correction(self, given: RoleConfig, source: str, config: EngineConfig) -> CorrectionTemplate | None:
        """How an aligner of its own is asked: as the settings say, else as its checkpoint does."""
        if given.template is not None:
            return given.template if isinstance(given.template, CorrectionTemplate) else FORMATS[given.template]
        local = not isinstance(config, UpstreamConfig | ScriptedConfig)
        return read_correction(self._source(source).path) if local else None

    def _stored(self, model: ServedModel) -> CorrectionTemplate | None:
        """The correction format in a served model's or adapter's directory."""
        if model.adapter is not None:
            return read_correction(Path(model.source))
        local = model.engine.kind not in {"upstream", "scripted"}
        return read_correction(self._source(model.source).path) if local else None

    def _engine(
        self, name: str, source: str, config: EngineConfig, chat_template: str | None, label: str | None = None
    ) -> Engine:
        match config:
            case ScriptedConfig():
                from trimtab.server.engines.scripted import ScriptedEngine

                return ScriptedEngine(config, name=name)
            case UpstreamConfig():
                from trimtab.server.engines.upstream import UpstreamEngine

                return UpstreamEngine(config, name=name)
            case VllmConfig():
                from trimtab.server.engines.vllm import VllmEngine

                path, template = self._source(source).path, _template(chat_template)
                return VllmEngine(path, config, name=name, chat_template=template, label=label)
            case TransformersConfig():
                from trimtab.server.engines.transformers import TransformersEngine, TransformersRewards

                path, template = self._source(source).path, _template(chat_template)
                if is_scoring(path):
                    if config.lora:
                        raise ConfigFileError(
                            f"{name}: a scoring model is served without adapters; merge {', '.join(config.lora)}"
                        )
                    return TransformersRewards(path, config, name=name, label=label, chat_template=template)
                return TransformersEngine(path, config, name=name, chat_template=template)

    def _source(self, source: str) -> ResolvedModel:
        if source not in self._sources:
            self._sources[source] = resolve(source, accept_licences=self._settings.accept_licences, progress=self._progress)
        return self._sources[source]


def _template(given: str | None) -> str | None:
    """A chat template: the text itself, or what stands in the file of that path."""
    if given is None or "{" in given:
        return given
    try:
        return Path(given).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigFileError(f"chat_template: cannot read {given!r}: {error.strerror}") from error
