"""What `trimtab train` was told, as the settings of a run: flag > environment > file > default."""

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from trimtab.cli.train_options import METHODS

if TYPE_CHECKING:
    from trimtab.training.settings import TrainSettings

REQUIRED = {"method": "METHOD", "data": "--data", "output": "--output"}
LORA = "lora_"


def settings_of(given: Mapping[str, Any], config: Path | None) -> "TrainSettings":
    """The settings of flags laid over a file.

    given: flags by the name of their key; those of the adapter begin with `lora_`; None where nothing was written. Raises
    typer.BadParameter for flags and ConfigFileError for keys that make no sense.
    """
    config = None if config is None else _shipped(config)
    flags = overrides(given)
    if (name := flags.get("method")) is not None:
        check_method(name)
    if config is None:
        for key, flag in REQUIRED.items():
            if key not in flags:
                raise typer.BadParameter(f"{flag} is missing: trimtab train METHOD --model M --data FILE --output DIR")
    from trimtab.server.config_file import read
    from trimtab.training.settings import TrainSettings

    # TRIMTAB_* without TRAIN speaks to servers: TRIMTAB_MODEL is what `serve` serves.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TRIMTAB_")}
    return _with_shipped(read(TrainSettings, config, overrides=flags, environ=environ))


def _with_shipped(settings: "TrainSettings") -> "TrainSettings":
    """The settings where a sharding file that is not there by its name is the one that ships under it."""
    file = settings.accelerate_config
    return settings if file is None else settings.model_copy(update={"accelerate_config": _shipped(file)})


def _shipped(file: Path) -> Path:
    """The file, or where there is none of its name the one that ships under it."""
    from trimtab.training.sharding import CONFIGS

    return CONFIGS / file if not file.exists() and (CONFIGS / file).is_file() else file


def overrides(given: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that flags set. Raises typer.BadParameter."""
    told = {name: value for name, value in given.items() if value not in (None, [], ())}
    tree = {name: value for name, value in told.items() if not name.startswith(LORA)}
    adapter = {name.removeprefix(LORA): value for name, value in told.items() if name.startswith(LORA)}
    if adapter:
        tree["lora"] = adapter
    if "parameters" in tree:
        tree["parameters"] = parse_set(tree["parameters"])
    if "accept_licences" in tree:
        tree["accept_licences"] = [name for text in tree["accept_licences"] for name in text.split(",")]
    return tree


def check_method(name: str) -> None:
    """Raise typer.BadParameter for a method that there is not."""
    if name in METHODS:
        return
    near = difflib.get_close_matches(name, METHODS, 1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise typer.BadParameter(f"there is no method {name!r}.{hint} Methods: {', '.join(METHODS)}")


def parse_set(pairs: Sequence[str]) -> dict[str, Any]:
    """Names and values of `--set name=value`; a value is read as a YAML scalar. Raises typer.BadParameter."""
    return dict(_pair(text) for text in pairs)


def _pair(text: str) -> tuple[str, Any]:
    import yaml

    name, sign, value = text.partition("=")
    if not sign or not name.isidentifier():
        raise typer.BadParameter(f"--set must be NAME=VALUE, e.g. beta=0.2, not {text!r}")
    try:
        return name, yaml.safe_load(value)
    except yaml.YAMLError:
        raise typer.BadParameter(f"--set {name}: {value!r} is no YAML value") from None
