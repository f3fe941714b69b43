"""The tokens port of a vLLM upstream: token ids in and out over `/v1/completions`, with exact ids and log-probabilities."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from trimtab.server.engines.base import Wire
from trimtab.server.engines.upstream.deltas import finish_of, usage_in
from trimtab.server.engines.upstream.link import Link
from trimtab.server.engines.upstream.ports import prompt_of
from trimtab.server.engines.upstream.profile import Profile
from trimtab.server.engines.upstream.tokenizer import UpstreamTokenizer
from trimtab.server.engines.upstream.wire import chunks
from trimtab.server.wire import body_of
from trimtab.strategies.core.engine import Call, Params, TokenDelta
from trimtab.strategies.core.errors import EngineFailure, RequestRefused
from trimtab.strategies.core.messages import Conversation, Text

ID_PREFIX = "token_id:"
"""How a vLLM server writes a token under `return_tokens_as_token_ids`."""
LIKELY = 20
"""Most likely next ids that a question for candidates shows first: vLLM's own limit where none was set."""
MOST_CANDIDATES = 128
"""Ids whose log-probabilities one request may ask for (vLLM 0.32)."""


@dataclass(frozen=True, slots=True)
class UpstreamTokens:
    """`TokensPort` over a `Link` and the upstream's tokenizer."""

    link: Link
    profile: Profile
    tokenizer: UpstreamTokenizer

    @property
    def eos_token_ids(self) -> frozenset[int]:
        """The ids that end an answer, as far as the upstream shows them."""
        return self.profile.eos_token_ids

    def encode_chat(self, conversation: Conversation) -> tuple[int, ...]:
        """The ids of a conversation; control strings in contents are broken."""
        messages: list[Mapping[str, Any]] = list(conversation.wire())
        body: Wire = {"messages": messages}
        if conversation.prefill is not None:
            messages.append({"role": "assistant", "content": conversation.prefill})
            body.update(add_generation_prompt=False, continue_final_message=True)
        return tuple(self.tokenizer.tokenize_chat(body))

    def encode_text(self, text: Text) -> tuple[int, ...]:
        """The ids of a raw prompt; control strings in `content` segments are broken."""
        return tuple(self.tokenizer.tokenize_text(prompt_of(text), add_special_tokens=text.add_bos))

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of ids, those that end an answer left out."""
        return self.tokenizer.detokenize([token for token in token_ids if token not in self.eos_token_ids])

    async def generate(self, prompt_token_ids: Sequence[int], params: Params, call: Call) -> AsyncGenerator[TokenDelta, None]:
        """Continuations of a list of ids."""
        body = {**self._body(prompt_token_ids, params, call), "stream": True, "stream_options": {"include_usage": True}}
        cached = 0
        async with aclosing(chunks(self.link, self._url, body, call.request_id)) as answer:
            async for chunk in answer:
                usage = usage_in(chunk.object)
                cached = usage.cached_tokens if usage else cached
                for choice in chunk.object.get("choices") or ():
                    yield _delta(choice)
        if cached:
            yield TokenDelta(0, (), cached_tokens=cached)

    async def next_logprobs(self, prompt_token_ids: Sequence[int], candidates: Sequence[int], call: Call) -> tuple[float, ...]:
        """Raw log-probabilities, in nats, of each candidate id as the next token; a call more for each unlikely one.

        vLLM's `logprob_token_ids` would show any ids at once, but as of 0.32 it takes the most likely ids away from every other
        request of the same step.
        """
        known = await self._next(prompt_token_ids, Params(max_tokens=1, temperature=0.0, logprobs=LIKELY), call)
        rest = [token for token in dict.fromkeys(candidates) if token not in known]
        only = [Params(max_tokens=1, temperature=0.0, logprobs=0, allowed_token_ids=(token,)) for token in rest]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._next(prompt_token_ids, params, call)) for params in only]
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        for task in tasks:
            known |= task.result()
        absent = [token for token in rest if token not in known]
        if absent:
            raise EngineFailure(f"the upstream gave no log-probability of the token ids {absent[:8]}")
        return tuple(known[token] for token in candidates)

    async def _next(self, prompt_token_ids: Sequence[int], params: Params, call: Call) -> dict[int, float]:
        """Log-probabilities shown beside one token behind the prompt."""
        answer = await self.link.post(self._url, self._body(prompt_token_ids, params, call), call.request_id)
        shown = _tops(answer["choices"][0].get("logprobs"))
        return dict(shown[0]) if shown else {}

    @property
    def _url(self) -> str:
        return f"{self.link.base}/completions"

    def _body(self, prompt: Sequence[int], params: Params, call: Call) -> Wire:
        """The request; log-probabilities are those of chosen ids or of the most likely ones, as vLLM has it."""
        body = body_of(params)
        body["max_tokens"] = body.pop("max_completion_tokens", None)
        body.pop("top_logprobs", None)
        ids = params.logprob_token_ids
        if ids and params.logprobs:
            raise RequestRefused("logprobs above 0 and logprob_token_ids exclude each other", param="logprob_token_ids")
        if len(ids) > MOST_CANDIDATES:
            raise RequestRefused(f"{len(ids)} logprob_token_ids; allowed: {MOST_CANDIDATES}", param="logprob_token_ids")
        if ids or params.logprobs is not None:
            body["logprobs"] = len(ids) or params.logprobs
        if call.cache_salt:
            body["cache_salt"] = call.cache_salt
        return {
            **body,
            "model": self.profile.model,
            "prompt": list(prompt),
            "return_token_ids": True,
            "return_tokens_as_token_ids": True,
        }


def _delta(choice: Mapping[str, Any]) -> TokenDelta:
    logprobs = choice.get("logprobs")
    return TokenDelta(
        index=choice.get("index", 0),
        token_ids=tuple(choice.get("token_ids") or ()),
        logprobs=tuple((logprobs or {}).get("token_logprobs") or ()),
        top_logprobs=_tops(logprobs),
        text=choice.get("text") or "",
        finish_reason=finish_of(choice),
    )


def _tops(logprobs: Mapping[str, Any] | None) -> tuple[dict[int, float], ...]:
    """For each token: id -> log-probability."""
    tops = (logprobs or {}).get("top_logprobs") or ()
    return tuple({int(name.removeprefix(ID_PREFIX)): value for name, value in (top or {}).items()} for top in tops)
