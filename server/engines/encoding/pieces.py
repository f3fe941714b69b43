"""A prompt as pieces: control strings the template (or an operator) wrote, and all other text, in which none may act.

Two ways to encode them: *segment* keeps every character, *escape* breaks the control strings that stand in other text.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from trimtab.server.engines.encoding.escape import BREAK
from trimtab.server.engines.encoding.marks import Mark
from trimtab.server.engines.encoding.scan import Scanner

_PASSES = 8
"""A break can join what was no control string before it; more rounds than this have not been seen."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some characters of a prompt."""

    text: str
    control: bool
    """Whether it is a string of the scanner's, written by the template or an operator."""


def literal_pieces(text: str, scanner: Scanner) -> list[Piece]:
    """The pieces of a text whose every control string counts."""
    pieces: list[Piece] = []
    at = 0
    for match in scanner.matches(text):
        pieces += [Piece(text[at : match.start()], False), Piece(match[0], True)]
        at = match.end()
    return [piece for piece in (*pieces, Piece(text[at:], False)) if piece.text]


def unmarked_pieces(marked: str, mark: Mark, scanner: Scanner) -> list[Piece]:
    """The pieces of a marked rendering: control strings without a mark inside were not a client's."""
    pieces = (
        piece if piece.control else Piece(mark.removed_from(piece.text), False) for piece in literal_pieces(marked, scanner)
    )
    return [piece for piece in pieces if piece.text]


def text_of(pieces: Iterable[Piece]) -> str:
    """The characters of all pieces."""
    return "".join(piece.text for piece in pieces)


def controls_of(pieces: Iterable[Piece]) -> tuple[str, ...]:
    """The control strings that count, in order."""
    return tuple(piece.text for piece in pieces if piece.control)


def forged_in(pieces: Sequence[Piece], scanner: Scanner) -> frozenset[str]:
    """Control strings that the joined text holds where no control piece stands."""
    spans = _control_spans(pieces)
    return frozenset(m[0] for m in scanner.matches(text_of(pieces)) if m.span() not in spans)


def broken(pieces: Sequence[Piece], scanner: Scanner) -> list[Piece]:
    """The pieces with a zero-width space inside each control string that is none of the control pieces.

    `forged_in` of the result is empty but where control pieces touch each other and form a third string between them.
    """
    result = list(pieces)
    for _ in range(_PASSES):
        cuts = _cuts(result, scanner)
        if not cuts:
            break
        result = _with_breaks(result, cuts)
    return result


def _control_spans(pieces: Iterable[Piece]) -> set[tuple[int, int]]:
    spans, at = set(), 0
    for piece in pieces:
        if piece.control:
            spans.add((at, at + len(piece.text)))
        at += len(piece.text)
    return spans


def _cuts(pieces: Sequence[Piece], scanner: Scanner) -> list[int]:
    spans = _control_spans(pieces)
    inside = {at for start, end in spans for at in range(start + 1, end)}
    forged = [match for match in scanner.matches(text_of(pieces)) if match.span() not in spans]
    firsts = (next((at for at in range(m.start() + 1, m.end()) if at not in inside), None) for m in forged)
    return sorted({at for at in firsts if at is not None})


def _with_breaks(pieces: Sequence[Piece], cuts: Sequence[int]) -> list[Piece]:
    result: list[Piece] = []
    start = 0
    for piece in pieces:
        end = start + len(piece.text)
        if piece.control:
            result.append(piece)
        else:
            within = cuts[bisect_left(cuts, start) : bisect_right(cuts, end)]
            edges = [0, *(cut - start for cut in within), len(piece.text)]
            result.append(Piece(BREAK.join(piece.text[a:b] for a, b in pairwise(edges)), False))
        start = end
    return result
