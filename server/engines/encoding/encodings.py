"""From pieces of a prompt to ids, in the two ways that keep content from acting: `segment` and `escape`."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

from tokenizers import Tokenizer

from trimtab.server.engines.encoding.blind import NotRepresentable, blind_tokenizer
from trimtab.server.engines.encoding.pieces import Piece, broken, text_of
from trimtab.server.engines.encoding.scan import Scanner
from trimtab.strategies.core.errors import RequestRefused


def undefended_ids(tokenizer: Any, text: str) -> list[int]:
    """The ids of a text by the model's own tokenizer, every control string acting, without its beginning and end tokens."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


class Encoding(Protocol):
    """One way of encoding pieces."""

    @property
    def mode(self) -> Literal["segment", "escape"]:
        """Its name."""
        ...

    def shown(self, pieces: Sequence[Piece]) -> Sequence[Piece]:
        """The pieces as the model will see them: strings that can only be broken are."""
        ...

    def ids(self, pieces: Sequence[Piece]) -> Sequence[int]:
        """The ids of pieces that `shown` returned."""
        ...


class SegmentEncoding:
    """Control pieces become control tokens, the other pieces are spelled out; every character is kept.

    soft: marks that the template writes without a token of their own; in content they can only be broken.
    Raises NotRepresentable for tokenizers without a fast form, and where ids would change.
    """

    mode: Literal["segment"] = "segment"

    def __init__(self, tokenizer: Any, controls: Mapping[str, int], soft: Scanner) -> None:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if not isinstance(backend, Tokenizer):
            raise NotRepresentable(f"{type(tokenizer).__name__} has no fast form (tokenizer.json)")
        self._blind = blind_tokenizer(backend, controls)
        self._soft = soft

    def shown(self, pieces: Sequence[Piece]) -> Sequence[Piece]:
        """The pieces, soft marks outside control pieces broken."""
        return broken(pieces, self._soft) if self._soft.strings else pieces

    def ids(self, pieces: Sequence[Piece]) -> Sequence[int]:
        """The ids, by one call of the second tokenizer over the whole prompt."""
        if any(self._blind.nonce in piece.text for piece in pieces if not piece.control):
            raise RequestRefused("content holds this server's alias of a control token", code="unsafe_content")
        aliases = self._blind.aliases
        return self._blind.encode("".join(aliases.get(p.text, p.text) if p.control else p.text for p in pieces))


class EscapeEncoding:
    """Control strings outside control pieces are broken, and the model's own kind of tokenizer encodes the text."""

    mode: Literal["escape"] = "escape"

    def __init__(self, tokenizer: Any, scanner: Scanner) -> None:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        self._tokenizer = tokenizer
        self._copy = _private_copy(backend) if isinstance(backend, Tokenizer) else None
        self._scanner = scanner

    def shown(self, pieces: Sequence[Piece]) -> Sequence[Piece]:
        """The pieces, control strings outside control pieces broken."""
        return broken(pieces, self._scanner)

    def ids(self, pieces: Sequence[Piece]) -> Sequence[int]:
        """The ids of the whole text; tokenizers without a fast form are used as they are, shared."""
        text = text_of(pieces)
        if self._copy is None:
            return undefended_ids(self._tokenizer, text)
        return list(self._copy.encode(text, add_special_tokens=False).ids)


def _private_copy(backend: Tokenizer) -> Tokenizer:
    copy = Tokenizer.from_str(backend.to_str())
    copy.no_truncation()
    copy.no_padding()
    copy.encode_special_tokens = backend.encode_special_tokens
    return copy
