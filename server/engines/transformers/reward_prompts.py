"""Answered conversations to ids: through the model's chat template, or, for classifiers without one, as a text or a pair."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trimtab.server.engines.encoding import ChatEncoder
from trimtab.strategies.core.errors import RequestRefused
from trimtab.strategies.core.messages import Conversation


@dataclass(frozen=True, slots=True)
class ScoredPrompt:
    """The ids of what is scored."""

    ids: tuple[int, ...]
    types: tuple[int, ...]
    """Which of two texts each token belongs to, for models that ask; 0 otherwise."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What a tokenizer puts around one text, or around two: ids and types before, between and behind."""

    pieces: tuple[tuple[int, ...], ...]
    types: tuple[tuple[int, ...], ...]
    own: tuple[int, ...]
    """Type of each text's tokens."""

    def around(self, texts: Sequence[Sequence[int]]) -> ScoredPrompt:
        """The texts' ids inside the frame."""
        ids, types = list(self.pieces[0]), list(self.types[0])
        for place, text in enumerate(texts):
            ids += [*text, *self.pieces[place + 1]]
            types += [*[self.own[place]] * len(text), *self.types[place + 1]]
        return ScoredPrompt(tuple(ids), tuple(types))


class RewardPrompts:
    """The prompts of one scoring model; content never becomes a control token."""

    def __init__(self, tokenizer: Any, encoder: ChatEncoder, *, has_template: bool) -> None:
        self._encoder = encoder
        self._has_template = has_template
        self._single, self._pair = frame_of(tokenizer, 1), frame_of(tokenizer, 2)

    def encode(self, conversation: Conversation) -> ScoredPrompt:
        """The ids of a conversation that ends with its answer. Raises RequestRefused, also where it holds no message."""
        if not conversation.messages:
            raise RequestRefused("a conversation to be scored holds no message", param="messages")
        if self._has_template:
            ids = self._encoder.encode(conversation.wire(), add_generation_prompt=False).ids
            return ScoredPrompt(ids, (0,) * len(ids))
        *before, answer = [message.text for message in conversation.messages]
        if not before:
            return self._single.around([self._text(answer)])
        return self._pair.around([self._text("\n".join(before)), self._text(answer)])

    def _text(self, text: str) -> list[int]:
        return self._encoder.encode_text([("content", text)], add_bos=False)


def frame_of(tokenizer: Any, texts: int) -> Frame:
    """What a tokenizer puts around texts, learned from a probe."""
    probe = list(tokenizer("a", add_special_tokens=False)["input_ids"])
    whole = tokenizer(*["a"] * texts)
    ids = list(whole["input_ids"])
    types = list(whole.get("token_type_ids") or [0] * len(ids))
    pieces, piece_types, own, start = [], [], [], 0
    for _ in range(texts):
        at = next(place for place in range(start, len(ids)) if ids[place : place + len(probe)] == probe)
        pieces.append(tuple(ids[start:at]))
        piece_types.append(tuple(types[start:at]))
        own.append(types[at])
        start = at + len(probe)
    return Frame((*pieces, tuple(ids[start:])), (*piece_types, tuple(types[start:])), tuple(own))
