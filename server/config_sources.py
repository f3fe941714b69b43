"""Models named in a configuration file by a relative path: what lies beside the file is meant, wherever the server is started.

Aliases of the catalogue and names of served models keep their meaning; a path that is not there is left as it is and then means
what it means on the command line: a path from the working directory, or a hub id.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trimtab.artifacts.catalogue import find

PATHS = ("source", "chat_template")
"""Keys of a model or role that may hold a path."""


def with_sources(tree: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    """The tree with every path of a model that leads somewhere from `directory` made absolute."""

    def placed(value: Any) -> Any:
        return _placed(value, directory)

    models, roles, encoders = tree.get("models"), tree.get("roles"), tree.get("encoders")
    found = dict(tree)
    if isinstance(models, Mapping):
        found["models"] = {name: _entry(entry, placed) for name, entry in models.items()}
    if isinstance(roles, Mapping):
        served = _served(models)
        found["roles"] = {role: given if given in served else _entry(given, placed) for role, given in roles.items()}
    if isinstance(encoders, list):
        found["encoders"] = [placed(encoder) for encoder in encoders]
    return found


def _served(models: Any) -> list[Any]:
    """Names of models and adapters."""
    entries = models if isinstance(models, Mapping) else {}
    return [*entries, *(name for entry in entries.values() for name in _adapters(entry))]


def _adapters(entry: Any) -> Mapping[str, Any]:
    engine = entry.get("engine") if isinstance(entry, Mapping) else None
    lora = engine.get("lora") if isinstance(engine, Mapping) else None
    return lora if isinstance(lora, Mapping) else {}


def _entry(given: Any, placed: Callable[[Any], Any]) -> Any:
    """A model or role with its paths placed; a role may be a source alone."""
    if not isinstance(given, Mapping):
        return placed(given)
    entry = {name: placed(value) if name in PATHS else value for name, value in given.items()}
    if lora := _adapters(given):
        entry["engine"] = {**given["engine"], "lora": {name: placed(path) for name, path in lora.items()}}
    return entry


def _placed(value: Any, directory: Path) -> Any:
    """The absolute path of what lies beside the file under this name; the value itself where nothing does."""
    if not isinstance(value, str) or not value or "{" in value or find(value):
        return value
    try:
        path = directory.absolute() / Path(value).expanduser()
        return str(path.resolve()) if path.exists() else value
    except (OSError, ValueError, RuntimeError):
        return value
