"""Our own record: what every other form is read into, and the only one that holds all of a row.

{"prompt": text or turns, "responses": [{"content", "score"?, "rank"?, "label"?, "kind"?, "feedback"?, "weight"?}],
 "pref"?: [{"a", "b", "p"?, "margin"?}], "id"?}
"""

from collections.abc import Iterable, Mapping
from typing import Any

from trimtab.training.data.fields import (
    Record,
    a_label,
    a_list,
    a_number,
    a_string,
    a_text,
    a_whole_number,
    as_prompt,
    named,
)
from trimtab.training.data.rows import KINDS, Preference, Response, Row, Text
from trimtab.training.data.validation import BadRecord

_RESPONSE = frozenset({"content", "score", "rank", "label", "kind", "feedback", "weight", "gen"})
_PREFERENCE = frozenset({"a", "b", "p", "margin"})


def unified_row(record: Record) -> Row:
    """The row of our own record. An unknown member of a response or preference is refused: a typo must not lose a label."""
    responses = [_response(item, f"responses[{place}]") for place, item in enumerate(a_list(record, "responses"))]
    column = "pref" if "pref" in record else "preferences"
    given = a_list(record, column) if column in record else ()
    preferences = [_preference(item, f"{column}[{place}]") for place, item in enumerate(given)]
    return Row("", as_prompt(a_text(record["prompt"], "prompt")), tuple(responses), tuple(preferences))


def record_of(row: Row) -> dict[str, Any]:
    """The row as our own record, ready for a line of JSON; members without a value are left out."""
    record: dict[str, Any] = {
        "id": row.id,
        "prompt": wire(row.prompt),
        "responses": [_without_defaults(response) for response in row.responses],
    }
    if row.preferences:
        record["pref"] = [{"a": one.a, "b": one.b, "p": one.p, "margin": one.margin} for one in row.preferences]
    return record


def wire(text: Text) -> str | list[dict[str, str]]:
    """Plain text, or turns as JSON has them."""
    return text if isinstance(text, str) else [{"role": turn.role, "content": turn.content} for turn in text]


def _response(value: Any, name: str) -> Response:
    members = _members(value, name, _RESPONSE)
    if "content" not in members:
        raise BadRecord(f"{name} has no content")
    kind = members.get("kind")
    if kind is not None and kind not in KINDS:
        raise BadRecord(f"{name} is of the kind {kind!r}; known are {', '.join(KINDS)}")
    return Response(
        a_text(members["content"], f"{name}.content"),
        score=a_number(members["score"], f"{name}.score") if "score" in members else None,
        rank=a_whole_number(members["rank"], f"{name}.rank") if "rank" in members else None,
        label=a_label(members["label"], f"{name}.label") if "label" in members else None,
        kind=kind,
        feedback=a_string(members, "feedback") if "feedback" in members else None,
        weight=a_number(members.get("weight", 1.0), f"{name}.weight"),
    )


def _preference(value: Any, name: str) -> Preference:
    members = _members(value, name, _PREFERENCE)
    for member in ("a", "b"):
        if member not in members:
            raise BadRecord(f"{name} has no {member}")
    return Preference(
        a_whole_number(members["a"], f"{name}.a"),
        a_whole_number(members["b"], f"{name}.b"),
        a_number(members.get("p", 1.0), f"{name}.p"),
        a_number(members.get("margin", 0.0), f"{name}.margin"),
    )


def _members(value: Any, name: str, known: Iterable[str]) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise BadRecord(f"{name} must be an object, not {named(value)}")
    members = {member: held for member, held in value.items() if held is not None}
    unknown = sorted(members.keys() - set(known))
    if unknown:
        raise BadRecord(f"{name} has the unknown member {unknown[0]!r}; known are {', '.join(sorted(known))}")
    return members


def _without_defaults(response: Response) -> dict[str, Any]:
    members = {name: getattr(response, name) for name in ("score", "rank", "label", "kind", "feedback")}
    held: dict[str, Any] = {"content": wire(response.content)}
    held |= {name: value for name, value in members.items() if value is not None}
    return held if response.weight == 1 else held | {"weight": response.weight}
