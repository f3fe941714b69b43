"""The reference of the configuration: Markdown rendered from the models, a table a section."""

import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from trimtab.server.config_keys import item_type, kind_of, sections

HEAD = """# Configuration

One YAML file configures a server: `trimtab serve --config trimtab.yaml`. Flag > environment > file > default; an unknown key
is an error. `${{VAR}}` and `${{VAR:-default}}` in a string read the environment. A relative path of a model, adapter or
template means what lies beside the file; where nothing does, it starts from the working directory. `trimtab serve RUN` serves
a directory that holds a `trimtab.yaml`, as training writes it.

Every key is also an environment variable: its path in capitals, joined by two underscores, after `{prefix}` (`http.port` is
`{prefix}HTTP__PORT`; lists and objects as YAML). Short forms: {short}.
"""


def reference(model: type[BaseModel] | None = None) -> str:
    """The reference of a configuration model, by default of a whole server."""
    from trimtab.server.config_environment import PREFIX, SHORT_FORMS
    from trimtab.server.settings import Settings

    short = ", ".join(f"`{PREFIX}{name}` (`{'.'.join(keys)}`)" for name, keys in SHORT_FORMS.items())
    return HEAD.format(prefix=PREFIX, short=short) + "".join(_section("", model or Settings, set()))


def _section(path: str, model: type[BaseModel], seen: set[type[BaseModel]]) -> list[str]:
    """The section of a model and of those below it; one that was shown already is only named."""
    kind = kind_of(model)
    title = f"`{path}`" + (f" with `kind: {kind}`" if kind else "") if path else "Top level"
    if model in seen:
        return []
    seen.add(model)
    lines = [
        f"\n## {title}\n\n{(model.__doc__ or '').strip()}\n\n| key | type | default | meaning |\n| --- | --- | --- | --- |\n"
    ]
    below: list[str] = []
    for name, field in model.model_fields.items():
        row = (f"`{name}`", type_name(field.annotation, field.metadata), _default(field), field.description or _described(name))
        lines.append(f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in row)} |\n")
        for inner in _inner(field.annotation):
            below += _section(_join(path, name, field.annotation), inner, seen)
    return [*lines, *below]


def _inner(annotation: Any) -> tuple[type[BaseModel], ...]:
    return sections(annotation) or (sections(item_type(annotation)) if item_type(annotation) is not None else ())


def _join(path: str, name: str, annotation: Any) -> str:
    inside = "" if sections(annotation) else ".NAME" if _is_mapping(annotation) else "[]"
    return ".".join(part for part in (path, name) if part) + inside


def _is_mapping(annotation: Any) -> bool:
    origin = get_origin(annotation)
    return isinstance(origin, type) and issubclass(origin, Mapping)


def type_name(annotation: Any, metadata: Any = ()) -> str:
    """A type in words: `integer >= 1`, `list of text`, `closed, open or degrade`."""
    bounds = " ".join(_bound(limit) for limit in metadata if _bound(limit))
    return f"{_name(annotation)} {bounds}".strip()


def _name(annotation: Any) -> str:
    origin, args = get_origin(annotation), get_args(annotation)
    plain = {int: "integer", float: "number", str: "text", bool: "true or false", SecretStr: "text, secret", Any: "anything"}
    if annotation in plain:
        return plain[annotation]
    if origin is Annotated:
        return type_name(args[0], args[1:])
    if origin is Literal:
        return _either([f"`{arg}`" for arg in args])
    if origin in (Union, types.UnionType):
        names = dict.fromkeys(_name(arg) for arg in args if arg is not type(None))
        return _either(list(names))
    if origin in (list, tuple, frozenset):
        return f"list of {_name(args[0])}"
    if _is_mapping(annotation):
        return f"name to {_name(args[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"object ({kind_of(annotation) or 'below'})"
    return {"Path": "path"}.get(getattr(annotation, "__name__", ""), str(annotation))


def _either(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _bound(limit: Any) -> str:
    for attribute, sign in (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<")):
        if hasattr(limit, attribute):
            return f"{sign} {getattr(limit, attribute)}"
    return ""


def _described(name: str) -> str:
    return "Chooses this section." if name == "kind" else ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None or value in ((), {}, []) or value == frozenset():
        return "none"
    if isinstance(value, BaseModel):
        return f"`kind: {kind_of(type(value))}`" if kind_of(type(value)) else "as below"
    if isinstance(value, frozenset | tuple | list):
        return ", ".join(f"`{item}`" for item in sorted(value))
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"
