"""How `trimtab corpus` shows corpora, documents and hits: as JSON for programs, as short lines for people."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trimtab.retrieval.documents import Document, Hit
    from trimtab.retrieval.receipts import CorpusInfo

TEXT_CHARS = 300
"""What is shown of a long text."""


def show_corpora(infos: "Sequence[CorpusInfo]", as_json: bool) -> None:
    """Print every corpus at a glance."""
    from rich.console import Console
    from rich.table import Table

    if as_json:
        for info in infos:
            print(json.dumps(told(info), ensure_ascii=False))
        return
    table = Table(box=None, pad_edge=False)
    for column in ("corpus", "documents", "version", "encoder", "made"):
        table.add_column(column, overflow="fold")
    for info in infos:
        made = "built in" if info.read_only else (info.created or "-")[:10]
        table.add_row(info.name, str(info.documents), str(info.version), info.encoder, made)
    Console().print(table)


def told(info: "CorpusInfo") -> dict[str, Any]:
    """A corpus as JSON."""
    names = ("name", "encoder", "documents", "chunks", "version", "created", "read_only")
    return {**{name: getattr(info, name) for name in names}, "metadata": dict(info.metadata)}


def plain(document: "Document") -> dict[str, Any]:
    """A document as a line that `add` reads again."""
    return {"id": document.id, "text": document.text, "metadata": dict(document.metadata)}


def found(hit: "Hit") -> dict[str, Any]:
    """A hit as JSON."""
    return {"score": hit.score, "passage": hit.text, "chunk": hit.chunk, "document": plain(hit.document)}


def shown(hit: "Hit") -> str:
    """A hit for people: score, id, passage, and the answer of a demonstration."""
    lines = [f"{hit.score:.3f}  {short(hit.document.id)}", f"       {short(hit.text)}"]
    answer = hit.document.metadata.get("answer")
    return "\n".join([*lines, *([f"       -> {short(str(answer))}"] if answer else [])])


def short(text: str) -> str:
    """A text on one line of bounded length; what could steer a terminal is shown, not sent."""
    line = "".join(character if character.isprintable() else " " for character in " ".join(text.split()))
    return line if len(line) <= TEXT_CHARS else f"{line[: TEXT_CHARS - 1]}…"
