"""What a single id looks like: its bytes and its string, as log-probability entries and `/tokenize` show them."""

import re
from typing import Any

BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def _byte_of_character() -> dict[str, int]:
    """The byte that each printable stand-in of byte-level BPE means.

    Source: Radford et al. 2019 (GPT-2): printable Latin-1 bytes stand for themselves, the others follow above 255 in order.
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}


BYTE_OF_CHARACTER = _byte_of_character()


class Pieces:
    """The vocabulary of a tokenizer, id by id."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._byte_level = "ByteLevel" in str(tokenizer.backend_tokenizer.decoder)
        self._added: dict[int, Any] = tokenizer.added_tokens_decoder

    def bytes_of(self, token_id: int) -> bytes:
        """The UTF-8 bytes that this id adds to a text; some ids hold a part of a character. Control tokens spell their name."""
        if token_id in self._added:
            return str(self._added[token_id]).encode()
        piece = self._tokenizer.convert_ids_to_tokens(token_id)
        if piece is None:
            return b""
        if self._byte_level:
            return bytes(BYTE_OF_CHARACTER[character] for character in piece if character in BYTE_OF_CHARACTER)
        if byte := BYTE_PIECE.fullmatch(piece):
            return bytes([int(byte[1], 16)])
        return str(piece).replace("\u2581", " ").encode()

    def string_of(self, token_id: int) -> str:
        """The text of this id; a part of a character is written `bytes:\\xe2\\x80`."""
        raw = self.bytes_of(token_id)
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)
