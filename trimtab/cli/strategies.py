"""`trimtab strategies [NAME]`: the catalogue as a table, or one strategy with its parameters and JSON schema."""

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from trimtab.cli.failure import USAGE, clear_errors, fail


def strategies(
    name: Annotated[str | None, typer.Argument(help="A strategy; without one, all are listed.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what /v1/alignment/strategies answers, JSON schemas included.")
    ] = False,
) -> None:
    """List the alignment strategies, or describe one with its parameters."""
    from trimtab.strategies.config import catalogue, describe, parse_spec

    with clear_errors():
        known = catalogue()
        if name is not None and name not in known:
            parse_spec(name, known=known)
            fail(f"{name!r} is no strategy", USAGE)
    entries = [describe(known[kind]) for kind in ([name] if name else known)]
    if as_json:
        print(json.dumps(entries[0] if name else {"data": entries}, indent=2))
    elif name:
        _show(entries[0])
    else:
        _table(entries)


def _table(entries: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("strategy", "role", "streaming", "needs", "what it does", box=None, pad_edge=False)
    for entry in entries:
        table.add_row(entry["kind"], entry["role"], entry["streaming"], ", ".join(entry["requires"]) or "-", entry["summary"])
    Console().print(table)
    print("\nOne in detail: trimtab strategies NAME. Use one: trimtab serve --align NAME, or the request's alignment object.")


def _show(entry: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    print(f"{entry['kind']} ({entry['role']}, streaming {entry['streaming']})\n{entry['summary']}")
    if entry["source"]:
        print(f"Source: {entry['source']}")
    table = Table("parameter", "type", "default", "meaning", box=None, pad_edge=False)
    for parameter, schema in entry["schema"].get("properties", {}).items():
        if parameter != "kind":
            required = parameter in entry["schema"].get("required", ())
            table.add_row(
                parameter,
                type_of(schema),
                _default(schema, required=required),
                schema.get("description", "").replace("\n", " "),
            )
    print("\nParameters")
    Console().print(table) if table.row_count else print("none")
    print("\nJSON schema")
    print(json.dumps(entry["schema"], indent=2))


def _default(schema: Mapping[str, Any], *, required: bool) -> str:
    return "(required)" if required else json.dumps(schema["default"]) if "default" in schema else "(its own)"


def type_of(schema: Mapping[str, Any]) -> str:
    """A JSON schema's type in a few words, with its range."""
    if "enum" in schema:
        return " or ".join(str(value) for value in schema["enum"])
    if "const" in schema:
        return str(schema["const"])
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return " or ".join(dict.fromkeys(type_of(option) for option in schema[union]))
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[-1]
    words = str(schema.get("type", "any"))
    if words == "array" and "items" in schema:
        words = f"list of {type_of(schema['items'])}"
    bounds = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    limits = [f"{sign} {schema[key]}" for key, sign in bounds.items() if key in schema]
    return f"{words} {', '.join(limits)}" if limits else words
