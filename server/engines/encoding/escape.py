"""Breaking control strings in text, for engines whose tokenizer is out of reach, and spotting look-alikes in documents.

A broken string reads the same to a person and no tokenizer takes it for a control token. Works from families of strings that
open models use; where the tokenizer is known, `trimtab.server.engines.encoding.chat` is exact and this is its fallback.
"""

import re
import unicodedata
from collections.abc import Iterable

BREAK = "\u200b"
"""Zero-width space: put after the first character of a control string."""

_NAMES = (
    "s|bos|eos|pad|unk|mask|sep|cls|sop|eop|eot|eom|eod|think|thinking|tool_calls?|tool_response|tool_result|tools|image|"
    "start_of_turn|end_of_turn|start_of_image|end_of_image|begin_of_text|end_of_text|function_calls?|unused[0-9]{1,5}"
)
_BRACKETED = "INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|ARGS|IMG|THINK|MASK|SEP|CLS|PAD|UNK|gMASK"

FAMILIES = re.compile(
    r"<\|[^\s<>|][^<>|\n]{0,62}\|>"  # <|im_start|>, <|start_header_id|>, <|eot_id|>
    r"|<｜[^<>｜\n]{1,64}｜>"  # <｜begin▁of▁sentence｜>
    rf"|</?(?:{_NAMES})>"
    rf"|\[/?(?:{_BRACKETED})\]"
    r"|<</?SYS>>"
)
"""Control strings of widely used open models: ChatML, Llama, Mistral, Gemma, DeepSeek, Phi and their tool marks."""

TURN_MARKS = re.compile(r"<\|[^\s<>|][^<>|\n]{0,62}\|>|<(?:start|end)_of_turn>|\[/?INST\]|<</?SYS>>")
"""Strings that open or close a turn in a template whose tokenizer has no token for them."""

_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060-\u2064\ufeff]")


def escape(text: str) -> str:
    """The text with every known control string broken by a zero-width space; other text comes back as it is.

    Applying it again changes nothing. Markup that only looks like a mark (`<s>` in HTML) is broken as well.
    """
    while FAMILIES.search(text):  # a broken string may have held another; strings are short, so this ends soon
        text = FAMILIES.sub(lambda match: match[0][0] + BREAK + match[0][1:], text)
    return text


class LookalikeScanner:
    """Names the control strings, plain or disguised, in a text that is about to be stored or quoted.

    extra: control strings of the served models beside the known families (`ChatEncoder.control_strings`).
    Disguises seen through: invisible characters inside a string, full-width and other compatibility forms.
    """

    def __init__(self, extra: Iterable[str] = ()) -> None:
        escaped = sorted((re.escape(string) for string in extra), key=len, reverse=True)
        self._pattern = re.compile("|".join([*escaped, FAMILIES.pattern]))

    def find(self, text: str) -> frozenset[str]:
        """The control strings that occur, undisguised."""
        plain = _INVISIBLE.sub("", text)
        both = plain if plain.isascii() else f"{plain}\n{unicodedata.normalize('NFKC', plain)}"
        return frozenset(match[0] for match in self._pattern.finditer(both))
