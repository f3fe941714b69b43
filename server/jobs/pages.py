"""Pages: lists that are read a stretch at a time."""

from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

Item = TypeVar("Item")
Order = Literal["asc", "desc"]


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """A stretch of a list."""

    items: tuple[Item, ...]
    has_more: bool
    """Whether there are items behind the last of these."""
