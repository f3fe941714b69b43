"""An `alignment` object as lines for a terminal: every step, what it did and cost, and what a full trace tells of it.

It knows the members that every step has and otherwise goes by shape, so that a plug-in's details read as well as our own:
text under a name that ends in `diff` is a unified diff; mappings with a `score` are hits; a mapping with `visits` is the root
of a search tree; a list of mappings is a list of rounds; anything else is shown by name. Height and width are bounded. What
models and documents said cannot move the cursor: control characters are spelt out.
"""

import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from trimtab.cli.trace_tree import forest
from trimtab.cli.trace_words import MARKED, count, cut, is_marked, plain, scalar, title

STEP_LINES = 80
"""Most lines of one step."""
TEXT_LINES = 6
"""Most lines of one text."""
DIFF_LINES = 30
"""Most lines of one diff."""
SMALL, SMALL_LINES = 24, 3
"""Longest mapping that shares a line with others of its list, in characters, and most lines of such a list."""
ENTRIES = 10
"""Most entries of one list."""
NODES = 16
"""Most nodes of the trees under one name, those with the most visits."""
INNER_NODES = 5
"""The same for each of a list of searches."""
DEEPEST = 5
"""Levels of nested details; below them JSON."""

RECORD = ("strategy", "role", "status", "changed", "reason", "ms", "calls", "prompt_tokens", "completion_tokens")
"""What every step tells about itself."""
COLOURS = {"applied": "green", "skipped": "dim", "degraded": "yellow", "failed": "bold red"}
DIFF_COLOURS = {"+": "green", "-": "red", "@": "cyan"}


def show(report: Any, console: Console | None = None) -> None:
    """Print the account of an answer: an `alignment` object, or None where the request was passed through."""
    console = console or Console(highlight=False)
    for line in lines(report, width=max(40, console.width)):
        console.print(line, no_wrap=True, crop=True, overflow="ellipsis")


def lines(report: Any, *, width: int = 100) -> list[Text]:
    """The lines of an account, none longer than `width`."""
    if report is None:
        return [Text("[no alignment: passed through]", "dim")]
    told: Mapping[str, Any] = report if isinstance(report, Mapping) else report.model_dump(exclude_none=True)
    shown = [_head(told), *_roles(told)]
    for step in told.get("steps") or ():
        shown += _step(step, width)
    shown += [Text(f"Warning: {plain(warning)}", "yellow") for warning in told.get("warnings") or ()]
    return [_fitted(line, width) for line in shown]


def _head(told: Mapping[str, Any]) -> Text:
    """Status, change and cost of the whole."""
    status, usage = str(told.get("status")), told.get("usage") or {}
    head = Text("[alignment ").append(status, COLOURS.get(status, ""))
    head.append(", changed" if told.get("changed") else ", unchanged")
    if usage.get("calls"):
        head.append(f", {count(usage['calls'], 'engine call')}, {count(usage.get('discarded_tokens') or 0, 'token')} discarded")
    return head.append("]")


def _roles(told: Mapping[str, Any]) -> list[Text]:
    """Tokens by engine role, where more than one played."""
    roles = (told.get("usage") or {}).get("by_role") or {}
    if len(roles) < 2:
        return []
    return [Text("  " + "; ".join(f"{role}: {_spent(used)}" for role, used in roles.items()), "dim")]


def _step(step: Mapping[str, Any], width: int) -> list[Text]:
    """One step: a line of its own, why, and its details."""
    status = str(step.get("status"))
    line = Text(f"{step.get('strategy', '?')!s:<16} {step.get('role', ''):<9}").append(f"{status:<9}", COLOURS.get(status, ""))
    line.append(f"{step.get('ms') or 0:>8.0f} ms  {_spent(step)}" + ("" if step.get("changed") else "  unchanged"), "dim")
    shown = [line]
    if step.get("reason"):
        shown.append(Text(f"  {plain(step['reason'])}", COLOURS.get(status, "")))
    shown += _members({name: value for name, value in step.items() if name not in RECORD}, "  ", width, 0)
    return cut(shown, STEP_LINES, "  ")


def _spent(used: Mapping[str, Any]) -> str:
    """Calls and tokens in words."""
    if not used.get("calls"):
        return "no calls"
    tokens = f"{used.get('prompt_tokens') or 0} + {used.get('completion_tokens') or 0} tokens"
    return f"{count(used['calls'], 'call')}, {tokens}"


def _members(details: Mapping[str, Any], indent: str, width: int, depth: int) -> list[Text]:
    """Short members together on a line, each long one under its name."""
    short = {name: scalar(value) for name, value in details.items()}
    shown = _pairs({name: word for name, word in short.items() if word is not None}, indent, width)
    for name, value in details.items():
        if short[name] is None:
            shown += _member(name, value, indent, width, depth)
    return shown


def _pairs(words: Mapping[str, str], indent: str, width: int) -> list[Text]:
    """Names and short values, as many on a line as fit."""
    shown: list[Text] = []
    for name, word in words.items():
        pair = Text.assemble((f"{title(name)} ", "dim"), word)
        if shown and shown[-1].cell_len + pair.cell_len + 2 <= width:
            shown[-1].append("  ").append_text(pair)
        else:
            shown.append(Text(indent).append_text(pair))
    return shown


def _member(name: str, value: Any, indent: str, width: int, depth: int) -> list[Text]:
    """A long member: its name, and beneath it what it holds, shown by its shape."""
    inner = f"{indent}  "
    if isinstance(value, str):
        body = _diff(value, inner, width) if name.endswith("diff") else _words(value, inner, width)
    elif depth >= DEEPEST:
        body = _words(_json(value), inner, width)
    elif isinstance(value, Mapping):
        body = forest([value], inner, NODES) if "visits" in value else _members(value, inner, width, depth + 1)
    else:
        body = _entries(name, value, inner, width, depth)
    return [Text(f"{indent}{title(name)}", "bold"), *body]


def _entries(name: str, values: Sequence[Any], indent: str, width: int, depth: int) -> list[Text]:
    """A list: diff lines, hits, rounds, or words."""
    if name.endswith("diff") and all(isinstance(value, str) for value in values):
        return _diff("\n".join(values), indent, width)
    if values and all(isinstance(value, Mapping) and "visits" in value for value in values):
        return forest(values, indent, NODES if depth == 0 else INNER_NODES)
    small = [_small(value) for value in values]
    if values and None not in small:
        return _words("; ".join(word for word in small if word is not None), indent, width, most=SMALL_LINES)
    shown: list[Text] = []
    for number, value in enumerate(values[:ENTRIES], 1):
        if isinstance(value, Mapping) and isinstance(value.get("score"), int | float):
            shown += _hit(value, indent, width)
        elif isinstance(value, Mapping):
            shown += _round(number, value, indent, width, depth)
        elif isinstance(value, list | tuple) and scalar(value) is None and depth < DEEPEST:
            shown += [Text(f"{indent}{number:>2}"), *_entries(name, value, f"{indent}   ", width, depth + 1)]
        else:
            shown += _words(scalar(value) or _json(value), indent, width)
    if len(values) > ENTRIES:
        shown.append(Text(f"{indent}... {len(values) - ENTRIES} more", "dim"))
    return shown


def _small(value: Any) -> str | None:
    """A mapping that says little: its members in words, None for one that deserves a line."""
    if not isinstance(value, Mapping) or not value or any(name in value for name in ("score", *MARKED)):
        return None
    words = [(title(name), scalar(one)) for name, one in value.items()]
    told = " ".join(f"{name} {word}" for name, word in words)
    return told if len(told) <= SMALL and all(word is not None for _, word in words) else None


def _hit(hit: Mapping[str, Any], indent: str, width: int) -> list[Text]:
    """A retrieved document: score, id, the rest of it short, its first words."""
    texts = {name: value for name, value in hit.items() if isinstance(value, str) and name in ("text", "prompt", "passage")}
    others = {name: value for name, value in hit.items() if name not in texts and name not in ("score", "id")}
    line = Text(f"{indent}{hit['score']:.3f}  ", "cyan").append(plain(str(hit.get("id", ""))))
    words = [f"{title(name)} {word}" for name, value in others.items() if (word := scalar(value)) is not None]
    line.append("  " + "  ".join(words) if words else "", "dim")
    inner = f"{indent}       "
    return [line, *(text for value in texts.values() for text in _words(value, inner, width, most=2))]


def _round(number: int, entry: Mapping[str, Any], indent: str, width: int, depth: int) -> list[Text]:
    """An entry of a list: its number before its first line, the marked one in green."""
    members = _members(entry, f"{indent}   ", width, depth + 1)
    if not members:
        return [Text(f"{indent}{number}.")]
    first = members[0][len(indent) + 3 :]
    return [Text.assemble(indent, (f"{number:>2} ", "bold green" if is_marked(entry) else ""), first), *members[1:]]


def _diff(text: str, indent: str, width: int) -> list[Text]:
    """A unified diff, coloured; a line of prose is wrapped under its sign."""
    shown: list[Text] = []
    room = max(20, width - len(indent) - 1)
    for line in text.splitlines():
        sign, rest = line[:1], plain(line[1:])
        parts = textwrap.wrap(rest, room, drop_whitespace=False, replace_whitespace=False) or [""]
        shown += [Text(f"{indent}{plain(sign)}{part}", DIFF_COLOURS.get(sign, "dim")) for part in parts]
    return cut(shown, DIFF_LINES, indent)


def _words(text: str, indent: str, width: int, *, most: int = TEXT_LINES) -> list[Text]:
    """A text, wrapped, its first lines."""
    room = max(20, width - len(indent))
    wrapped = [part for line in text.strip("\n").splitlines() for part in textwrap.wrap(plain(line), room) or [""]]
    return cut([Text(f"{indent}{line}", "italic") for line in wrapped], most, indent)


def _json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _fitted(line: Text, width: int) -> Text:
    line.truncate(width, overflow="ellipsis")
    return line
