"""What makes a row one that can be trained on, whatever file it came from."""

import math

from trimtab.training.data.rows import Preference, Response, Row, Text, Turn


class BadRecord(Exception):
    """A record that makes no row; the message is the reason, without line or file."""


def validate(row: Row) -> Row:
    """The row itself. Raises BadRecord for the first thing that is wrong with it."""
    _check_prompt(row.prompt)
    for place, response in enumerate(row.responses):
        name = f"response {place + 1}" if len(row.responses) > 1 else "the response"
        _check_response(name, row.prompt, response)
    for preference in row.preferences:
        _check_preference(preference, row.responses)
    return row


def check_text(name: str, text: str) -> None:
    """Raises BadRecord for text that no tokenizer can read."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadRecord(f"{name} holds a lone surrogate {text[error.start]!r} at character {error.start + 1}") from None


def _check_prompt(prompt: Text) -> None:
    if isinstance(prompt, str):
        check_text("the prompt", prompt)
        return
    if not prompt:
        raise BadRecord("the prompt holds no turn")
    for turn in prompt:
        check_text(f"a turn of the {turn.role}", turn.content)
    if prompt[-1].role not in ("user", "tool"):
        raise BadRecord(f"the prompt's last turn must be the user's (or a tool's), not the {prompt[-1].role}'s")


def _check_response(name: str, prompt: Text, response: Response) -> None:
    content = response.content
    if isinstance(prompt, str) and not isinstance(content, str):
        raise BadRecord(f"{name} is a list of turns, but the prompt is plain text: write both in one form")
    if isinstance(content, str):
        _check_answer(name, content)
    else:
        _check_turns(name, content)
    if response.score is not None and not math.isfinite(response.score):
        raise BadRecord(f"the score of {name} is {response.score}; it must be finite")
    if not (math.isfinite(response.weight) and response.weight >= 0):
        raise BadRecord(f"the weight of {name} is {response.weight}; it must be finite and at least 0")


def _check_turns(name: str, turns: tuple[Turn, ...]) -> None:
    if not turns:
        raise BadRecord(f"{name} is empty")
    if turns[0].role != "assistant" or turns[-1].role != "assistant":
        raise BadRecord(f"{name} must begin and end with a turn of the assistant")
    for turn in turns:
        _check_answer(name, turn.content)


def _check_answer(name: str, text: str) -> None:
    if not text.strip():
        raise BadRecord(f"{name} is empty")
    check_text(name, text)


def _check_preference(preference: Preference, responses: tuple[Response, ...]) -> None:
    a, b = preference.a, preference.b
    for place in (a, b):
        if not 0 <= place < len(responses):
            raise BadRecord(f"a preference names response {place}, but there are {len(responses)} (counted from 0)")
    if a == b:
        raise BadRecord(f"a preference compares response {a} with itself")
    if responses[a].content == responses[b].content:
        raise BadRecord("chosen and rejected are equal")
    if not 0 <= preference.p <= 1:
        raise BadRecord(f"the preference's probability is {preference.p}; it must lie between 0 and 1")
    if not math.isfinite(preference.margin):
        raise BadRecord(f"the margin is {preference.margin}; it must be finite")
