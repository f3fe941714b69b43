"""The configuration file: YAML, environment and flags become one frozen model, and every mistake names its place.

Precedence: override (flag) > environment > file > default. Objects merge key by key, lists replace each other, and an object
of another `kind` replaces the whole object. `${VAR}` and `${VAR:-default}` in a string of the file read the environment,
`$${` is a literal `${`. Relative paths of models mean what lies beside the file (`trimtab.server.config_sources`).

ConfigFileError
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from trimtab.server.config_environment import from_environment
from trimtab.server.config_keys import nearest, without_tags
from trimtab.server.config_reference import reference
from trimtab.server.config_sources import with_sources
from trimtab.server.prompt_files import PromptFileError, with_prompts

__all__ = ["ConfigFileError", "read", "reference"]

Model = TypeVar("Model", bound=BaseModel)
KeyPath = tuple[str | int, ...]
Origins = dict[KeyPath, str]
"""Where the value at a path was given: `trimtab.yaml:12`, `TRIMTAB_HTTP__PORT`, `a flag`."""

_VARIABLE = re.compile(r"\$(\$)?\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_SECRET = frozenset({"key", "api_key", "sha256"})


class ConfigFileError(Exception):
    """The configuration makes no sense; the message names file, line, key and what is allowed."""


def read(
    model: type[Model],
    path: Path | None,
    *,
    overrides: Mapping[str, Any],
    environ: Mapping[str, str] | None = None,
) -> Model:
    """The model of a file (None: no file) under environment and overrides. Raises ConfigFileError."""
    environ = os.environ if environ is None else environ
    tree: Any = {}
    origins: Origins = {}
    if path is not None:
        tree = with_sources(_with_prompts(_expanded(_load(path, origins), environ, (), origins), path), path.parent)
    for name, keys, value in from_environment(model, environ):
        tree = _merged(tree, _nested(keys, value), (), f"environment variable {name}", origins)
    tree = _merged(tree, dict(overrides), (), "a flag", origins)
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        raise ConfigFileError(_explained(model, error, origins, path)) from None


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses duplicate keys and remembers the line of each key."""

    def __init__(self, text: str, name: str, origins: Origins) -> None:
        super().__init__(text)
        self.name = name
        self._origins = origins

    def tree(self) -> Any:
        node = self.get_single_node()
        if node is None:
            return {}
        self._check(node, (), set())
        return self.construct_document(node)

    def _check(self, node: yaml.Node, path: KeyPath, above: set[int]) -> None:
        """Record lines; refuse duplicate keys and aliases that hold themselves."""
        if id(node) in above:
            raise ConfigFileError(f"{self.name}:{_line(node)}: the alias holds itself")
        self._origins.setdefault(path, f"{self.name}:{_line(node)}")
        above = above | {id(node)}
        if isinstance(node, yaml.SequenceNode):
            for index, child in enumerate(node.value):
                self._check(child, (*path, index), above)
        elif isinstance(node, yaml.MappingNode):
            seen: dict[str, int] = {}
            for key, child in node.value:
                if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                    where = ".".join(map(str, (*path, key.value)))
                    raise ConfigFileError(f"{self.name}:{_line(key)}: {where} is given twice (first in line {seen[key.value]})")
                seen[key.value] = _line(key)
                self._origins[(*path, key.value)] = f"{self.name}:{_line(key)}"
                self._check(child, (*path, key.value), above)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _load(path: Path, origins: Origins) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigFileError(f"{path}: cannot be read: {error}") from None
    try:
        tree = _Loader(text, str(path), origins).tree()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigFileError(f"{path}:{line}: not valid YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise ConfigFileError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(tree, dict):
        raise ConfigFileError(f"{path}: must hold keys such as `models:` and `http:`, not a {type(tree).__name__}")
    return tree


def _with_prompts(tree: dict[str, Any], path: Path) -> Any:
    """The tree with the texts of the files that its strategies name, relative to its own."""
    try:
        return with_prompts(tree, path.parent)
    except PromptFileError as error:
        raise ConfigFileError(f"{path}: {error}") from None


def _expanded(value: Any, environ: Mapping[str, str], path: KeyPath, origins: Origins) -> Any:
    """The tree with `${VAR}` replaced in every string."""
    if isinstance(value, dict):
        return {key: _expanded(child, environ, (*path, key), origins) for key, child in value.items()}
    if isinstance(value, list):
        return [_expanded(child, environ, (*path, index), origins) for index, child in enumerate(value)]
    if not isinstance(value, str) or "${" not in value:
        return value

    def replace(match: re.Match[str]) -> str:
        if match[1]:
            return match[0][1:]
        found = environ.get(match[2], match[3])
        if found is None:
            raise ConfigFileError(f"{_place(path, origins)}: the environment variable {match[2]} is not set")
        return found

    return _VARIABLE.sub(replace, value)


def _nested(keys: tuple[str, ...], value: Any) -> dict[str, Any]:
    tree: Any = value
    for key in reversed(keys):
        tree = {key: tree}
    return dict(tree)


def _merged(base: Any, over: Any, path: KeyPath, origin: str, origins: Origins) -> Any:
    """`over` laid upon `base`."""
    if not isinstance(over, Mapping):
        origins[path] = origin
        return over
    replaces = not isinstance(base, Mapping) or ("kind" in over and "kind" in base and over["kind"] != base["kind"])
    merged = {} if replaces else dict(base)
    if replaces:
        origins[path] = origin
    for key, value in over.items():
        merged[key] = _merged(merged.get(key), value, (*path, key), origin, origins)
    return merged


def _explained(model: type[BaseModel], error: ValidationError, origins: Origins, path: Path | None) -> str:
    """One line a mistake."""
    lines = []
    for fault in error.errors(include_url=False):
        keys = without_tags(model, fault["loc"])
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            near = nearest(model, fault["loc"])
            message = f"unknown key{f'; did you mean {near!r}?' if near else ''}"
        elif isinstance(fault["input"], str | int | float) and not _SECRET & set(map(str, keys)):
            message = f"{message} (got {str(fault['input'])[:80]!r})"
        lines.append(f"{_place(keys, origins, str(path) if path else 'configuration')}: {message}")
    return "\n".join(dict.fromkeys(lines))


def _place(keys: KeyPath, origins: Origins, otherwise: str = "configuration") -> str:
    """`trimtab.yaml:12: http.port`, by the nearest place above that is known."""
    for length in range(len(keys), 0, -1):
        if keys[:length] in origins:
            otherwise = origins[keys[:length]]
            break
    return f"{otherwise}: {'.'.join(map(str, keys))}"
