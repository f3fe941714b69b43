"""Pages of a table: the rows of one owner in the order in which they were made, from behind a given one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, FromClause, RowMapping, select

from trimtab.server.errors import NotFound
from trimtab.server.jobs.pages import Order


@dataclass(frozen=True, slots=True)
class Stretch:
    """Which stretch is wanted."""

    owner: str
    after: str | None
    """Id of the last item of the page before; None: from the start."""
    limit: int
    order: Order


def page_rows(
    connection: Connection, columns: Sequence[Column[Any]], stretch: Stretch, *where: ColumnElement[bool]
) -> tuple[Sequence[RowMapping], bool]:
    """The columns of a page's rows, and whether there are more. Raises NotFound (`after`) where that item is not there."""
    table = columns[0].table
    query = select(*columns).where(table.c.owner == stretch.owner, *where)
    rising = stretch.order == "asc"
    if stretch.after is not None:
        position = _position(connection, table, stretch.owner, stretch.after)
        query = query.where(table.c.seq > position if rising else table.c.seq < position)
    query = query.order_by(table.c.seq if rising else table.c.seq.desc()).limit(stretch.limit + 1)
    rows = connection.execute(query).mappings().all()
    return rows[: stretch.limit], len(rows) > stretch.limit


def _position(connection: Connection, table: FromClause, owner: str, id: str) -> int:
    position: int | None = None
    if storable(id):
        position = connection.scalar(select(table.c.seq).where(table.c.id == id, table.c.owner == owner))
    if position is None:
        raise NotFound(f"there is no {id[:100]!r} to list from", param="after", code="not_found")
    return position


def storable(id: str) -> bool:
    """Whether a database can be asked for it at all; ids come from clients."""
    return len(id) <= 100 and id.isascii() and id.isprintable()
