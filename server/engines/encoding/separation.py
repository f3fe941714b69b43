"""Separating, in a rendered conversation, the control strings that the template wrote from those of content.

The conversation is rendered with marks in every suspicious string of the client's. A control string without a mark inside is
the template's own. Where the marks change what a template writes (it looks into content), a sparser marking is tried; it is
taken only if the template's control strings come out the same and the text is the undefended one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from trimtab.server.engines.encoding.chat_input import ChatInput
from trimtab.server.engines.encoding.marks import Mark
from trimtab.server.engines.encoding.pieces import Piece, controls_of, forged_in, literal_pieces, text_of, unmarked_pieces
from trimtab.server.engines.encoding.rendering import Ending, TemplateRenderer
from trimtab.server.engines.encoding.scan import SEPARATOR, Scanner
from trimtab.strategies.core.errors import RequestRefused

INSPECTED = "the chat template looks for control strings in content; they were hidden from it"


_PROBE = "Qu<Iz Nöl|b] [c>\n\n {D}\te f  G"
_PROBED_TURNS = ((("user",), 0), (("system", "user"), 0), (("user", "assistant", "user"), 1))


@dataclass(frozen=True, slots=True)
class Separated:
    """A rendered prompt whose control pieces are the template's (or an operator's) alone."""

    pieces: list[Piece]
    forged: frozenset[str] = frozenset()
    """Control strings in the other pieces, or across them."""
    notes: tuple[str, ...] = ()


class Separator:
    """Renders conversations with one template and separates their control strings. Safe to share among threads.

    inspectable: control strings that may stay visible to a template that looks for them (reasoning marks).
    """

    def __init__(self, renderer: TemplateRenderer, scanner: Scanner, inspectable: frozenset[str] = frozenset()) -> None:
        self._renderer = renderer
        self._scanner = scanner
        self._inspectable = inspectable
        self._opens = any(scanner.begins_at_end(literal) for literal in renderer.literals)
        self._rewrites = renderer.exists and self._rewrites_content()

    def may_be_forged(self, chat: ChatInput) -> bool:
        """Whether any string of the client's could bring a control string into the rendering. False for ordinary chat."""
        strings = chat.strings()
        if self._rewrites or self._scanner.may_form(SEPARATOR.join(strings)):
            return True
        return self._opens and any(self._scanner.ends_at_start(string) for string in strings)

    def separated(self, chat: ChatInput, ending: Ending) -> Separated:
        """The rendering of a conversation. Raises RequestRefused where the template does."""
        plain = self._renderer.render(chat, ending)
        if not self.may_be_forged(chat):
            return Separated(literal_pieces(plain, self._scanner))
        mark = Mark.absent_from([*chat.strings(), plain, self._renderer.source])
        if mark is None:
            raise RequestRefused("the conversation holds every private-use character there is", param="messages")
        return self._separated(chat, ending, plain, mark)

    def _separated(self, chat: ChatInput, ending: Ending, plain: str, mark: Mark) -> Separated:
        first = self._marked(chat, ending, mark, None)
        own = controls_of(first)
        for pieces in chain([first], self._sparser(chat, ending, mark)):
            if text_of(pieces) == plain and controls_of(pieces) == own:
                return Separated(pieces, forged_in(pieces, self._scanner))
        undefended = self._scanner.found(plain)
        held = forged_in(first, self._scanner).union(*(self._scanner.found(string) for string in chat.strings()))
        if not held and undefended == own:
            return Separated(literal_pieces(plain, self._scanner))
        return Separated(first, held or frozenset(undefended) ^ frozenset(own) or frozenset(own), (INSPECTED,))

    def _sparser(self, chat: ChatInput, ending: Ending, mark: Mark) -> Iterator[list[Piece]]:
        for kept in dict.fromkeys((frozenset[str](), self._inspectable)):
            try:
                yield self._marked(chat, ending, mark, kept)
            except RequestRefused:
                continue

    def _marked(self, chat: ChatInput, ending: Ending, mark: Mark, kept: frozenset[str] | None) -> list[Piece]:
        """The pieces of the rendering with dense marks (`kept` is None) or sparse ones in suspicious strings."""

        def change(string: str) -> str:
            if not self._suspicious(string):
                return string
            return mark.dense(string) if kept is None else mark.sparse(string, self._scanner, kept)

        return unmarked_pieces(self._renderer.render(chat.changed(change), ending), mark, self._scanner)

    def _suspicious(self, string: str) -> bool:
        return self._rewrites or self._scanner.may_form(string) or (self._opens and self._scanner.ends_at_start(string))

    def _rewrites_content(self) -> bool:
        """Whether the template changes content beyond trimming it; then every string is marked."""
        for roles, probed in _PROBED_TURNS:
            turns = [{"role": role, "content": _PROBE if at == probed else "x"} for at, role in enumerate(roles)]
            try:
                if _PROBE not in self._renderer.render(ChatInput(turns), Ending()):
                    return True
            except RequestRefused:
                continue
        return False
