"""What lies beside the weights of a run: `trimtab.yaml`, which `trimtab serve` loads as it is, and `training.json`, how they
were made.

The manifest is the configuration of a server, cut down to the one entry that this directory is: a model, an adapter beside its
base, or a role. Paths inside the directory are written relative to it, so that a run may be moved. Knows no server, no trainer.
"""

import contextlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from trimtab.artifacts.catalogue import find
from trimtab.artifacts.errors import InvalidModel, StorageFailed
from trimtab.version import VERSION

MANIFEST, FACTS = "trimtab.yaml", "training.json"
HERE = "."
"""The manifest's own directory."""

ManifestRole = Literal["judge", "reward", "aligner"]


class _Part(BaseModel):
    """A part of the manifest; what users add to the file later is the server's to read."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class EngineEntry(_Part):
    """What runs a model: whichever engine is there, with these adapters."""

    kind: str
    lora: dict[str, str] = Field(default_factory=dict)
    """Adapters beside the model: name -> directory."""


class ModelEntry(_Part):
    """A served model."""

    source: str | None = None
    """Alias, directory, `.gguf` file or hub id."""
    engine: EngineEntry | None = None
    chat_template: str | None = None
    """Path of a Jinja template in place of the model's own."""


class RoleEntry(_Part):
    """The model of a role."""

    source: str | None = None
    """As of a served model."""


class Manifest(_Part):
    """How a run's directory is served."""

    models: dict[str, ModelEntry] = Field(default_factory=dict)
    """Served models by name."""
    roles: dict[str, str | RoleEntry] = Field(default_factory=dict)
    """Engines by role: the name of a served model or adapter, or a model of its own."""

    @classmethod
    def of_policy(cls, name: str) -> Self:
        """Weights that answer as the model `name`."""
        return cls(models={name: ModelEntry(source=HERE)})

    @classmethod
    def of_adapter(cls, name: str, *, base: str, base_name: str | None = None, chat_template: str | None = None) -> Self:
        """A LoRA adapter that answers as `name` beside its base model.

        base: alias, directory, `.gguf` file or hub id. base_name: what the base is called, default the end of `base`.
        chat_template: a file of the directory with the template that a base without one was trained with.
        """
        engine = EngineEntry(kind="auto", lora={name: HERE})
        entry = ModelEntry(source=base, engine=engine, chat_template=chat_template)
        return cls(models={base_name or _name_of(base): entry})

    @classmethod
    def of_role(cls, role: ManifestRole) -> Self:
        """Weights that fill a role beside whatever model is served; an aligner's directory also holds `correction.json`."""
        return cls(roles={role: RoleEntry(source=HERE)})

    @classmethod
    def of_role_adapter(cls, role: ManifestRole, name: str, *, base: str, base_name: str | None = None) -> Self:
        """A LoRA adapter `name` that fills a role over its base, which is served too."""
        models = cls.of_adapter(name, base=base, base_name=base_name).models
        return cls(models=models, roles={role: name})

    @property
    def name(self) -> str | None:
        """The model that the run trained to answer: its adapter, else its model; None where it fills a role only."""
        entry = next(iter(self.models.values()), None)
        adapters = entry.engine.lora if entry and entry.engine else {}
        return next((name for name in (*adapters, *self.models) if name not in self.roles.values()), None)


class TrainingFacts(BaseModel):
    """How weights were made."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    version: Literal[1] = 1
    method: str
    """As `trimtab train` calls it."""
    base: str
    """The source that training started from."""
    data: str | None = None
    """Where the rows came from."""
    data_sha256: str | None = None
    """Fingerprint of the rows, hexadecimal."""
    template_sha256: str | None = None
    """Fingerprint of the chat template, hexadecimal."""
    markers: tuple[str, ...] = ()
    """Strings that condition an answer, such as those of Chain of Hindsight, in the order the method gives them."""
    steps: int | None = None
    """Updates made."""
    seed: int | None = None
    settings: dict[str, JsonValue] = Field(default_factory=dict)
    """The run's whole configuration."""
    trimtab: str = VERSION
    """Version of this software."""
    created: datetime = Field(default_factory=lambda: datetime.now(UTC))


def write_manifest(directory: Path, manifest: Manifest, facts: TrainingFacts) -> Path:
    """Write both files, each whole or not at all, the manifest last; its path.

    Raises StorageFailed, with what lay there before still in place.
    """
    folder = directory.resolve()
    tree = manifest.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    for entry in [*tree.get("models", {}).values(), *tree.get("roles", {}).values()]:
        if isinstance(entry, dict):
            _place(entry, folder)
    _write(directory / FACTS, json.dumps(facts.model_dump(mode="json"), ensure_ascii=False, indent=2) + "\n")
    return _write(directory / MANIFEST, yaml.safe_dump(tree, sort_keys=False, allow_unicode=True))


def read_manifest(directory: Path) -> Manifest | None:
    """The manifest of a run's directory as it is written; None where there is none. Raises InvalidModel for a broken file."""
    text = _read(directory / MANIFEST)
    if text is None:
        return None
    try:
        return Manifest.model_validate(yaml.safe_load(text) or {})
    except (yaml.YAMLError, ValidationError) as error:
        raise InvalidModel(f"{MANIFEST} in {str(directory)!r} is no manifest: {error}") from None


def read_facts(directory: Path) -> TrainingFacts | None:
    """How the weights in a directory were made; None where nothing tells. Raises InvalidModel for a broken file."""
    text = _read(directory / FACTS)
    if text is None:
        return None
    try:
        return TrainingFacts.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InvalidModel(f"{FACTS} in {str(directory)!r}: {place}: {first['msg']}") from None


def manifest_file(source: str) -> Path | None:
    """The manifest of a source that is a run's directory; None for every other source."""
    if find(source):
        return None
    file = Path(source).expanduser() / MANIFEST
    return file if file.is_file() else None


def _name_of(base: str) -> str:
    """The end of a source: of a path its last part, of a hub id the model without its organisation."""
    return Path(base).expanduser().resolve().name if Path(base).expanduser().exists() else base.partition("@")[0].split("/")[-1]


def _place(entry: dict[str, Any], folder: Path) -> None:
    """Make an entry's local source hold wherever the manifest is read from."""
    source = entry.get("source")
    if source is None or source == HERE or find(source) or not Path(source).expanduser().exists():
        return
    path = Path(source).expanduser().resolve()
    entry["source"] = str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


def _write(path: Path, text: str) -> Path:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise StorageFailed(f"{path.name} cannot be written into {str(path.parent)!r}: {error}") from error
    return path


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidModel(f"{path.name} in {str(path.parent)!r} cannot be read: {error}") from error
