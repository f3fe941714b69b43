"""The messages and text ports of an upstream: streamed requests, read as deltas.

A form the upstream refuses (its name for the token limit, usage on streams, several choices) is learned from its 400 and the
request is sent once more in the other form; nothing has been answered by then.
"""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from trimtab.server.engines.base import Wire
from trimtab.server.engines.encoding.escape import escape
from trimtab.server.engines.upstream import faults
from trimtab.server.engines.upstream.content import safe_messages
from trimtab.server.engines.upstream.deltas import chat_deltas, merged, text_deltas, usage_in
from trimtab.server.engines.upstream.link import Link
from trimtab.server.engines.upstream.profile import Learned, Profile
from trimtab.server.engines.upstream.wire import chunks
from trimtab.server.wire import body_of
from trimtab.strategies.core.engine import Call, Params
from trimtab.strategies.core.errors import RequestRefused, UpstreamError
from trimtab.strategies.core.messages import Conversation, Delta, Text, Usage

FORMS = 4
"""Most forms of one request that are tried: the first, and one for each thing that can be learned."""
TOKEN_FIELDS = ("stop_token_ids", "logprob_token_ids", "allowed_token_ids", "ignore_eos", "min_tokens")
"""What only a server of tokens understands."""


@dataclass(frozen=True, slots=True)
class UpstreamPorts:
    """`MessagesPort` and `TextPort` over a `Link`."""

    link: Link
    profile: Profile
    learned: Learned

    def chat(self, conversation: Conversation, params: Params, call: Call) -> AsyncGenerator[Delta, None]:
        """The answer to a conversation. Without counts from the upstream no delta carries `usage`."""
        return self._choices(lambda single: self._chat_body(conversation, single, call), params, "/chat/completions", call)

    def complete(self, text: Text, params: Params, call: Call) -> AsyncGenerator[Delta, None]:
        """The continuation of a raw prompt; control strings in `content` segments are broken."""
        return self._choices(lambda single: self._text_body(text, single, call), params, "/completions", call)

    async def _choices(
        self, body: Callable[[Params], Wire], params: Params, path: str, call: Call
    ) -> AsyncGenerator[Delta, None]:
        """All `n` choices: in one request, and those an upstream without `n` leaves out in a request each."""
        seen: set[int] = set()
        usage: list[Usage] = []
        if params.n == 1 or self.learned.many_choices:
            async with aclosing(self._learning(body, params, path, call)) as deltas:
                async for delta in deltas:
                    if delta.usage is not None:
                        usage.append(delta.usage)
                    else:
                        seen.add(delta.index)
                        yield delta
        missing = [index for index in range(params.n) if index not in seen] if params.n > 1 else []
        if missing:
            self.learned.one_choice()
            sources = [self._single(body, params, index, path, call) for index in missing]
            async with aclosing(merged(sources)) as rest:
                async for index, delta in rest:
                    if delta.usage is not None:
                        usage.append(delta.usage)
                    else:
                        yield replace(delta, index=missing[index])
        if usage:
            yield Delta(usage=sum(usage, Usage()))

    def _single(
        self, body: Callable[[Params], Wire], params: Params, index: int, path: str, call: Call
    ) -> AsyncGenerator[Delta, None]:
        """One of several choices by itself; with a seed of its own, or all would be the same."""
        seed = None if params.seed is None else params.seed + index
        return self._learning(body, replace(params, n=1, seed=seed), path, call)

    async def _learning(
        self, body: Callable[[Params], Wire], params: Params, path: str, call: Call
    ) -> AsyncGenerator[Delta, None]:
        """The deltas of one request, sent again in another form where a 400 says which; none where it refuses `n`."""
        for attempt in range(FORMS):
            sent = body(params)
            try:
                async with aclosing(self._deltas(sent, path, call)) as deltas:
                    async for delta in deltas:
                        yield delta
                return
            except UpstreamError as error:
                refused = error.status == 400 and self.learned.adapt(*faults.parameter_of(error), sent)
                if not refused or attempt == FORMS - 1:
                    raise
            if params.n > 1 and not self.learned.many_choices:
                return

    async def _deltas(self, body: Wire, path: str, call: Call) -> AsyncGenerator[Delta, None]:
        read = chat_deltas if path.startswith("/chat") else text_deltas
        usage: Usage | None = None
        async with aclosing(chunks(self.link, self.link.base + path, body, call.request_id)) as answer:
            async for chunk in answer:
                usage = usage_in(chunk.object) or usage
                for delta in read(chunk.object):
                    yield delta
        if usage is None:
            self.learned.note("usage is unknown on streams: the upstream reports none")
        else:
            yield Delta(usage=usage)

    def _chat_body(self, conversation: Conversation, params: Params, call: Call) -> Wire:
        messages = conversation.wire()
        body = self._body(params, call)
        if conversation.prefill is not None:
            if not self.profile.is_vllm:
                raise RequestRefused("the upstream cannot continue given first words", code="unsupported_parameter")
            messages.append({"role": "assistant", "content": conversation.prefill})
            body.update(continue_final_message=True, add_generation_prompt=False)
        return {**body, "messages": safe_messages(messages)}

    def _text_body(self, text: Text, params: Params, call: Call) -> Wire:
        body = self._body(replace(params, stop=(*params.stop, *text.stops)), call)
        if not text.add_bos:
            if not self.profile.is_vllm:
                raise RequestRefused(
                    "the upstream cannot leave out its beginning-of-sequence token", code="unsupported_parameter"
                )
            body["add_special_tokens"] = False
        if params.logprobs is not None:
            body.pop("top_logprobs", None)
            body["logprobs"] = params.logprobs
        body.setdefault(self.learned.max_tokens_field, None)
        return {**body, "prompt": prompt_of(text)}

    def _body(self, params: Params, call: Call) -> Wire:
        """What both ports send."""
        body = body_of(params)
        self._check(body)
        if "max_completion_tokens" in body:
            body[self.learned.max_tokens_field] = body.pop("max_completion_tokens")
        body.update(model=self.profile.model, stream=True)
        if self.learned.stream_options:
            body["stream_options"] = {"include_usage": True}
        if self.profile.is_vllm and call.cache_salt:
            body["cache_salt"] = call.cache_salt
        return body

    def _check(self, body: Mapping[str, Any]) -> None:
        for name in TOKEN_FIELDS:
            if name in body and not self.profile.is_vllm:
                raise RequestRefused(f"{name} is not honoured by this upstream", param=name, code="unsupported_parameter")


def prompt_of(text: Text) -> str:
    """The raw prompt; control strings inside and across `content` segments are broken."""
    return "".join(segment.text if segment.kind == "literal" else escape(segment.text) for segment in text.segments)
