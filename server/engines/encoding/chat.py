"""ChatEncoder: a conversation or a raw prompt to token ids in which content can never become a control token.

Benign requests are rendered and encoded once, to exactly the ids of `tokenizer.apply_chat_template`. A request that may hold
a control string has it told apart from the template's own (`separation`), and only the template's become control tokens.
Knows no engine and no HTTP.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Any, Literal

from trimtab.server.engines.encoding.blind import NotRepresentable
from trimtab.server.engines.encoding.chat_input import ChatInput
from trimtab.server.engines.encoding.controls import control_tokens
from trimtab.server.engines.encoding.encodings import Encoding, EscapeEncoding, SegmentEncoding, undefended_ids
from trimtab.server.engines.encoding.escape import TURN_MARKS
from trimtab.server.engines.encoding.pieces import Piece, controls_of, forged_in, literal_pieces, text_of
from trimtab.server.engines.encoding.rendering import Ending, TemplateRenderer
from trimtab.server.engines.encoding.scan import SEPARATOR, Scanner, overlapping
from trimtab.server.engines.encoding.self_check import SafeMode, SelfCheck, Subject, Turns, failures_of
from trimtab.server.engines.encoding.separation import Separated, Separator
from trimtab.strategies.core.errors import RequestRefused

logger = logging.getLogger(__name__)

KEPT_TEXTS = 2048
"""Ids of texts that stand alone, as the documents of a corpus do when their tokens are counted for every request."""
KEPT_CHARACTERS = 2000
"""Of a longer text they are not kept."""

BROKEN = "control strings in content were broken by a zero-width space"


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    """Token ids of a prompt."""

    ids: tuple[int, ...]
    text: str
    """The prompt as the model sees it, control tokens shown."""
    mode: Literal["plain", "segment", "escape"]
    """plain: no control string in content; segment, escape: how those that were there were kept from acting."""
    forged: frozenset[str] = frozenset()
    """Control strings that content held or formed."""
    notes: tuple[str, ...] = ()
    """Where the prompt differs from the undefended rendering of the same conversation."""


class ChatEncoder:
    """Encodes prompts for one model. Built once (it checks itself); safe to share among threads, changes no shared tokenizer.

    tokenizer: a `transformers` tokenizer of any kind. chat_template: replaces the tokenizer's own; where both are None only
    `encode_text` can be used.
    """

    def __init__(self, tokenizer: Any, chat_template: str | None = None) -> None:
        self._tokenizer = tokenizer
        self._renderer = TemplateRenderer(tokenizer, chat_template)
        self._controls = control_tokens(tokenizer, self._renderer.literals)
        self._acting = frozenset(self._controls.values()) - {tokenizer.unk_token_id}
        texts = (*self._renderer.literals, *self._renderer.samples())
        written = (match[0] for text in texts for match in TURN_MARKS.finditer(text))
        self._soft = Scanner(frozenset(written) - self._controls.keys())
        added = {token.content: token for token in tokenizer.added_tokens_decoder.values()}
        beside = overlapping(added, self._controls)
        self._scanner = Scanner(self._soft.strings.union(self._controls), beside)
        looked_for = (text for text in self._controls if text in self._renderer.source and not added[text].special)
        self._separator = Separator(self._renderer, self._scanner, frozenset(looked_for))
        self._normalizer = _acting_normalizer(tokenizer, [added[text] for text in self._controls])
        self._bos = Piece(tokenizer.bos_token, True) if _begins_with_bos(tokenizer) else None
        self._encoding: Encoding | None = None
        self._kept = lru_cache(KEPT_TEXTS)(self._alone)
        self._report = self.self_check()

    @property
    def mode(self) -> SafeMode:
        """How control strings in content are kept from acting; under `off` requests that hold one are refused."""
        return self._report.mode

    @property
    def report(self) -> SelfCheck:
        """What the check at construction found."""
        return self._report

    @property
    def control_strings(self) -> frozenset[str]:
        """Every string that must not act when it stands in content."""
        return self._scanner.strings

    def forged(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> frozenset[str]:
        """The control strings that content holds, or forms with its neighbours, in the rendered conversation.

        Empty = the engine's own template path is safe, also where it first parses tool-call arguments given as JSON text or
        joins content parts, with whatever separator.
        extra: template variables. A conversation that the template refuses is judged by its strings alone.
        """
        readings = [ChatInput(messages, tools, extra or {})]
        if readings[0].has_argument_texts:
            readings.append(readings[0].with_parsed_arguments())
        if not self._renderer.takes_parts and readings[0].has_parts:
            readings += [reading.with_joined_parts("") for reading in readings]
        return frozenset[str]().union(*(self._forged(reading) for reading in readings))

    def encode(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> EncodedPrompt:
        """The ids of a conversation.

        continue_final_message: leave the last message open (no generation prompt then). Raises RequestRefused where the
        template refuses the conversation, the name of a template variable is not free, or, in mode `off`, content holds a
        control string.
        """
        chat = ChatInput(messages, tools, template_kwargs or {})
        self._renderer.check_variables(chat.variables)
        ending = Ending(add_generation_prompt and not continue_final_message, continue_final_message)
        return self._encoded(self._separator.separated(chat, ending), self._encoding)

    def encode_text(self, segments: Sequence[tuple[Literal["literal", "content"], str]], *, add_bos: bool = True) -> list[int]:
        """The ids of a raw prompt: control strings count in `literal` segments and are text in `content` and across both.

        add_bos: put the beginning-of-sequence token first where the tokenizer itself puts one before raw text (having such
        a token is not enough: chat models name their turn mark so) and the prompt does not start with it.
        Raises RequestRefused in mode `off` where content holds a control string.
        """
        if add_bos or len(segments) != 1 or len(segments[0][1]) > KEPT_CHARACTERS:
            return list(self._encoded(self._raw(segments, add_bos), self._encoding).ids)
        return list(self._kept(*segments[0]))

    def _alone(self, kind: Literal["literal", "content"], text: str) -> tuple[int, ...]:
        return self._encoded(self._raw([(kind, text)], add_bos=False), self._encoding).ids

    def self_check(self) -> SelfCheck:
        """Tries each mode on benign and forged probes, the best first, and settles on the first that passes.

        Run at construction; not for use while other threads use the tokenizer.
        """
        failures: list[str] = []
        self._kept.cache_clear()
        self._encoding = None
        for make in (self._segment, self._escape):
            try:
                encoding = make()
            except NotRepresentable as error:
                failures.append(f"segment: {error}")
                continue
            found = failures_of(self._subject(encoding))
            if not found:
                self._encoding = encoding
                break
            failures += [f"{encoding.mode}: {failure}" for failure in found]
        mode: SafeMode = self._encoding.mode if self._encoding else "off"
        if failures:
            logger.warning("content is encoded in mode %s; %s", mode, "; ".join(failures))
        self._report = SelfCheck(mode, tuple(failures))
        return self._report

    def _segment(self) -> Encoding:
        return SegmentEncoding(self._tokenizer, self._controls, self._soft)

    def _escape(self) -> Encoding:
        return EscapeEncoding(self._tokenizer, self._scanner)

    def _subject(self, encoding: Encoding) -> Subject:
        def chat_ids(turns: Turns) -> tuple[int, ...]:
            return self._encoded(self._separator.separated(ChatInput(turns), Ending()), encoding).ids

        def text_ids(kind: Literal["literal", "content"], text: str) -> tuple[int, ...]:
            return self._encoded(self._raw([(kind, text)], add_bos=False), encoding).ids

        return Subject(
            chat_ids=chat_ids if self._renderer.exists else None,
            undefended_chat_ids=lambda turns: self._renderer.reference_ids(ChatInput(turns), Ending()),
            text_ids=text_ids,
            undefended_text_ids=lambda text: undefended_ids(self._tokenizer, text),
            control_ids=self._acting,
            control_strings=sorted(self._controls),
        )

    def _forged(self, chat: ChatInput) -> frozenset[str]:
        disguised = self._disguised(chat)
        if not self._separator.may_be_forged(chat):
            return disguised
        try:
            return disguised | self._separator.separated(chat, Ending()).forged
        except RequestRefused:
            return disguised.union(*(self._scanner.found(string) for string in chat.strings()))

    def _disguised(self, chat: ChatInput) -> frozenset[str]:
        """Control strings that only the tokenizer's normalizer brings out of content."""
        if self._normalizer is None:
            return frozenset()
        joined = SEPARATOR.join(chat.strings())
        return frozenset(self._scanner.found(self._normalizer.normalize_str(joined))) - frozenset(self._scanner.found(joined))

    def _raw(self, segments: Sequence[tuple[Literal["literal", "content"], str]], add_bos: bool) -> Separated:
        pieces: list[Piece] = []
        for kind, run in groupby(segments, key=itemgetter(0)):
            text = "".join(text for _, text in run)
            pieces += literal_pieces(text, self._scanner) if kind == "literal" else [Piece(text, False)]
        if add_bos and self._bos and not (pieces and pieces[0] == self._bos):
            pieces.insert(0, self._bos)
        return Separated(pieces, forged_in(pieces, self._scanner))

    def _encoded(self, prompt: Separated, encoding: Encoding | None) -> EncodedPrompt:
        if encoding is None:
            return self._undefended(prompt)
        pieces = encoding.shown(prompt.pieces)
        ids = tuple(encoding.ids(pieces))
        if prompt.forged or encoding.mode == "escape":
            self._check_controls(pieces, ids)
        notes = prompt.notes if pieces == prompt.pieces else (*prompt.notes, BROKEN)
        return EncodedPrompt(ids, text_of(pieces), encoding.mode if prompt.forged else "plain", prompt.forged, notes)

    def _undefended(self, prompt: Separated) -> EncodedPrompt:
        ids = tuple(undefended_ids(self._tokenizer, text_of(prompt.pieces)))
        if prompt.forged or Counter(self._acting_in(ids)) - Counter(self._wanted(prompt.pieces)):
            what = f"{sorted(prompt.forged)[:5]}" if prompt.forged else "what acts as a control token"
            raise RequestRefused(f"content holds {what}; this model cannot be given it safely", code="unsafe_content")
        return EncodedPrompt(ids, text_of(prompt.pieces), "plain")

    def _check_controls(self, pieces: Sequence[Piece], ids: Sequence[int]) -> None:
        """Refuses a prompt whose control tokens are not exactly those of its control pieces."""
        if self._acting_in(ids) != self._wanted(pieces):
            raise RequestRefused("content would act as a control token of this model", code="unsafe_content")

    def _acting_in(self, ids: Sequence[int]) -> list[int]:
        return [token_id for token_id in ids if token_id in self._acting]

    def _wanted(self, pieces: Sequence[Piece]) -> list[int]:
        return self._acting_in([self._controls[text] for text in controls_of(pieces) if text in self._controls])


def _begins_with_bos(tokenizer: Any) -> bool:
    """Whether the tokenizer puts its beginning-of-sequence token before raw text."""
    bos = tokenizer.bos_token_id
    return bos is not None and list(tokenizer("x")["input_ids"][:1]) == [bos]


def _acting_normalizer(tokenizer: Any, controls: Iterable[Any]) -> Any:
    """The normalizer, if control strings are matched after it; else None."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return backend.normalizer if backend is not None and any(token.normalized for token in controls) else None
