"""The messages, text, tokens and scores ports over vLLM. They look the running engine up at each call."""

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from vllm.pooling_params import PoolingParams

from trimtab.server.engines.labels import Label
from trimtab.server.engines.prompt_scores import PromptLogprob
from trimtab.server.engines.stops import StopText
from trimtab.server.engines.vllm.generation import Generation, all_of, finish_reason
from trimtab.server.engines.vllm.sampling import next_sampling, prompt_sampling, sampling
from trimtab.server.engines.vllm.tokenizer import VllmTokenizer
from trimtab.server.engines.vllm.wire import VllmWire
from trimtab.server.wire import body_of, usage_of
from trimtab.strategies.core.engine import Call, Params, TokenDelta
from trimtab.strategies.core.errors import ContextLengthExceeded
from trimtab.strategies.core.messages import Conversation, Delta, Text, Usage

LIKELY = 20
"""Most likely next ids that a question for candidates shows first: a judge's letters are nearly always among them."""


class MessagesOverWire:
    """The messages port: vLLM's own chat layer, its chunks read as deltas."""

    def __init__(self, wire: VllmWire, adapter: str | None = None) -> None:
        """adapter: the name of the adapter that answers; None = the base model."""
        self._wire = wire
        self._model = {} if adapter is None else {"model": adapter}

    async def chat(self, conversation: Conversation, params: Params, call: Call) -> AsyncGenerator[Delta, None]:
        """The answer to a conversation; the last delta carries `usage`."""
        body = {
            **body_of(params),
            **self._model,
            "messages": conversation.wire(),
            "stream_options": {"include_usage": True},
            "return_token_ids": True,
        }
        if conversation.prefill is not None:
            body["messages"].append({"role": "assistant", "content": conversation.prefill})
            body |= {"add_generation_prompt": False, "continue_final_message": True}
        async with aclosing(self._wire.chat_stream(body, call)) as chunks:
            async for chunk in chunks:
                for delta in _deltas(json.loads(chunk)):
                    yield delta


def _deltas(chunk: Mapping[str, Any]) -> list[Delta]:
    """The pieces of a `chat.completion.chunk`; its first chunks, which only name the role, are none."""
    deltas = []
    for choice in chunk["choices"]:
        said = choice["delta"]
        logprobs = (choice.get("logprobs") or {}).get("content") or ()
        fields = {k: v for k, v in said.items() if k not in {"role", "content"} and v is not None}
        text, reason = said.get("content") or "", choice.get("finish_reason")
        if text or reason or logprobs or fields or choice.get("token_ids"):
            deltas.append(Delta(choice["index"], text, reason, tuple(logprobs), fields, tuple(choice.get("token_ids") or ())))
    if chunk.get("usage"):
        deltas.append(Delta(usage=usage_of(chunk["usage"])))
    return deltas


class TextOverTokens:
    """The text port: segments to ids, ids to the engine."""

    def __init__(self, generation: Generation, tokenizer: VllmTokenizer) -> None:
        self._generation = generation
        self._tokenizer = tokenizer

    async def complete(self, text: Text, params: Params, call: Call) -> AsyncGenerator[Delta, None]:
        """The continuation of a raw prompt; the last delta carries `usage`."""
        ids = self._tokenizer.encode_text(text)
        room = self._generation.room(ids)
        asked = sampling(params, self._generation.defaults, room, text.stops, shows_stops=True)
        watches = [StopText(tuple(asked.stop) if asked.include_stop_str_in_output else ()) for _ in range(params.n)]
        produced, cached = 0, 0
        async with self._generation.outputs(ids, asked, call) as outputs:
            async for output in outputs:
                cached = max(cached, output.num_cached_tokens or 0)
                for sample in output.outputs:
                    produced += len(sample.token_ids)
                    shown, _ = watches[sample.index].push(sample.text)
                    if sample.finish_reason:
                        shown += watches[sample.index].flush()
                    if sample.token_ids or shown or sample.finish_reason:
                        entries = _entries(sample, params.logprobs)
                        yield Delta(sample.index, shown, finish_reason(sample), entries, token_ids=tuple(sample.token_ids))
        yield Delta(usage=Usage(len(ids), produced, cached))


def _entries(sample: Any, top: int | None) -> tuple[Mapping[str, Any], ...]:
    """OpenAI's log-probability entries of a sample's new tokens."""
    if top is None or sample.logprobs is None:
        return ()
    entries = []
    for token, position in zip(sample.token_ids, sample.logprobs, strict=True):
        best = [_entry(p) for p in position.values() if p.rank is not None and p.rank <= top]
        entries.append({**_entry(position[token]), "top_logprobs": best})
    return tuple(entries)


def _entry(logprob: Any) -> dict[str, Any]:
    string = logprob.decoded_token or ""
    return {"token": string, "logprob": max(logprob.logprob, -9999.0), "bytes": list(string.encode("utf-8", "replace"))}


class TokensOverEngine:
    """The tokens port: AsyncLLM itself."""

    def __init__(self, generation: Generation, tokenizer: VllmTokenizer, eos_token_ids: frozenset[int]) -> None:
        self._generation = generation
        self._tokenizer = tokenizer
        self._eos_token_ids = eos_token_ids

    @property
    def eos_token_ids(self) -> frozenset[int]:
        """The ids that end an answer."""
        return self._eos_token_ids

    def encode_chat(self, conversation: Conversation) -> tuple[int, ...]:
        """The ids of a conversation with the generation prompt (or the prefill) at its end."""
        return self._tokenizer.encode_chat(conversation)

    def encode_text(self, text: Text) -> tuple[int, ...]:
        """The ids of a raw prompt."""
        return self._tokenizer.encode_text(text)

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of ids, control tokens left out."""
        return self._tokenizer.decode(token_ids)

    async def generate(self, prompt_token_ids: Sequence[int], params: Params, call: Call) -> AsyncGenerator[TokenDelta, None]:
        """Continuations of a list of ids."""
        asked = sampling(params, self._generation.defaults, self._generation.room(prompt_token_ids))
        wanted = frozenset(params.logprob_token_ids)
        async with self._generation.outputs(prompt_token_ids, asked, call) as outputs:
            async for output in outputs:
                for sample in output.outputs:
                    own, top = _numbers(sample, params.logprobs, wanted)
                    yield TokenDelta(
                        sample.index,
                        tuple(sample.token_ids),
                        own,
                        top,
                        sample.text,
                        finish_reason(sample),
                        output.num_cached_tokens or 0,
                    )

    async def next_logprobs(self, prompt_token_ids: Sequence[int], candidates: Sequence[int], call: Call) -> tuple[float, ...]:
        """Raw log-probabilities, in nats, of each candidate id as the next token; a call more for each unlikely one."""
        self._generation.room(prompt_token_ids)
        likely = next_sampling(min(self._generation.labels, LIKELY))
        found = _next(await self._generation.final(prompt_token_ids, likely, call))
        rest = [token for token in dict.fromkeys(candidates) if token not in found]
        forced = await all_of(self._generation.final(prompt_token_ids, next_sampling(only=token), call) for token in rest)
        found |= {token: _next(final)[token] for token, final in zip(rest, forced, strict=True)}
        return tuple(found[candidate] for candidate in candidates)

    async def prompt_logprobs(self, token_ids: Sequence[int], top: int, call: Call) -> list[PromptLogprob | None]:
        """One entry a token of the prompt, the first None; `top` most likely ids beside each."""
        self._generation.room(token_ids)
        output = await self._generation.final(token_ids, prompt_sampling(top), call)
        scored: list[PromptLogprob | None] = []
        for token, position in zip(token_ids, output.prompt_logprobs, strict=True):
            if position is None:
                scored.append(None)
                continue
            best = {i: p.logprob for i, p in position.items() if p.rank is not None and p.rank <= top}
            scored.append(PromptLogprob(token, position[token].logprob, best))
        return scored


def _next(final: Any) -> dict[int, float]:
    """Log-probabilities shown at the one position of a final output."""
    return {token: entry.logprob for token, entry in final.outputs[0].logprobs[0].items()}


def _numbers(sample: Any, top: int | None, wanted: frozenset[int]) -> tuple[tuple[float, ...], tuple[Mapping[int, float], ...]]:
    """Log-probabilities of a sample's new tokens, and of the best or wanted ids at each."""
    if (top is None and not wanted) or sample.logprobs is None:
        return (), ()
    own = tuple(position[token].logprob for token, position in zip(sample.token_ids, sample.logprobs, strict=True))
    best = tuple(
        {i: p.logprob for i, p in position.items() if (i in wanted if wanted else p.rank is not None and p.rank <= (top or 0))}
        for position in sample.logprobs
    )
    return own, best


class ScoresOverPooling:
    """The scores port: a reward model or two-label classifier in vLLM's pooling runner."""

    def __init__(self, generation: Generation, tokenizer: VllmTokenizer, max_model_len: int, label: Label) -> None:
        self._generation = generation
        self._tokenizer = tokenizer
        self._max_model_len = max_model_len
        self._label = label

    async def score(self, conversations: Sequence[Conversation], call: Call) -> tuple[float, ...]:
        """The reward of each conversation: the raw output where there is one, else the log-odds of the label."""
        prompts = [self._tokenizer.encode_answered(conversation) for conversation in conversations]
        longest = max(map(len, prompts), default=0)
        if longest > self._max_model_len:
            raise ContextLengthExceeded(
                f"a conversation to be scored has {longest} tokens; the context window of the scoring model is "
                f"{self._max_model_len}"
            )
        pooling = PoolingParams(task="classify", use_activation=False)
        outputs = await all_of(self._generation.pooled(ids, pooling.clone(), call) for ids in prompts)
        return tuple(self._label.score([float(value) for value in data.flatten()]) for data in outputs)
