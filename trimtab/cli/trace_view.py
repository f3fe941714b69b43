"""An `alignment` object as lines for a terminal: every step, what it did and cost, and what a full trace tells of it.

It knows the members that every step has and otherwise goes by shape, so that a plug-in's details read as well as our own:
text under a name that ends in `diff` is a unified diff; mappings with a `score` are hits; a mapping with `visits` is the root
of a tree; a list of mappings is a list of rounds; anything else is shown by name. Height and width are bounded. What models
and documents said cannot move the cursor: control characters are spelt out.
"""

import heapq
import itertools
import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

STEP_LINES = 60
"""Most lines of one step."""
TEXT_LINES = 6
"""Most lines of one text."""
DIFF_LINES = 30
"""Most lines of one diff."""
ENTRIES = 10
"""Most entries of one list."""
NODES = 16
"""Most nodes of one tree, those with the most visits."""
SHORT = 64
"""Longest value that shares a line with others, in characters."""
DEEPEST = 5
"""Levels of nested details; below them JSON."""

RECORD = ("strategy", "role", "status", "changed", "reason", "ms", "calls", "prompt_tokens", "completion_tokens")
"""What every step tells about itself."""
COLOURS = {"applied": "green", "skipped": "dim", "degraded": "yellow", "failed": "bold red"}
DIFF_COLOURS = {"+": "green", "-": "red", "@": "cyan"}
MARKED = ("committed", "chosen", "accepted", "kept")
"""Members that say of a node or an entry that it is the one."""


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
    shown += [Text(f"Warning: {_plain(warning)}", "yellow") for warning in told.get("warnings") or ()]
    return [_fitted(line, width) for line in shown]


def _head(told: Mapping[str, Any]) -> Text:
    """Status, change and cost of the whole."""
    status, usage = str(told.get("status")), told.get("usage") or {}
    head = Text("[alignment ").append(status, COLOURS.get(status, ""))
    head.append(", changed" if told.get("changed") else ", unchanged")
    if usage.get("calls"):
        head.append(
            f", {_count(usage['calls'], 'engine call')}, {_count(usage.get('discarded_tokens') or 0, 'token')} discarded"
        )
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
        shown.append(Text(f"  {_plain(step['reason'])}", COLOURS.get(status, "")))
    shown += _members({name: value for name, value in step.items() if name not in RECORD}, "  ", width, 0)
    return _cut(shown, STEP_LINES, "  ")


def _spent(used: Mapping[str, Any]) -> str:
    """Calls and tokens in words."""
    if not used.get("calls"):
        return "no calls"
    tokens = f"{used.get('prompt_tokens') or 0} + {used.get('completion_tokens') or 0} tokens"
    return f"{_count(used['calls'], 'call')}, {tokens}"


def _members(details: Mapping[str, Any], indent: str, width: int, depth: int) -> list[Text]:
    """Short members together on a line, each long one under its name."""
    short = {name: _scalar(value) for name, value in details.items()}
    shown = _pairs({name: word for name, word in short.items() if word is not None}, indent, width)
    for name, value in details.items():
        if short[name] is None:
            shown += _member(name, value, indent, width, depth)
    return shown


def _pairs(words: Mapping[str, str], indent: str, width: int) -> list[Text]:
    """Names and short values, as many on a line as fit."""
    shown: list[Text] = []
    for name, word in words.items():
        pair = Text.assemble((f"{_title(name)} ", "dim"), word)
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
        body = _tree(value, inner) if "visits" in value else _members(value, inner, width, depth + 1)
    else:
        body = _entries(name, value, inner, width, depth)
    return [Text(f"{indent}{_title(name)}", "bold"), *body]


def _entries(name: str, values: Sequence[Any], indent: str, width: int, depth: int) -> list[Text]:
    """A list: diff lines, hits, rounds, or words."""
    if name.endswith("diff") and all(isinstance(value, str) for value in values):
        return _diff("\n".join(values), indent, width)
    shown: list[Text] = []
    for number, value in enumerate(values[:ENTRIES], 1):
        if isinstance(value, Mapping) and isinstance(value.get("score"), int | float):
            shown += _hit(value, indent, width)
        elif isinstance(value, Mapping):
            shown += _round(number, value, indent, width, depth)
        elif isinstance(value, list | tuple) and _scalar(value) is None and depth < DEEPEST:
            shown += [Text(f"{indent}{number:>2}"), *_entries(name, value, f"{indent}   ", width, depth + 1)]
        else:
            shown += _words(_scalar(value) or _json(value), indent, width)
    if len(values) > ENTRIES:
        shown.append(Text(f"{indent}... {len(values) - ENTRIES} more", "dim"))
    return shown


def _hit(hit: Mapping[str, Any], indent: str, width: int) -> list[Text]:
    """A retrieved document: score, id, the rest of it short, its first words."""
    texts = {name: value for name, value in hit.items() if isinstance(value, str) and name in ("text", "prompt", "passage")}
    others = {name: value for name, value in hit.items() if name not in texts and name not in ("score", "id")}
    line = Text(f"{indent}{hit['score']:.3f}  ", "cyan").append(_plain(str(hit.get("id", ""))))
    words = [f"{_title(name)} {word}" for name, value in others.items() if (word := _scalar(value)) is not None]
    line.append("  " + "  ".join(words) if words else "", "dim")
    inner = f"{indent}       "
    return [line, *(text for value in texts.values() for text in _words(value, inner, width, most=2))]


def _round(number: int, entry: Mapping[str, Any], indent: str, width: int, depth: int) -> list[Text]:
    """An entry of a list: its number before its first line, the marked one in green."""
    members = _members(entry, f"{indent}   ", width, depth + 1)
    if not members:
        return [Text(f"{indent}{number}.")]
    first = members[0][len(indent) + 3 :]
    is_it = any(entry.get(name) is True for name in MARKED)
    return [Text.assemble(indent, (f"{number:>2} ", "bold green" if is_it else ""), first), *members[1:]]


def _tree(root: Mapping[str, Any], indent: str) -> list[Text]:
    """A search tree: the nodes with the most visits, each under its parent, most visited first."""
    kept, total = _most_visited(root)
    shown: list[Text] = []

    def walk(node: Mapping[str, Any], lead: str) -> None:
        shown.append(_node(node, lead))
        for child in sorted(_children(node), key=_visits, reverse=True):
            if id(child) in kept:
                walk(child, f"{lead}  ")

    walk(root, indent)
    if total > len(kept):
        shown.append(Text(f"{indent}... {total - len(kept)} more nodes with fewer visits", "dim"))
    return shown


def _node(node: Mapping[str, Any], lead: str) -> Text:
    """One node: visits, value, prior, the text it adds."""
    line = Text(f"{lead}{_visits(node):>4g} visits", "bold" if any(node.get(name) is True for name in MARKED) else "")
    for name, value in node.items():
        word = _scalar(value) if name not in ("visits", "children", "text", "tokens", *MARKED) else None
        if word is not None:
            line.append(f"  {_title(name)} {word}", "dim")
    if isinstance(node.get("text"), str):
        line.append(f"  {json.dumps(node['text'], ensure_ascii=False)}", "italic")
    return line.append("  <- committed", "green") if any(node.get(name) is True for name in MARKED) else line


def _most_visited(root: Mapping[str, Any]) -> tuple[set[int], int]:
    """Which nodes are shown, and how many there are. Children have no more visits than their parent, so none hangs loose."""
    order = itertools.count()
    heap = [(-_visits(root), next(order), root)]
    kept: set[int] = set()
    while heap and len(kept) < NODES:
        _, _, node = heapq.heappop(heap)
        kept.add(id(node))
        for child in _children(node):
            heapq.heappush(heap, (-_visits(child), next(order), child))
    return kept, sum(1 for _ in _walk(root))


def _walk(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for child in _children(node):
        yield from _walk(child)


def _children(node: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    children = node.get("children")
    return [child for child in children if isinstance(child, Mapping)] if isinstance(children, Sequence) else []


def _visits(node: Mapping[str, Any]) -> float:
    visits = node.get("visits")
    return float(visits) if isinstance(visits, int | float) else 0.0


def _diff(text: str, indent: str, width: int) -> list[Text]:
    """A unified diff, coloured; a line of prose is wrapped under its sign."""
    shown: list[Text] = []
    room = max(20, width - len(indent) - 1)
    for line in text.splitlines():
        sign, rest = line[:1], _plain(line[1:])
        parts = textwrap.wrap(rest, room, drop_whitespace=False, replace_whitespace=False) or [""]
        shown += [Text(f"{indent}{_plain(sign)}{part}", DIFF_COLOURS.get(sign, "dim")) for part in parts]
    return _cut(shown, DIFF_LINES, indent)


def _words(text: str, indent: str, width: int, *, most: int = TEXT_LINES) -> list[Text]:
    """A text, wrapped, its first lines."""
    room = max(20, width - len(indent))
    wrapped = [part for line in text.strip("\n").splitlines() for part in textwrap.wrap(_plain(line), room) or [""]]
    return _cut([Text(f"{indent}{line}", "italic") for line in wrapped], most, indent)


def _cut(shown: list[Text], most: int, indent: str) -> list[Text]:
    """The first lines, and how many there would be."""
    if len(shown) <= most:
        return shown
    return [*shown[: most - 1], Text(f"{indent}... {len(shown) - most + 1} more lines", "dim")]


def _scalar(value: Any) -> str | None:
    """A short value in words, None for one that needs lines of its own."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return (_plain(value) or '""') if len(value) <= SHORT and "\n" not in value else None
    parts = [_scalar(part) for part in value] if isinstance(value, Sequence) else [None]
    joined = ", ".join(part for part in parts if part is not None)
    return f"[{joined}]" if None not in parts and len(joined) <= SHORT else None


def _json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _title(name: str) -> str:
    return _plain(name.replace("_", " "))


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _plain(text: str) -> str:
    """Text in which control characters, the terminal's among them, are spelt out."""
    return "".join(char if char.isprintable() else " " if char == "\t" else repr(char)[1:-1] for char in text)


def _fitted(line: Text, width: int) -> Text:
    line.truncate(width, overflow="ellipsis")
    return line
