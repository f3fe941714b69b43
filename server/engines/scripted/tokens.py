"""The scripted engine's tokens: the bytes of UTF-8 and a few control tokens. Exact both ways, nothing to load."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trimtab.server.engines.base import Wire
from trimtab.strategies.core.messages import Conversation, Message, Text

BOS, EOS, TURN_START, TURN_END = 256, 257, 258, 259
CONTROL: Mapping[int, str] = {BOS: "<|bos|>", EOS: "<|eos|>", TURN_START: "<|turn|>", TURN_END: "<|end|>"}
VOCABULARY = 260
_CONTROL_IDS = {text: token for token, text in CONTROL.items()}
_CONTROL_PATTERN = re.compile("(" + "|".join(re.escape(text) for text in _CONTROL_IDS) + ")")


class ScriptedTokenizer:
    """Encodes chats as `<|turn|>role\\ntext<|end|>`; content never yields a control token."""

    def plain(self, text: str) -> list[int]:
        """Ids of text in which nothing is a control token."""
        return list(text.encode())

    def literal(self, text: str) -> list[int]:
        """Ids of text in which control strings are control tokens."""
        ids: list[int] = []
        for piece in _CONTROL_PATTERN.split(text):
            ids.extend([_CONTROL_IDS[piece]] if piece in _CONTROL_IDS else self.plain(piece))
        return ids

    def chat(self, conversation: Conversation, *, tools: Sequence[Any] = (), generation_prompt: bool = True) -> list[int]:
        """Ids of a conversation."""
        ids = [BOS]
        if tools:
            ids += [TURN_START, *self.plain(f"tools\n{list(tools)}"), TURN_END]
        for message in conversation.messages:
            ids += [TURN_START, *self.plain(f"{message.role}\n{_said(message)}"), TURN_END]
        if generation_prompt or conversation.prefill is not None:
            ids += [TURN_START, *self.plain(f"assistant\n{conversation.prefill or ''}")]
        return ids

    def text(self, text: Text) -> list[int]:
        """Ids of a raw prompt."""
        ids = [BOS] if text.add_bos else []
        for segment in text.segments:
            ids += self.literal(segment.text) if segment.kind == "literal" else self.plain(segment.text)
        return ids

    def decode(self, token_ids: Iterable[int], *, control: bool = False) -> str:
        """Text of ids; bytes that are no UTF-8 become U+FFFD; control tokens shown on request."""
        pieces: list[bytes] = []
        for token in token_ids:
            if token < 256:
                pieces.append(bytes([token]))
            elif control:
                pieces.append(CONTROL[token].encode())
        return b"".join(pieces).decode("utf-8", errors="replace")

    def tokenize_chat(self, body: Mapping[str, Any]) -> list[int]:
        """Ids of a chat body."""
        messages = list(body["messages"])
        prefill = None
        if body.get("continue_final_message"):
            prefill = Message.from_wire(messages.pop()).text
        conversation = Conversation(tuple(Message.from_wire(m) for m in messages), prefill)
        return self.chat(conversation, tools=body.get("tools") or (), generation_prompt=body.get("add_generation_prompt", True))

    def tokenize_text(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Ids of a raw prompt."""
        return [BOS, *self.literal(text)] if add_special_tokens else self.literal(text)

    def detokenize(self, token_ids: Sequence[int]) -> str:
        """Text of ids, control tokens shown."""
        return self.decode(token_ids, control=True)

    def token_strings(self, token_ids: Sequence[int]) -> list[str]:
        """One string a token; single bytes of longer characters as `<0xE2>`."""
        return [CONTROL.get(t) or (chr(t) if t < 128 else f"<0x{t:02X}>") for t in token_ids]

    def info(self) -> Wire:
        """What `/tokenizer_info` answers."""
        return {
            "tokenizer_class": "ScriptedTokenizer",
            "bos_token": CONTROL[BOS],
            "eos_token": CONTROL[EOS],
            "vocab_size": VOCABULARY,
            "chat_template": None,
        }


def _said(message: Message) -> str:
    calls = message.fields.get("tool_calls")
    return message.text + (f"\n{calls}" if calls else "")
