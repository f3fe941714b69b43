"""Finding control strings in text: one compiled pattern for thousands of strings, and one for a whole request at once.

Strings are matched as tokenizers match added tokens, leftmost first and the longest there. Knows text only: no tokenizer,
no template.
"""

import re
from collections.abc import Iterable, Sequence

SEPARATOR = "\x00"
"""Stands between the strings of a request while they are scanned together."""

_LONGEST_PREFIX = 64
"""Longest unfinished control string looked for at the end of a string, in characters (bounds the pattern's depth)."""


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


def _branches(suffixes: Iterable[str]) -> dict[str, list[str]]:
    branches: dict[str, list[str]] = {}
    for suffix in suffixes:
        if suffix:
            branches.setdefault(suffix[0], []).append(suffix[1:])
    return branches


def _prefix_tree(suffixes: Sequence[str], unfinished: str, depth: int = 0) -> str:
    """A pattern of all suffixes, factored by common prefixes; `unfinished` is what may follow where one stops early."""
    options = [
        re.escape(first) + _prefix_tree(rest, unfinished, depth + 1) for first, rest in sorted(_branches(suffixes).items())
    ]
    if unfinished and 0 < depth <= _LONGEST_PREFIX and options:
        options.append(unfinished)
    if not options:
        return ""
    if "" in suffixes:
        return f"(?:{'|'.join(options)})?"
    return options[0] if len(options) == 1 else f"(?:{'|'.join(options)})"


class Scanner:
    """Finds a fixed set of strings. Immutable; safe to share among threads.

    beside: strings that a tokenizer would match first where they overlap with ours; they take characters and are not reported.
    """

    def __init__(self, strings: Iterable[str], beside: Iterable[str] = ()) -> None:
        self.strings = frozenset(strings)
        ordered = sorted(self.strings.union(beside))
        self._whole = re.compile(_prefix_tree(ordered, "") or r"(?!)")
        self._unsafe = re.compile(_prefix_tree(ordered, rf"(?=\s*(?:{SEPARATOR}|\Z))") or r"(?!)")
        self._endings = frozenset(string[at:] for string in self.strings for at in range(1, len(string)))
        self._beginnings = frozenset(string[:at] for string in self.strings for at in range(1, len(string)))

    def matches(self, text: str) -> list[re.Match[str]]:
        """Every occurrence, left to right, without overlaps."""
        return [match for match in self._whole.finditer(text) if match[0] in self.strings]

    def found(self, text: str) -> tuple[str, ...]:
        """The strings that occur, in order, repeated as often as they occur."""
        return tuple(match[0] for match in self.matches(text))

    def may_form(self, joined: str) -> bool:
        """Whether strings joined by `SEPARATOR` hold one of ours, or one of them ends with the beginning of one of ours."""
        return self._unsafe.search(joined) is not None

    def begins_at_end(self, text: str) -> bool:
        """Whether the text (without trailing white space) ends with the beginning of one of ours."""
        text = text.rstrip()
        return any(text[-size:] in self._beginnings for size in range(1, min(len(text), _LONGEST_PREFIX) + 1))

    def ends_at_start(self, text: str) -> bool:
        """Whether the text (without leading white space) starts with the end of one of ours, or lies wholly inside one."""
        text = text.lstrip()
        if any(text[:size] in self._endings for size in range(1, min(len(text), _LONGEST_PREFIX) + 1)):
            return True
        core = text.rstrip()
        return 0 < len(core) <= _LONGEST_PREFIX and any(core in string for string in self.strings)


def overlapping(strings: Iterable[str], controls: Iterable[str]) -> frozenset[str]:
    """Those of `strings` that could take the first characters of a control string, or hold one.

    A tokenizer matches them before the control string, so a scan for control strings has to see them too.
    """
    controls = frozenset(controls)
    beginnings = frozenset(control[:at] for control in controls for at in range(1, len(control) + 1))
    return frozenset(string for string in strings if string not in controls and _overlaps(string, controls, beginnings))


def _overlaps(string: str, controls: frozenset[str], beginnings: frozenset[str]) -> bool:
    size = len(string)
    if any(string[at:] in beginnings for at in range(size)):
        return True
    return any(string[at:end] in controls for at in range(size) for end in range(at + 2, size))
