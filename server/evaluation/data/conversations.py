"""Conversations of a record: turns that are checked, prompts that end with the user, pairs that share their beginning."""

from collections.abc import Mapping, Sequence
from typing import Any

from trimtab.server.evaluation.data.fields import BadRecord, a_list, a_string, an_object
from trimtab.server.evaluation.samples import Turn

ROLES = ("system", "user", "assistant")


def turns_of(value: Any, column: str) -> tuple[Turn, ...]:
    """The turns of a list of `{"role", "content"}`; further members of a turn are left out, tool calls refused."""
    found = a_list(value, column)
    if not found:
        raise BadRecord(f"{column} holds no turn")
    return tuple(_turn(turn, f"{column}[{place}]") for place, turn in enumerate(found))


def _turn(value: Any, name: str) -> Turn:
    turn: Mapping[str, Any] = an_object(value, name)
    if turn.get("role") not in ROLES:
        raise BadRecord(f"the role of {name} is {turn.get('role')!r}; known are {', '.join(ROLES)}")
    if turn.get("tool_calls"):
        raise BadRecord(f"{name} has tool_calls, which an evaluation does not use")
    return {"role": turn["role"], "content": a_string(turn.get("content"), f"content of {name}")}


def prompt_of(turns: Sequence[Turn], column: str) -> tuple[Turn, ...]:
    """The turns, which must end with the user's."""
    if turns[-1]["role"] != "user":
        raise BadRecord(f"the last turn of {column} must be the user's, not the {turns[-1]['role']}'s")
    return tuple(turns)


def as_user(text: str) -> tuple[Turn, ...]:
    """A plain prompt as a conversation."""
    return ({"role": "user", "content": text},)


def with_system(text: str, turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """The conversation after a system turn, of which it may have none itself."""
    if turns[0]["role"] == "system":
        raise BadRecord("there is a system column, but the prompt has a system turn too")
    return ({"role": "system", "content": text}, *turns)


def answer_to(prompt: Sequence[Turn], value: Any, column: str) -> str:
    """An answer: a string, one turn of the assistant, or the conversation again with that turn behind."""
    if isinstance(value, str):
        return a_string(value, column)
    turns = turns_of(value, column)
    said = [turn for turn in prompt if turn["role"] != "system"]
    for repeated in (list(prompt), said):
        if list(turns[: len(repeated)]) == repeated and len(turns) > len(repeated):
            turns = turns[len(repeated) :]
    if len(turns) != 1 or turns[0]["role"] != "assistant":
        raise BadRecord(f"{column} must be one turn of the assistant behind the prompt, not {_roles(turns)}")
    return str(turns[0]["content"])


def pair_of(chosen: Sequence[Turn], rejected: Sequence[Turn]) -> tuple[tuple[Turn, ...], str, str]:
    """The prompt that both share, the chosen and the rejected answer: conversations that differ in their last turn alone."""
    for column, turns in (("chosen", chosen), ("rejected", rejected)):
        if turns[-1]["role"] != "assistant":
            raise BadRecord(f"{column} must end with a turn of the assistant, not of the {turns[-1]['role']}")
    if list(chosen[:-1]) != list(rejected[:-1]):
        raise BadRecord(f"chosen and rejected differ before their last answers, at turn {_parting(chosen, rejected)}")
    if len(chosen) == 1:
        raise BadRecord("chosen and rejected share no prompt")
    return prompt_of(chosen[:-1], "the shared prompt"), str(chosen[-1]["content"]), str(rejected[-1]["content"])


def _parting(chosen: Sequence[Turn], rejected: Sequence[Turn]) -> int:
    """The first turn, from 1, at which they are not the same."""
    same = (one == other for one, other in zip(chosen, rejected, strict=False))
    return next((place for place, equal in enumerate(same, 1) if not equal), min(len(chosen), len(rejected)) + 1)


def _roles(turns: Sequence[Turn]) -> str:
    return ", ".join(turn["role"] for turn in turns)
