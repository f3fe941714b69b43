"""The environment as configuration: `TRIMTAB_HTTP__PORT` is `http.port`, and the flags' names are short forms.

A value that begins with `[` or `{` is read as YAML. Names without `__` that are no key are left alone (flags of commands have
their own); a nested name that leads nowhere is an error.
"""

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from pydantic import BaseModel

from trimtab.server.config_keys import item_type, sections

PREFIX = "TRIMTAB_"

SHORT_FORMS: Mapping[str, tuple[str, ...]] = {
    "HOST": ("http", "host"),
    "PORT": ("http", "port"),
    "UDS": ("http", "uds"),
    "LOG_LEVEL": ("http", "log_level"),
    "LOG_JSON": ("http", "log_json"),
    "ALIGN": ("defaults", "strategy"),
    "ACCEPT_LICENCE": ("accept_licences",),
    "DATA_DIR": ("data_dir",),
}
"""Variables named like a flag -> the key they set."""

_LISTS = frozenset({("accept_licences",), ("http", "cors_origins")})

Setting = tuple[str, tuple[str, ...], Any]
"""Variable, path of the key, value."""


def from_environment(model: type[BaseModel], environ: Mapping[str, str]) -> Iterator[Setting]:
    """What the environment sets. Raises ConfigFileError for a nested name that no key has."""
    for name, text in sorted(environ.items()):
        if not name.startswith(PREFIX) or _from_orchestrator(name, text):
            continue
        short = name.removeprefix(PREFIX)
        if short in SHORT_FORMS:
            keys = SHORT_FORMS[short]
            yield name, keys, _value(text, keys)
        elif "__" in short or short.lower() in model.model_fields:
            keys = tuple(short.lower().split("__"))
            _check(model, name, keys)
            yield name, keys, _value(text, keys)


def _from_orchestrator(name: str, text: str) -> bool:
    """Kubernetes gives every pod `TRIMTAB_PORT=tcp://...` and the like for a service called trimtab."""
    return text.startswith(("tcp://", "udp://")) or name.startswith((f"{PREFIX}SERVICE_", f"{PREFIX}PORT_"))


def _value(text: str, keys: tuple[str, ...]) -> Any:
    from trimtab.server.config_file import ConfigFileError

    if text.lstrip().startswith(("[", "{")):
        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigFileError(f"{'.'.join(keys)}: the environment's value is not valid YAML: {error}") from None
    return [part.strip() for part in text.split(",") if part.strip()] if keys in _LISTS else text


def _check(model: type[BaseModel], name: str, keys: tuple[str, ...]) -> None:
    """Raise ConfigFileError for a path that leads nowhere."""
    from trimtab.server.config_file import ConfigFileError

    here: Any = model
    for position, key in enumerate(keys):
        members = sections(here)
        known = [field for section in members for field in section.model_fields]
        if key in known:
            here = next(section.model_fields[key].annotation for section in members if key in section.model_fields)
        elif (inner := item_type(here)) is not None:
            here = inner
        else:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            better = PREFIX + "__".join((*keys[:position], *near)).upper()
            hint = f"; did you mean {better}?" if near else ""
            raise ConfigFileError(f"environment variable {name}: there is no key {'.'.join(keys)!r}{hint}")
