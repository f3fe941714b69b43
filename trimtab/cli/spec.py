"""What is written behind `--align` and `--role`: text of the command line made into values of the configuration."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

ROLES = ("judge", "reward", "aligner", "embed")
"""Engine roles that a server can be given beside its models."""


def parse_align(text: str) -> str | list[Any] | dict[str, Any]:
    """A SPEC: a bare name as it is, anything that starts with a bracket as JSON or YAML.

    Raises typer.BadParameter naming the text and what is allowed.
    """
    stripped = text.strip()
    if not stripped:
        raise typer.BadParameter('a strategy is a name, a list or an object, e.g. value_prompt or [{"kind": "value_prompt"}]')
    if stripped[0] not in "[{":
        if any(mark in stripped for mark in ",:"):
            raise typer.BadParameter(f"{text!r} is no name; write a list as [a, b] and an object as {{kind: a, ...}}")
        return stripped
    import yaml

    try:
        value = yaml.safe_load(stripped)
    except yaml.YAMLError as error:
        raise typer.BadParameter(f"{text!r} is neither JSON nor YAML: {_first_line(error)}") from None
    if not isinstance(value, list | dict):
        raise typer.BadParameter(f"{text!r} must be a name, a list or an object")
    return _with_files(value)


def _with_files(spec: list[Any] | dict[str, Any]) -> list[Any] | dict[str, Any]:
    """The spec with the texts of the files that it names on this machine."""
    from trimtab.server.prompt_files import PromptFileError, with_prompts

    try:
        read: list[Any] | dict[str, Any] = with_prompts(spec, Path())
    except PromptFileError as error:
        raise typer.BadParameter(str(error)) from None
    return read


def parse_roles(items: Sequence[str]) -> dict[str, str]:
    """`judge=SOURCE` items as a mapping. Raises typer.BadParameter for an unknown role or a missing source."""
    roles: dict[str, str] = {}
    for item in items:
        role, equals, source = item.partition("=")
        if role not in ROLES or not equals or not source:
            raise typer.BadParameter(f"{item!r}: write ROLE=SOURCE with ROLE one of {', '.join(ROLES)}")
        if role in roles:
            raise typer.BadParameter(f"role {role!r} is given twice")
        roles[role] = source
    return roles


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
