"""The policy under an alignment: how likely a text is after the prompt as the alignment shapes it, and which letter comes next.

Boundary. A completion's ids are those that prompt and completion together have behind the prompt's own ids, as in training.
Where a tokenizer merges across the boundary, or a template writes something else before an answer that is already there, the
completion is encoded by itself; so the prompt's ids are always exactly those that the model is asked to continue.

End of turn. A completion of a conversation ends with the token that the template writes after a turn, where that is one of the
ids at which the model stops, and it counts. A raw prompt (`urial`), raw text, and a template without such a token add none.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from trimtab.server.api.schemas.chat import chat_body
from trimtab.server.api.schemas.completions import completion_body
from trimtab.server.evaluation.reading import read_letters
from trimtab.server.evaluation.records import Alignment
from trimtab.server.evaluation.scorers.asking import all_of
from trimtab.server.evaluation.scorers.base import Likelihood, ScorerError, Undefined
from trimtab.server.exchange import Inbound
from trimtab.server.lines.answering import BATCH_PRIORITY
from trimtab.server.models import ServedModel
from trimtab.server.service import Service
from trimtab.server.wire import new_id
from trimtab.strategies.core.engine import TokensPort
from trimtab.strategies.core.errors import EngineFailure
from trimtab.strategies.core.messages import Conversation, Prompt, Segment, Text
from trimtab.strategies.prompts.judge import Layout

Ids = tuple[int, ...]
PROBE = ({"role": "user", "content": "a"}, {"role": "assistant", "content": "b"})


@dataclass(slots=True)
class ServiceLikelihoods:
    """`Likelihoods` and `LetterReadings` over a service that runs. Raises ScorerError where its engine shows no tokens."""

    service: Service
    model: str
    seed: int = 0
    """Of the shapers that sample, e.g. a reasoning value prompt."""
    _end: Ids | None = None
    """The id behind a turn, or none; learned once."""
    _known: dict[tuple[Ids, Ids], Likelihood] = field(default_factory=dict)
    """The same ids have one likelihood; asked again, another batch or a warm prefix cache would round it differently."""

    def __post_init__(self) -> None:
        capabilities = self._served.ports.capabilities
        if self._served.ports.tokens is None or not capabilities.prompt_logprobs:
            raise ScorerError(
                f"the engine of {self.model!r} ({self._served.engine.kind}) shows no log-probabilities of given text; "
                "transformers, vllm (on CPU without adapters) and a vLLM server behind upstream do"
            )

    async def logps(
        self, alignment: Alignment, messages: Sequence[Mapping[str, Any]], completions: Sequence[str]
    ) -> Sequence[Likelihood]:
        """Of each completion after the shaped prompt, with its end of turn. Raises Undefined, and what engines raise."""
        prompt = await self.prompt(alignment, messages)
        await self._learn_end()
        before, after = await asyncio.to_thread(self._encoded, prompt, completions)
        return await all_of([self._likelihood(before, ids) for ids in after])

    async def text_logps(self, texts: Sequence[str]) -> Sequence[Likelihood]:
        """Of raw texts behind the beginning-of-sequence token; without one the first token counts for nothing."""
        encode = self._tokens.encode_text
        ids = await asyncio.to_thread(lambda: [encode(Text((Segment("content", text),))) for text in texts])
        return await all_of([self._likelihood(one[:1], one[1:]) for one in ids])

    async def letters(
        self,
        alignment: Alignment,
        messages: Sequence[Mapping[str, Any]],
        layouts: Sequence[Layout],
        asked_in: Callable[[Layout], str],
        count: int,
    ) -> tuple[float, ...]:
        """Raw log-probabilities of the first letters behind the shaped prompt and a layout's tail; see `LetterReadings`.

        An alignment that begins the answer itself (a value prompt's lead-in) takes the tail's place.
        """

        async def opened(layout: Layout) -> Prompt:
            *before, last = messages
            prompt = await self.prompt(alignment, [*before, {**last, "content": asked_in(layout)}])
            has_lead_in = isinstance(prompt, Conversation) and prompt.prefill is not None
            return prompt if has_lead_in else _begun(prompt, layout.tail)

        return await read_letters(self._served.ports, opened, layouts, count)

    async def prompt(self, alignment: Alignment, messages: Sequence[Mapping[str, Any]]) -> Prompt:
        """What the model is asked under an alignment. Raises Undefined where it does more than shape the prompt."""
        pipeline = self.service.chooser.parse(alignment.spec)
        if not pipeline.decodes_natively:
            steps = [step.kind for step in (pipeline.decoder, *pipeline.revisers) if step.kind != "plain"]
            raise Undefined(
                f"{', '.join(steps)} searches or revises, so under {alignment.name} a given text has no likelihood; "
                "only alignments that shape the prompt leave the model one"
            )
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [dict(turn) for turn in messages],
            "alignment": {"strategy": alignment.spec, "on_error": "closed"},
        }
        if self._served.ports.capabilities.seed:
            body["seed"] = self.seed
        return await self.service.shaped(Inbound(new_id("req"), chat_body(body), priority=BATCH_PRIORITY))

    @property
    def _served(self) -> ServedModel:
        return self.service.registry.resolve(self.model).model

    @property
    def _tokens(self) -> TokensPort:
        tokens = self._served.ports.tokens
        if tokens is None:
            raise ScorerError(f"the engine of {self.model!r} shows no tokens")
        return tokens

    async def _likelihood(self, before: Ids, after: Ids) -> Likelihood:
        """Of ids behind others."""
        if not before or not after:
            return Likelihood(0.0, 0)
        if (known := self._known.get((before, after))) is not None:
            return known
        return self._known.setdefault((before, after), await self._echoed(before, after))

    async def _echoed(self, before: Ids, after: Ids) -> Likelihood:
        """By echoing both as a prompt."""
        body = {
            "model": self._served.id,
            "prompt": [*before, *after],
            "echo": True,
            "logprobs": 1,
            "max_tokens": 0,
            "alignment": {"strategy": "plain"},
        }
        asked = Inbound(new_id("req"), completion_body(body), priority=BATCH_PRIORITY)
        answer = (await self.service.completion(asked)).body
        shown = answer["choices"][0]["logprobs"]["token_logprobs"][len(before) : len(before) + len(after)]
        if len(shown) != len(after) or None in shown:
            raise EngineFailure(f"the engine showed {len(shown)} of {len(after)} log-probabilities")
        return Likelihood(sum(shown), len(after))

    def _encoded(self, prompt: Prompt, completions: Sequence[str]) -> tuple[Ids, list[Ids]]:
        """The prompt's ids, and those of each completion with its end. May block: the tokenizer may be another server's."""
        tokens = self._tokens
        before, end = _ids(tokens, prompt), self._end or () if isinstance(prompt, Conversation) else ()
        return before, [(*_behind(tokens, prompt, before, completion), *end) for completion in completions]

    async def _learn_end(self) -> None:
        if self._end is None:
            self._end = await asyncio.to_thread(self._found_end)

    def _found_end(self) -> Ids:
        """What the template writes behind a closed turn and not behind an open one, if the model stops at it."""
        tokenizer = self._served.engine.tokenizer
        if tokenizer is None or self._served.ports.messages is None:
            return ()
        body = {"messages": list(PROBE), "add_generation_prompt": False}
        closed = tokenizer.tokenize_chat(body)
        opened = tokenizer.tokenize_chat({**body, "continue_final_message": True})
        behind = closed[len(opened) :] if closed[: len(opened)] == opened else []
        return tuple(token for token in behind if token in self._tokens.eos_token_ids)[:1]


def _behind(tokens: TokensPort, prompt: Prompt, before: Ids, completion: str) -> Ids:
    """The ids of a completion behind a prompt."""
    if not completion:
        return ()
    whole = _ids(tokens, _begun(prompt, completion))
    if whole[: len(before)] == before:
        return whole[len(before) :]
    return tokens.encode_text(Text((Segment("content", completion),), add_bos=False))


def _begun(prompt: Prompt, opening: str) -> Prompt:
    """A prompt with first words of the answer behind those it has."""
    if isinstance(prompt, Conversation):
        return replace(prompt, prefill=f"{prompt.prefill or ''}{opening}")
    return replace(prompt, segments=(*prompt.segments, Segment("content", opening)))


def _ids(tokens: TokensPort, prompt: Prompt) -> Ids:
    return tokens.encode_chat(prompt) if isinstance(prompt, Conversation) else tokens.encode_text(prompt)
