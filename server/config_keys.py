"""The keys of a configuration model: which exist at a path, and which one a mistyped key probably meant."""

import difflib
import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

Location = tuple[str | int, ...]

_TAGS = frozenset({"str", "int", "float", "bool"})
"""What pydantic calls the plain members of a union."""


def sections(annotation: Any) -> tuple[type[BaseModel], ...]:
    """The models a type may hold directly: itself, or the members of a union."""
    return tuple(_sections(annotation))


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _sections(get_args(annotation)[0])
    elif origin in (Union, types.UnionType):
        for member in get_args(annotation):
            yield from _sections(member)
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation


def item_type(annotation: Any) -> Any:
    """The type of a list's or mapping's entries; None where the type holds none."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return item_type(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return next((found for found in map(item_type, get_args(annotation)) if found is not None), None)
    if origin in (tuple, list, frozenset):
        return get_args(annotation)[0]
    return get_args(annotation)[1] if isinstance(origin, type) and issubclass(origin, Mapping) else None


def kind_of(section: type[BaseModel]) -> str | None:
    """The value of a section's `kind`, None where it has none."""
    field = section.model_fields.get("kind")
    return get_args(field.annotation)[0] if field and get_origin(field.annotation) is Literal else None


def nearest(model: type[BaseModel], location: Location) -> str | None:
    """The existing key most like the last one of pydantic's location."""
    here = list(_walk(model, location[:-1]))[-1][1]
    names = [name for section in sections(here) for name in section.model_fields]
    near = difflib.get_close_matches(str(location[-1]), names, n=1, cutoff=0.5)
    return near[0] if near else None


def without_tags(model: type[BaseModel], location: Location) -> Location:
    """Pydantic's location without the tags of unions: the path as it is written in the file."""
    return tuple(part for part, _, is_key in _steps(model, location) if is_key)


def _walk(model: type[BaseModel], location: Location) -> Iterator[tuple[str | int, Any]]:
    yield "", model
    for part, annotation, _ in _steps(model, location):
        yield part, annotation


def _steps(model: type[BaseModel], location: Location) -> Iterator[tuple[str | int, Any, bool]]:
    """Each part with the type below it, and whether it is a key of the file."""
    here: Any = model
    for part in location:
        members = sections(here)
        by_kind = next((section for section in members if part in {kind_of(section), section.__name__}), None)
        field = next((s.model_fields[part] for s in members if isinstance(part, str) and part in s.model_fields), None)
        if field is not None:
            here, is_key = field.annotation, True
        elif by_kind is not None:
            here, is_key = by_kind, False
        else:
            inner = item_type(here)
            is_key = part not in _TAGS and (inner is not None or bool(members) or isinstance(part, int))
            here = inner
        yield part, here, is_key
