"""The wire face of engines that have none of their own: OpenAI objects made from the ports."""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from trimtab.server.api.schemas.fields import refuse_native
from trimtab.server.engines.base import TokenizerFace, Wire, WireFace
from trimtab.server.engines.prompt_scores import PromptLogprob, PromptScores
from trimtab.server.wire import ChatAnswerBuilder, ChatChunks, dumps, new_id, params_of, usage_object, wants_usage
from trimtab.strategies.core.engine import Call, MessagesPort, Params, Ports, TokenDelta, TokensPort
from trimtab.strategies.core.errors import RequestRefused
from trimtab.strategies.core.messages import Conversation, Usage

COMPLETION_MAX_TOKENS = 16
"""OpenAI's default for `/v1/completions`."""
COMPLETION_ONLY = frozenset({"echo", "return_token_ids"})
"""What completions honour and chats do not."""


@dataclass(frozen=True, slots=True)
class PortsWire:
    """`WireFace` over the messages and tokens ports."""

    ports: Ports
    tokenizer: TokenizerFace
    scores: PromptScores | None = None
    by: str = "this engine"
    """Who refuses what only an engine with an OpenAI layer of its own honours."""

    async def chat(self, body: Mapping[str, Any], call: Call) -> Wire:
        """A `chat.completion` object."""
        refuse_native(body, by=self.by)
        _refuse_structure(body, self.by)
        params = params_of(body)
        answer = ChatAnswerBuilder(body["model"], logprobs=params.logprobs is not None)
        async with aclosing(_messages(self.ports).chat(conversation_of(body), params, call)) as deltas:
            async for delta in deltas:
                answer.add(delta)
        return answer.build()

    async def chat_stream(self, body: Mapping[str, Any], call: Call) -> AsyncGenerator[str, None]:
        """Chunks as JSON strings."""
        refuse_native(body, by=self.by)
        _refuse_structure(body, self.by)
        params = params_of(body)
        chunks = ChatChunks(body["model"], include_usage=wants_usage(body), logprobs=params.logprobs is not None)
        async with aclosing(_messages(self.ports).chat(conversation_of(body), params, call)) as deltas:
            async for delta in deltas:
                for chunk in chunks.chunks(delta):
                    yield dumps(chunk)
        for chunk in chunks.last():
            yield dumps(chunk)

    async def completion(self, body: Mapping[str, Any], call: Call) -> Wire:
        """A `text_completion` object."""
        refuse_native(body, by=self.by, ignoring=COMPLETION_ONLY)
        _refuse_structure(body, self.by, formats=("text",))
        prompts = [self._ids(prompt) for prompt in prompts_of(body)]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._completed(ids, body, number, call)) for number, ids in enumerate(prompts)]
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None
        choices = [choice for task in tasks for choice in task.result()[0]]
        usage = sum((task.result()[1] for task in tasks), Usage())
        return {**_head(body), "choices": choices, "usage": usage_object(usage)}

    async def completion_stream(self, body: Mapping[str, Any], call: Call) -> AsyncGenerator[str, None]:
        """Chunks as JSON strings; prompts are answered one after the other."""
        refuse_native(body, by=self.by, ignoring=COMPLETION_ONLY)
        _refuse_structure(body, self.by, formats=("text",))
        head, usage = _head(body), Usage()
        params, tokens = completion_params(body), _tokens(self.ports)
        for number, ids in enumerate([self._ids(prompt) for prompt in prompts_of(body)]):
            if body.get("echo"):
                echoed = await self._echo(ids, body, params, call)
                for index in range(params.n):
                    yield dumps({**head, "choices": [_choice(number * params.n + index, *echoed, None)]})
            produced, cached = 0, 0
            offsets = dict.fromkeys(range(params.n), 0)
            async with aclosing(tokens.generate(ids, params, call)) as deltas:
                async for delta in deltas:
                    produced, cached = produced + len(delta.token_ids), max(cached, delta.cached_tokens)
                    logprobs = self._logprobs([delta], offsets[delta.index]) if params.logprobs is not None else None
                    offsets[delta.index] += len(delta.text)
                    choice = _choice(number * params.n + delta.index, delta.text, logprobs, delta.finish_reason)
                    yield dumps({**head, "choices": [{**choice, **_token_ids(body, delta.token_ids)}]})
            usage += Usage(len(ids), produced, cached)
        if wants_usage(body):
            yield dumps({**head, "choices": [], "usage": usage_object(usage)})

    def _ids(self, prompt: str | Sequence[int]) -> tuple[int, ...]:
        """The ids of a prompt. Raises RequestRefused for one outside the vocabulary."""
        if isinstance(prompt, str):
            return tuple(self.tokenizer.tokenize_text(prompt))
        size = self.tokenizer.info().get("vocab_size")
        if size is not None and max(prompt) >= size:
            raise RequestRefused(f"token id {max(prompt)} is outside the vocabulary of {size} ids", param="prompt")
        return tuple(prompt)

    async def _completed(
        self, ids: tuple[int, ...], body: Mapping[str, Any], number: int, call: Call
    ) -> tuple[list[Wire], Usage]:
        """The choices of one prompt and what they used."""
        params = completion_params(body)
        text, logprobs = await self._echo(ids, body, params, call) if body.get("echo") else ("", None)
        samples: dict[int, list[TokenDelta]] = {index: [] for index in range(params.n)}
        if params.max_tokens != 0:
            async with aclosing(_tokens(self.ports).generate(ids, params, call)) as deltas:
                async for delta in deltas:
                    samples[delta.index].append(delta)
        choices = []
        for index, sample in samples.items():
            own = self._logprobs(sample, len(text)) if params.logprobs is not None else None
            said = text + "".join(delta.text for delta in sample)
            finish = next((d.finish_reason for d in reversed(sample) if d.finish_reason), "length")
            produced_ids = [token for delta in sample for token in delta.token_ids]
            choice = _choice(number * params.n + index, said, _joined(logprobs, own), finish)
            choices.append({**choice, **_token_ids(body, produced_ids, ids)})
        produced = sum(len(delta.token_ids) for sample in samples.values() for delta in sample)
        cached = max((delta.cached_tokens for sample in samples.values() for delta in sample), default=0)
        return choices, Usage(len(ids), produced, cached)

    async def _echo(self, ids: tuple[int, ...], body: Mapping[str, Any], params: Params, call: Call) -> tuple[str, Wire | None]:
        """The prompt's own text, and its log-probabilities where asked for."""
        text = self.tokenizer.detokenize(ids)
        if params.logprobs is None:
            return text, None
        if self.scores is None:
            raise RequestRefused(
                "this engine cannot score a prompt: echo with logprobs", param="logprobs", code="unsupported_parameter"
            )
        scored = await self.scores.prompt_logprobs(ids, params.logprobs, call)
        return text, self._prompt_logprobs(ids, scored)

    def _prompt_logprobs(self, ids: Sequence[int], scored: Sequence[PromptLogprob | None]) -> Wire:
        strings = self.tokenizer.token_strings(ids)
        offsets, position = [], 0
        for string in strings:
            offsets.append(position)
            position += len(string)
        return {
            "tokens": strings,
            "token_logprobs": [entry.logprob if entry else None for entry in scored],
            "top_logprobs": [self._top(entry.top) if entry else None for entry in scored],
            "text_offset": offsets,
        }

    def _logprobs(self, sample: Sequence[TokenDelta], offset: int) -> Wire:
        """The legacy log-probability object of sampled tokens."""
        ids = [token for delta in sample for token in delta.token_ids]
        strings = self.tokenizer.token_strings(ids)
        offsets = []
        for string in strings:
            offsets.append(offset)
            offset += len(string)
        return {
            "tokens": strings,
            "token_logprobs": [value for delta in sample for value in delta.logprobs],
            "top_logprobs": [self._top(top) for delta in sample for top in delta.top_logprobs],
            "text_offset": offsets,
        }

    def _top(self, top: Mapping[int, float]) -> dict[str, float]:
        strings = self.tokenizer.token_strings(list(top))
        best: dict[str, float] = {}
        for string, value in zip(strings, top.values(), strict=True):
            best[string] = max(value, best.get(string, value))
        return best


@dataclass(frozen=True, slots=True)
class AdaptedWire:
    """`WireFace` of a model with adapters: `model` of a body tells which of them answers."""

    base: WireFace
    under: Mapping[str, WireFace]

    def _of(self, body: Mapping[str, Any]) -> WireFace:
        return self.under.get(body["model"], self.base)

    async def chat(self, body: Mapping[str, Any], call: Call) -> Wire:
        """A `chat.completion` object."""
        return await self._of(body).chat(body, call)

    def chat_stream(self, body: Mapping[str, Any], call: Call) -> AsyncGenerator[str, None]:
        """Chunks as JSON strings."""
        return self._of(body).chat_stream(body, call)

    async def completion(self, body: Mapping[str, Any], call: Call) -> Wire:
        """A `text_completion` object."""
        return await self._of(body).completion(body, call)

    def completion_stream(self, body: Mapping[str, Any], call: Call) -> AsyncGenerator[str, None]:
        """Chunks as JSON strings."""
        return self._of(body).completion_stream(body, call)


def conversation_of(body: Mapping[str, Any]) -> Conversation:
    """The conversation of a chat body; `continue_final_message` makes the last assistant message a prefill."""
    conversation = Conversation.from_wire(body["messages"])
    if not body.get("continue_final_message"):
        return conversation
    *before, last = conversation.messages
    if last.role != "assistant":
        raise RequestRefused(
            "continue_final_message needs a last message of the role assistant", param="continue_final_message"
        )
    return replace(conversation, messages=tuple(before), prefill=last.text)


def prompts_of(body: Mapping[str, Any]) -> list[str | list[int]]:
    """The prompts of a completion body, each a string or a list of token ids."""
    prompt = body["prompt"]
    if isinstance(prompt, str):
        return [prompt]
    if prompt and isinstance(prompt[0], int):
        return [prompt]
    return list(prompt)


def completion_params(body: Mapping[str, Any]) -> Params:
    """Sampling parameters of a completion body, with OpenAI's default length."""
    params = params_of(body)
    return replace(params, max_tokens=COMPLETION_MAX_TOKENS) if params.max_tokens is None else params


def _refuse_structure(body: Mapping[str, Any], by: str, formats: Sequence[str] | None = None) -> None:
    """Raise RequestRefused for a structure that the ports know nothing of; `formats` = those that a raw prompt may have."""
    kind = (body.get("response_format") or {}).get("type", "text")
    refused = {
        "structured_outputs": bool(body.get("structured_outputs")),
        "response_format": formats is not None and kind not in formats,
    }
    for name in (name for name, is_asked in refused.items() if is_asked):
        raise RequestRefused(f"{name}: {by} cannot honour it here", param=name, code="unsupported_parameter")


def _head(body: Mapping[str, Any]) -> Wire:
    return {"id": new_id("cmpl"), "object": "text_completion", "created": int(time.time()), "model": body["model"]}


def _choice(index: int, text: str, logprobs: Wire | None, finish: str | None) -> Wire:
    return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish}


def _token_ids(body: Mapping[str, Any], new: Sequence[int], prompt: Sequence[int] | None = None) -> Wire:
    """The ids of a choice's new tokens, and of its prompt where the answer is whole, if they are asked for."""
    return {"token_ids": list(new), "prompt_token_ids": prompt and list(prompt)} if body.get("return_token_ids") else {}


def _joined(first: Wire | None, second: Wire | None) -> Wire | None:
    if first is None or second is None:
        return first or second
    return {name: [*first[name], *second[name]] for name in first}


def _messages(ports: Ports) -> MessagesPort:
    if ports.messages is None:
        raise RequestRefused("this model answers no conversations", param="model", code="unsupported_by_engine")
    return ports.messages


def _tokens(ports: Ports) -> TokensPort:
    if ports.tokens is None:
        raise RequestRefused("this model continues no raw prompts", param="model", code="unsupported_by_engine")
    return ports.tokens
