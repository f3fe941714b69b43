"""The tokenizer face: exactly the ids that the engine will see."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trimtab.server.engines.base import Wire
from trimtab.server.engines.encoding.chat import ChatEncoder
from trimtab.strategies.core.messages import Conversation, Text


class VllmTokenizer:
    """Tokenizer and chat template of the served model; works also while the engine restarts."""

    def __init__(
        self,
        tokenizer: Any,
        encoder: ChatEncoder,
        chat_template: str | None,
        render: Callable[[Mapping[str, Any]], list[int]],
    ) -> None:
        """tokenizer: a transformers tokenizer of our own. render: the ids of a chat body on the engine's path."""
        self._tokenizer = tokenizer
        self._encoder = encoder
        self._chat_template = chat_template
        self._render = render

    def tokenize_chat(self, body: Mapping[str, Any]) -> list[int]:
        """Ids of `messages`, with `tools`, `add_generation_prompt` and `continue_final_message` of the body."""
        return self._render(body)

    def tokenize_text(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Ids of a raw prompt as `/v1/completions` would encode it."""
        return list(self._tokenizer.encode(text, add_special_tokens=add_special_tokens))

    def detokenize(self, token_ids: Sequence[int]) -> str:
        """Text of ids, control tokens shown."""
        return str(self._tokenizer.decode(list(token_ids), skip_special_tokens=False))

    def token_strings(self, token_ids: Sequence[int]) -> list[str]:
        """One string a token."""
        return [str(self._tokenizer.decode([token], skip_special_tokens=False)) for token in token_ids]

    def info(self) -> Wire:
        """What `/tokenizer_info` answers."""
        known = self._tokenizer
        return {
            "tokenizer_class": type(known).__name__,
            "vocab_size": len(known),
            "model_max_length": known.model_max_length,
            "bos_token": known.bos_token,
            "eos_token": known.eos_token,
            "pad_token": known.pad_token,
            "unk_token": known.unk_token,
            "chat_template": self._chat_template,
        }

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of ids, control tokens left out."""
        return str(self._tokenizer.decode(list(token_ids), skip_special_tokens=True))

    def encode_chat(self, conversation: Conversation) -> tuple[int, ...]:
        """Ids of a conversation with the generation prompt, or the prefill, at its end."""
        messages = conversation.wire()
        if conversation.prefill is None:
            return tuple(self._render({"messages": messages}))
        messages.append({"role": "assistant", "content": conversation.prefill})
        return tuple(self._render({"messages": messages, "add_generation_prompt": False, "continue_final_message": True}))

    def encode_answered(self, conversation: Conversation) -> tuple[int, ...]:
        """Ids of a conversation that ends with its answer."""
        return tuple(self._render({"messages": conversation.wire(), "add_generation_prompt": False}))

    def encode_text(self, text: Text) -> tuple[int, ...]:
        """Ids of a raw prompt; `content` segments forge no control token."""
        return tuple(self._encoder.encode_text([(s.kind, s.text) for s in text.segments], add_bos=text.add_bos))
