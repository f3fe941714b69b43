"""Finds what may deceive a reader or a model in a text: strings shaped like control tokens, and characters nobody sees.

It only reports. Engines keep content from ever becoming control tokens; the report lets a person look before a rule is
trusted.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

SPECIAL_TOKEN = re.compile(
    r"<\|[^<>|\s]{1,48}\|>"  # <|im_start|>, <|endoftext|>, <|eot_id|>
    r"|<｜[^<>｜\s]{1,48}｜>"  # full-width bars
    r"|</?(?:s|bos|eos|pad|unk|mask|cls|sep|tool_call|tool_response|think)>"
    r"|<(?:start|end)_of_(?:turn|image)>|<(?:end_of_utterance|fim_prefix|fim_middle|fim_suffix)>"
    r"|<(?:unused|extra_id_|reserved_special_token_)_?\d{1,5}>"
    r"|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]"
    r"|\[(?:CLS|SEP|PAD|MASK|UNK)\]"
    r"|<</?SYS>>",
    re.IGNORECASE,
)
"""Control tokens of the common model families."""

INVISIBLE = re.compile(
    "[\u00ad\u061c\u115f\u1160\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
"""Soft hyphens, zero-width and bidirectional controls, and the tag characters that can carry a hidden text."""

MOST_MARKS = 16
"""Marks reported of one document."""


def marks(text: str, metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """What is suspicious in a document, each finding once, at most 16; () for a clean one.

    A finding reads `special token <|im_end|>` or `invisible U+200B ZERO WIDTH SPACE`.
    """
    found: dict[str, None] = {}
    for part in (text, *_strings(metadata)):
        for match in SPECIAL_TOKEN.finditer(part):
            found[f"special token {match[0]}"] = None
        for match in INVISIBLE.finditer(part):
            found[f"invisible U+{ord(match[0]):04X} {unicodedata.name(match[0], 'UNNAMED')}"] = None
    return tuple(found)[:MOST_MARKS]


def _strings(value: Any) -> Iterator[str]:
    """Every string inside a JSON value, names of members included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, member in value.items():
            yield name
            yield from _strings(member)
    elif isinstance(value, Sequence):
        for member in value:
            yield from _strings(member)
