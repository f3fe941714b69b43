"""The tokenizer as `/tokenize`, `/detokenize` and `/tokenizer_info` show it: exactly what the engine will see."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trimtab.server.engines.base import Wire
from trimtab.server.engines.transformers.pieces import Pieces
from trimtab.strategies.core.messages import Segment, Text

EncodeChat = Callable[[Mapping[str, Any]], tuple[int, ...]]
EncodeText = Callable[[Text], tuple[int, ...]]


class HfTokenizerFace:
    """`TokenizerFace` over a Hugging Face tokenizer and the engine's own encoders."""

    def __init__(self, tokenizer: Any, *, encode_chat: EncodeChat, encode_text: EncodeText, max_model_len: int) -> None:
        self._tokenizer = tokenizer
        self._encode_chat = encode_chat
        self._encode_text = encode_text
        self._max_model_len = max_model_len
        self._pieces = Pieces(tokenizer)
        self._begins_with_bos = tokenizer("a").input_ids[:1] == [tokenizer.bos_token_id]

    def tokenize_chat(self, body: Mapping[str, Any]) -> list[int]:
        """Ids of a conversation."""
        return list(self._encode_chat(body))

    def tokenize_text(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Ids of a raw prompt, which may hold control tokens; its BOS token comes first where the tokenizer itself puts it."""
        add_bos = add_special_tokens and self._begins_with_bos
        return list(self._encode_text(Text((Segment("literal", text),), add_bos=add_bos)))

    def detokenize(self, token_ids: Sequence[int]) -> str:
        """Text of ids, control tokens shown."""
        text: str = self._tokenizer.decode(list(token_ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text

    def token_strings(self, token_ids: Sequence[int]) -> list[str]:
        """One string a token."""
        return [self._pieces.string_of(token_id) for token_id in token_ids]

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes of one token."""
        return self._pieces.bytes_of(token_id)

    def info(self) -> Wire:
        """What is known of the tokenizer."""
        tokenizer = self._tokenizer
        template = tokenizer.chat_template
        return {
            "tokenizer_class": type(tokenizer).__name__,
            "vocab_size": len(tokenizer),
            "max_model_len": self._max_model_len,
            "bos_token": tokenizer.bos_token,
            "eos_token": tokenizer.eos_token,
            "pad_token": tokenizer.pad_token,
            "unk_token": tokenizer.unk_token,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            "chat_template": template if isinstance(template, str | None) else dict(template),
        }
