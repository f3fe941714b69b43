"""A second tokenizer in which control strings are ordinary text and only secret aliases become control tokens.

Text is encoded in one call, as the model's own tokenizer would do it, so merges, leading spaces and pre-tokenisation are the
same on both sides of a control token. Aliases hold a random number of this process; nothing a client writes can match one.
"""

import json
import secrets
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer


class NotRepresentable(Exception):
    """This tokenizer has no second form in which its control strings are text; the message says why."""


@dataclass(frozen=True, slots=True)
class BlindTokenizer:
    """Encodes text whose control tokens are written as aliases."""

    nonce: str
    """Part of every alias; text that holds it must not be encoded here."""
    aliases: Mapping[str, str]
    """Control string -> alias."""
    _tokenizer: Tokenizer

    def encode(self, aliased: str) -> list[int]:
        """The ids of a text, without the tokenizer's own beginning and end tokens."""
        return list(self._tokenizer.encode(aliased, add_special_tokens=False).ids)


def blind_tokenizer(backend: Tokenizer, controls: Mapping[str, int]) -> BlindTokenizer:
    """The second tokenizer of a model.

    Every control string is renamed to its alias, among the added tokens and in the vocabulary, and merges that would build
    one from text are dropped. Raises NotRepresentable where an id would change.
    """
    nonce = f"zq{secrets.token_hex(8)}"
    aliases = {text: f"{nonce}n{number}q" for number, text in enumerate(controls)}
    form = json.loads(backend.to_str())
    form.update(truncation=None, padding=None, post_processor=None)
    for token in form["added_tokens"]:
        if token["content"] in aliases:
            token.update(content=aliases[token["content"]], special=False, single_word=False)
    _rename_vocabulary(form["model"], aliases)
    tokenizer = Tokenizer.from_str(json.dumps(form, ensure_ascii=False))
    for token in form["added_tokens"]:
        if tokenizer.token_to_id(token["content"]) != token["id"]:
            raise NotRepresentable(f"the id of an added token changes from {token['id']} when control strings are renamed")
    return BlindTokenizer(nonce, aliases, tokenizer)


def _rename_vocabulary(model: dict[str, Any], aliases: Mapping[str, str]) -> None:
    def renamed(piece: str) -> str:
        return aliases.get(piece, piece)

    vocab = model.get("vocab")
    if isinstance(vocab, dict):
        model["vocab"] = {renamed(piece): number for piece, number in vocab.items()}
    elif isinstance(vocab, list):
        model["vocab"] = [[renamed(piece), score] for piece, score in vocab]
    else:
        raise NotRepresentable(f"a tokenizer of type {model.get('type')!r} has no vocabulary that can be renamed")
    if isinstance(model.get("unk_token"), str):
        model["unk_token"] = renamed(model["unk_token"])
    if model.get("merges"):
        model["merges"] = [merge for merge in model["merges"] if not _touches(merge, aliases)]


def _touches(merge: str | list[str], controls: Container[str]) -> bool:
    left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
    return left + right in controls or left in controls or right in controls
