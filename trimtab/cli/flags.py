"""The flags of `serve` laid over the configuration: flag > environment > file > default.

What maps one to one onto a key goes to `load_settings` as an override; what concerns the served model (its name, source and
engine) is laid over the loaded settings here, because it depends on what the file says about that model.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from trimtab.server.settings import ModelConfig, Settings

ENGINES = ("auto", "vllm", "transformers", "upstream", "scripted")
LOCAL = ("vllm", "transformers")
"""What auto may turn out to be: its settings hold for both."""


@dataclass(frozen=True, slots=True)
class ServeFlags:
    """What was written on the command line; None, () and {} where nothing was."""

    model: str | None = None
    engine: str | None = None
    upstream: str | None = None
    upstream_api_key: str | None = None
    served_model_name: str | None = None
    max_model_len: int | None = None
    dtype: str | None = None
    host: str | None = None
    port: int | None = None
    uds: Path | None = None
    api_keys: tuple[str, ...] = ()
    align: Any = None
    roles: Mapping[str, str] | None = None
    accept_licences: tuple[str, ...] = ()
    data_dir: Path | None = None
    log_level: str | None = None
    log_json: bool | None = None

    def overrides(self) -> dict[str, Any]:
        """The keys of the configuration that flags set directly."""
        http = {"host": self.host, "port": self.port, "uds": self.uds, "log_level": self.log_level, "log_json": self.log_json}
        tree = {
            "http": _given(http),
            "defaults": _given({"strategy": self.align}),
            "roles": dict(self.roles or {}),
            "accept_licences": list(self.accept_licences),
            "data_dir": self.data_dir,
        }
        return {key: value for key, value in tree.items() if value not in (None, {}, [])}


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def load(flags: ServeFlags, config: Path | None) -> "Settings":
    """The settings of a server. Raises ConfigFileError or typer.BadParameter naming the flag or key and what is allowed.

    A MODEL that is a run's directory gives models and roles by its own `trimtab.yaml`, beside which `config` gives the rest.
    """
    from trimtab.artifacts.checkpoint import manifest_file
    from trimtab.server.settings import load_settings

    settings = load_settings(config, overrides=flags.overrides())
    manifest = manifest_file(flags.model) if flags.model and flags.model not in settings.models and not flags.upstream else None
    if manifest is None:
        return with_keys(with_model(settings, flags), flags)
    run = load_settings(manifest, overrides=flags.overrides())
    if config is not None:
        run = settings.model_copy(update={"models": run.models or settings.models, "roles": {**settings.roles, **run.roles}})
    return with_keys(with_model(run, replace(flags, model=None)), flags)


def with_keys(settings: "Settings", flags: ServeFlags) -> "Settings":
    """The settings with a key of every scope for each `--api-key`, beside those of the file."""
    from pydantic import SecretStr

    from trimtab.server.settings import KeyConfig

    taken = {key.name for key in settings.keys}
    names = [name for i in range(len(taken) + len(flags.api_keys)) if (name := f"cli-{i + 1}") not in taken]
    added = tuple(
        KeyConfig(name=name, key=SecretStr(key), scopes=frozenset({"infer", "batch", "corpus", "admin"}))
        for name, key in zip(names, flags.api_keys, strict=False)
    )
    return settings.model_copy(update={"keys": (*settings.keys, *added)}) if added else settings


def with_model(settings: "Settings", flags: ServeFlags) -> "Settings":
    """The settings with the served model as the flags say: MODEL alone is served, other flags change the first model."""
    fields = ("model", "engine", "upstream", "upstream_api_key", "served_model_name", "max_model_len", "dtype")
    if all(getattr(flags, name) is None for name in fields):
        return settings
    name, base = _base(settings, flags)
    config = _configured(base, flags, name)
    others = {} if flags.model else {k: v for k, v in settings.models.items() if k != name}
    return settings.model_copy(update={"models": {flags.served_model_name or name: config, **others}})


def _base(settings: "Settings", flags: ServeFlags) -> tuple[str, "ModelConfig"]:
    """Name and configuration of the model that the flags change."""
    from trimtab.artifacts.catalogue import DEFAULT_MODEL
    from trimtab.server.settings import ModelConfig

    if flags.model:
        return flags.model, settings.models.get(flags.model, ModelConfig(source=flags.model))
    if settings.models:
        return next(iter(settings.models.items()))
    return ("upstream" if flags.upstream else DEFAULT_MODEL), ModelConfig(source=None if flags.upstream else DEFAULT_MODEL)


def _configured(base: "ModelConfig", flags: ServeFlags, name: str) -> "ModelConfig":
    """The model's configuration with its engine as the flags say."""
    from pydantic import ValidationError

    from trimtab.server.settings import ModelConfig

    kind = flags.engine or ("upstream" if flags.upstream else base.engine.kind)
    if kind not in ENGINES:
        raise typer.BadParameter(f"--engine {kind!r}: allowed are {', '.join(ENGINES)}")
    if flags.upstream and kind != "upstream":
        raise typer.BadParameter(f"--upstream needs --engine upstream, not {kind}")
    same = base.engine.kind == kind or (base.engine.kind == "auto" and kind in LOCAL)
    kept = base.engine.model_dump(exclude_unset=True, exclude={"kind"}) if same else {}
    if kind == "upstream" and not flags.upstream and "url" not in kept:
        raise typer.BadParameter("--engine upstream needs --upstream URL")
    engine = {
        **kept,
        **_given({"max_model_len": flags.max_model_len, "dtype": flags.dtype}),
        **_given({"url": flags.upstream, "api_key": flags.upstream_api_key}),
        **({"model": flags.model} if kind == "upstream" and flags.model else {}),
        "kind": kind,
    }
    try:
        return ModelConfig.model_validate({**base.model_dump(exclude={"engine"}), "engine": engine})
    except ValidationError as error:
        raise typer.BadParameter(_explain(error, kind, name)) from None


def _explain(error: Any, kind: str, name: str) -> str:
    """The first fault as one line that names the flag."""
    first = error.errors(include_url=False, include_context=False)[0]
    flag = "--" + str(first["loc"][-1]).replace("_", "-")
    if first["type"] == "extra_forbidden":
        return f"{flag} does not apply to the engine {kind!r} of {name!r}"
    return f"{flag}: {first['msg']} (given {first['input']!r})"
