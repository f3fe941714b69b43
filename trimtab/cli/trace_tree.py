"""Search trees of a trace: the nodes with the most visits, each under its parent."""

import heapq
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.text import Text

from trimtab.cli.trace_words import MARKED, count, is_marked, plain, scalar, title

CHILDREN = ("children", "candidates")
"""Members that hold a node's children."""


def forest(roots: Sequence[Mapping[str, Any]], indent: str, most: int) -> list[Text]:
    """Search trees: the nodes with the most visits, each under its parent, most visited first."""
    kept, total = _most_visited(roots, most)
    shown: list[Text] = []

    def walk(nodes: Sequence[Mapping[str, Any]], lead: str) -> None:
        for node in sorted(nodes, key=_visits, reverse=True):
            if id(node) in kept:
                shown.append(_node(node, lead))
                walk(_children(node), f"{lead}  ")

    walk(roots, indent)
    if total > len(kept):
        shown.append(Text(f"{indent}... {count(total - len(kept), 'more node')} with fewer visits", "dim"))
    return shown


def _node(node: Mapping[str, Any], lead: str) -> Text:
    """One node: visits, value, prior, the text it adds."""
    is_it = is_marked(node)
    line = Text(f"{lead}{_visits(node):>4g} visits", "bold" if is_it else "")
    for name, value in node.items():
        word = scalar(value) if name not in ("visits", "text", "tokens", *CHILDREN, *MARKED) else None
        if word is not None:
            line.append(f"  {title(name)} {word}", "dim")
    if isinstance(node.get("text"), str):
        line.append(f"  {plain(json.dumps(node['text'], ensure_ascii=False))}", "italic")
    return line.append("  <- chosen", "green") if is_it else line


def _most_visited(roots: Sequence[Mapping[str, Any]], most: int) -> tuple[set[int], int]:
    """Which nodes are shown, and how many there are: the marked roots, then by visits, none without its parent."""
    order = itertools.count()
    heap = [(not is_marked(root), -_visits(root), next(order), root) for root in roots]
    heapq.heapify(heap)
    kept: set[int] = set()
    while heap and len(kept) < most:
        node = heapq.heappop(heap)[-1]
        kept.add(id(node))
        for child in _children(node):
            heapq.heappush(heap, (True, -_visits(child), next(order), child))
    return kept, sum(1 for root in roots for _ in _walk(root))


def _walk(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for child in _children(node):
        yield from _walk(child)


def _children(node: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = [node[name] for name in CHILDREN if isinstance(node.get(name), list | tuple)]
    return [child for children in found for child in children if isinstance(child, Mapping)]


def _visits(node: Mapping[str, Any]) -> float:
    visits = node.get("visits")
    return float(visits) if isinstance(visits, int | float) else 0.0
