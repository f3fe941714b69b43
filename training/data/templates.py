"""Rows to token ids, as the served model will see them: through the chat template, or as the plain text that they are.

Boundary. A whole sequence is tokenised at once; its prompt is what the rendered prompt (with its generation prompt) has in
common with it, character by character. So where a tokenizer merges across the boundary, the merged token counts as the
completion's, and a prompt token that comes out otherwise than in the prompt alone counts as nothing.

End of turn. A policy's completion ends with the token that its template writes after a turn, and that token counts; what the
template writes after it is left out. A template that writes none, and plain text, get the end-of-sequence token. Padding is
never looked at, so it may be the same token. Special tokens that the template does not use become tokens when they stand in
content, as everywhere; those that it does use would end a turn or open another, and such rows are refused.
"""

import re
from collections.abc import Sequence
from typing import Any

from jinja2 import TemplateError

from trimtab.training.data.endings import Endings, endings_of
from trimtab.training.data.rows import Text, Turn, conversation_of
from trimtab.training.data.tokens import Encoded, Tokens, Unusable, common_length
from trimtab.training.errors import ModelError

Piece = tuple[str, bool]
"""A part of an answer, and whether it counts."""


class RowTokenizer:
    """Tokenises the rows of one model.

    tokenizer: a `transformers` tokenizer. chat_template: in place of its own. Raises ModelError where it has no
    end-of-sequence token, is no fast one, or its template cannot be used; without a template it tokenises plain text only.
    """

    def __init__(self, tokenizer: Any, chat_template: str | None = None) -> None:
        if tokenizer.eos_token_id is None:
            raise ModelError("the tokenizer has no end-of-sequence token: answers would never end; set eos_token in its config")
        if not tokenizer.is_fast:
            raise ModelError("the tokenizer cannot tell which characters its tokens stand for; a fast one (tokenizer.json) can")
        self._tokenizer = tokenizer
        self._template = chat_template
        self._eos: int = tokenizer.eos_token_id
        self._leading = _before_text(tokenizer)
        self._endings = self._probed() if self.has_template else None
        self._acting = _pattern(self._acting_strings())

    @property
    def has_template(self) -> bool:
        """Whether conversations can be tokenised."""
        return bool(self._template or self._tokenizer.chat_template)

    @property
    def end_ids(self) -> frozenset[int]:
        """The tokens at which a model that learns from these rows stops: for its generation config."""
        ends = {self._eos} if self._endings is None else {self._eos, self._endings.last, self._endings.middle}
        return frozenset(end for end in ends if end is not None)

    def acting(self, text: str) -> str | None:
        """The first string in a text that would end a turn or open one."""
        found = self._acting.search(text)
        return found[0] if found else None

    def prompt(self, prompt: Text) -> tuple[int, ...]:
        """The ids from which a model answers. Raises Unusable, ModelError."""
        if isinstance(prompt, str):
            return (*self._leading, *self._encoded(prompt).ids)
        self._refuse_acting(prompt)
        return self._encoded(self._render(prompt, True)).ids

    def answer(self, prompt: Text, content: Text) -> Tokens:
        """A prompt and its answer for a policy: the answer's assistant turns count. Raises Unusable, ModelError."""
        if isinstance(prompt, str):
            return self._plain(prompt, [(_plain_text(content), True)])
        return self._turns(conversation_of(prompt, content), len(prompt))

    def dialogue(self, prompt: Text, content: Text) -> Tokens:
        """The same where every assistant turn counts, those in the prompt too. Raises Unusable, ModelError."""
        return self.answer(prompt, content) if isinstance(prompt, str) else self._turns(conversation_of(prompt, content), 0)

    def last_turn(self, prompt: Text, content: Text) -> Tokens:
        """The same where only the last assistant turn counts. Raises Unusable, ModelError."""
        if isinstance(prompt, str):
            return self.answer(prompt, content)
        turns = conversation_of(prompt, content)
        return self._turns(turns, max(place for place, turn in enumerate(turns) if turn.role == "assistant"))

    def judged(self, prompt: Text, content: Text) -> Tokens:
        """A prompt and its answer for a scorer: all that is rendered, also after the turn's end, as serving scores it."""
        if isinstance(prompt, str):
            return self.answer(prompt, content)
        turns = conversation_of(prompt, content)
        self._refuse_acting(turns)
        encoded = self._encoded(self._render(turns, False))
        start = self._start(encoded, turns, len(prompt))
        return Tokens(encoded.ids, (0.0,) * start + (1.0,) * (len(encoded.ids) - start))

    def marked(self, prompt: Text, pieces: Sequence[Piece]) -> Tokens:
        """A prompt and an answer of which parts do not count; the end of turn does. Raises Unusable, ModelError."""
        if isinstance(prompt, str):
            return self._plain(prompt, pieces)
        content = "".join(text for text, _ in pieces)
        turns = (*prompt, Turn("assistant", content))
        encoded = self._closed(turns)
        whole = self._weighted(encoded, turns, len(prompt))
        first = _common(encoded.text, self._render(prompt, True))
        at = encoded.text.find(content, first)
        if at < 0:
            raise Unusable("the chat template changes the answer's text, so that its parts cannot be told apart")
        counted = _counted(encoded, at, pieces)
        after = encoded.place(at + len(content))
        kept = (weight if place >= after or place in counted else 0.0 for place, weight in enumerate(whole.weights))
        return Tokens(whole.ids, tuple(kept))

    def continued(self, prompt: str, completion: str) -> Tokens:
        """A raw prompt as serving sends it, tokenised by itself, and what the model has to write after it."""
        before = self.prompt(prompt)
        after = (*self._encoded(completion).ids, self._eos)
        return Tokens((*before, *after), (0.0,) * len(before) + (1.0,) * len(after))

    def _turns(self, turns: Sequence[Turn], first: int) -> Tokens:
        """A conversation in which the assistant's turns from place `first` on count."""
        return self._weighted(self._closed(turns), turns, first)

    def _weighted(self, encoded: Encoded, turns: Sequence[Turn], first: int) -> Tokens:
        weights = [0.0] * len(encoded.ids)
        for place in range(first, len(turns)):
            if turns[place].role == "assistant":
                for token in self._span(encoded, turns, place):
                    weights[token] = 1.0
        if self._ends.last is None:
            return Tokens((*encoded.ids, self._eos), (*weights, 1.0))
        size = max((token + 1 for token, weight in enumerate(weights) if weight), default=0)
        return Tokens(encoded.ids[:size], tuple(weights[:size]))

    def _span(self, encoded: Encoded, turns: Sequence[Turn], place: int) -> range:
        """The tokens of an assistant turn, its end of turn the last. Content holds no end of turn, so it is the next one."""
        start, is_last = self._start(encoded, turns, place), place == len(turns) - 1
        end = self._ends.last if is_last else self._ends.middle
        if end is not None and end in encoded.ids[start:]:
            return range(start, encoded.ids.index(end, start) + 1)
        if is_last:
            return range(start, len(encoded.ids))
        return range(start, encoded.place(_common(encoded.text, self._render(turns[: place + 1], False))))

    def _start(self, encoded: Encoded, turns: Sequence[Turn], place: int) -> int:
        """The first token of an assistant turn: what stands after the generation prompt."""
        return encoded.place(_common(encoded.text, self._render(turns[:place], True)))

    def _closed(self, turns: Sequence[Turn]) -> Encoded:
        """A conversation up to its end of turn, or to its last word where the template writes none."""
        self._refuse_acting(turns)
        text = self._render(turns, False)
        return self._encoded(text.removesuffix(self._ends.tail) if self._ends.last is None else text)

    def _plain(self, prompt: str, pieces: Sequence[Piece]) -> Tokens:
        """Plain text with one end of sequence; a prompt is raw and may hold anything, an answer no string that acts."""
        content = "".join(text for text, _ in pieces)
        if prompt and (found := self.acting(content.removesuffix(self._tokenizer.eos_token))):
            raise Unusable(f"the answer holds the control string {found!r}")
        encoded = self._encoded(prompt + content)
        counted = _counted(encoded, len(prompt), pieces)
        leading = () if encoded.ids[: len(self._leading)] == self._leading else self._leading
        closing = () if encoded.ids[-1:] == (self._eos,) else (self._eos,)
        weights = (float(place in counted) for place in range(len(encoded.ids)))
        return Tokens((*leading, *encoded.ids, *closing), (*(0.0 for _ in leading), *weights, *(1.0 for _ in closing)))

    def _encoded(self, text: str) -> Encoded:
        """A text's tokens without the tokenizer's own beginning and end."""
        read = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        ids = tuple(read["input_ids"])
        offsets = read["offset_mapping"]
        return Encoded(text, ids, tuple(start for start, _ in offsets), tuple(end for _, end in offsets))

    def _render(self, turns: Sequence[Turn], generation: bool) -> str:
        if not self.has_template:
            raise ModelError(
                "the tokenizer has no chat template, but the rows are conversations; give one with --chat-template FILE, "
                "or plain-text rows"
            )
        messages = [{"role": turn.role, "content": turn.content} for turn in turns]
        try:
            rendered = self._tokenizer.apply_chat_template(
                messages, chat_template=self._template, tokenize=False, add_generation_prompt=generation
            )
        except TemplateError as error:
            raise Unusable(f"the chat template refuses the conversation: {error}") from error
        return str(rendered)

    @property
    def _ends(self) -> Endings:
        if self._endings is None:
            self._endings = self._probed()
        return self._endings

    def _probed(self) -> Endings:
        added = {*self._tokenizer.added_tokens_decoder, *self._tokenizer.all_special_ids} - {self._tokenizer.unk_token_id}
        return endings_of(self._render, lambda text: self._encoded(text).ids, frozenset(added))

    def _acting_strings(self) -> set[str]:
        """The control strings that would end a turn or open one."""
        special = {token.content for token in self._tokenizer.added_tokens_decoder.values() if token.special}
        written = self._endings.written if self._endings else ""
        ends = self._tokenizer.convert_ids_to_tokens(sorted(self.end_ids))
        return {text for text in special if text in written} | set(ends)

    def _refuse_acting(self, turns: Sequence[Turn]) -> None:
        for turn in turns:
            if found := self.acting(turn.content):
                raise Unusable(f"a turn of the {turn.role} holds the control string {found!r}")


def _counted(encoded: Encoded, at: int, pieces: Sequence[Piece]) -> set[int]:
    """The tokens of the counting pieces of a text that begins at character `at`."""
    counted: set[int] = set()
    for text, counts in pieces:
        if counts:
            counted.update(encoded.within(at, at + len(text)))
        at += len(text)
    return counted


def _common(text: str, beginning: str) -> int:
    """How many characters of a text the other one begins with, usually all its own."""
    return len(beginning) if text.startswith(beginning) else common_length([text, beginning])


def _plain_text(content: Text) -> str:
    if not isinstance(content, str):
        raise Unusable("its prompt is plain text, but an answer is a list of turns")
    return content


def _before_text(tokenizer: Any) -> tuple[int, ...]:
    """What a tokenizer puts before raw text, such as a beginning-of-sequence token."""
    bare = list(tokenizer("a", add_special_tokens=False)["input_ids"])
    whole = list(tokenizer("a")["input_ids"])
    at = next((place for place in range(len(whole)) if whole[place : place + len(bare)] == bare), 0)
    return tuple(whole[:at])


def _pattern(strings: set[str]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(text) for text in sorted(strings, key=len, reverse=True)))
