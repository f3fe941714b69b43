"""One aligned request: shape, answer on the engine's native path or through the pipeline, and give account of it."""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from trimtab.server.account import Account
from trimtab.server.api.schemas.fields import refuse_native
from trimtab.server.engines.base import Engine, Wire
from trimtab.server.engines.faces import conversation_of
from trimtab.server.wire import ChatAnswerBuilder, ChatChunks, dumps, loads, params_of, usage_of, wants_usage
from trimtab.strategies.core.context import RequestContext, Step
from trimtab.strategies.core.engine import Params
from trimtab.strategies.core.errors import ContextLengthExceeded, RequestRefused, StrategyError
from trimtab.strategies.core.messages import Conversation, Delta, Prompt, Segment, Text, Usage
from trimtab.strategies.core.metering import in_time, within_budget, within_deadline
from trimtab.strategies.pipeline import OnError, Pipeline

UNFINISHED = '"finish_reason":null'
"""What every chunk but a choice's last one holds."""


@dataclass(slots=True)
class AlignedChat:
    """A chat request under a pipeline."""

    engine: Engine
    pipeline: Pipeline
    ctx: RequestContext
    body: Mapping[str, Any]
    """The request body without `alignment`."""
    on_error: OnError
    account: Account
    _clipped: bool = field(default=False)

    @property
    def params(self) -> Params:
        """Sampling parameters of the request."""
        return self.ctx.params

    async def answer(self) -> Wire:
        """The `chat.completion` object with its `alignment`. Raises the step's own error under `closed`."""
        try:
            prompt = await self.shaped()
            try:
                wire = await self._answered(prompt, self.pipeline)
            except ContextLengthExceeded as error:
                raise await self._with_overhead(error, prompt) from error
        except StrategyError as error:
            wire = await self._answered(self._plain_after(error), Pipeline())
        return {**wire, "usage": self.account.usage(), "alignment": self.account.wire()}

    async def events(self) -> AsyncGenerator[str, None]:
        """The chunks; `alignment` rides on the last one."""
        begun = False
        try:
            prompt = await self.shaped()
            try:
                async with aclosing(self._streamed(prompt, self.pipeline)) as chunks:
                    async for chunk in chunks:
                        begun = True
                        yield chunk
                return
            except ContextLengthExceeded as error:
                raise await self._with_overhead(error, prompt) from error
        except StrategyError as error:
            if begun:
                raise
            plain = self._plain_after(error)
        async with aclosing(self._streamed(plain, Pipeline())) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _with_overhead(self, error: ContextLengthExceeded, prompt: Prompt) -> ContextLengthExceeded:
        """The same error, telling how much of the prompt is the pipeline's own; the tokenizer may be another server's."""
        names, own = ", ".join(self.pipeline.names), await asyncio.to_thread(self._own_tokens, prompt)
        if own is None:
            return ContextLengthExceeded(f"{error} (the prompt includes what {names} added)")
        return ContextLengthExceeded(f"{error} ({own} of the prompt's tokens were added by {names})")

    def _own_tokens(self, prompt: Prompt) -> int | None:
        """Tokens of the prompt beyond the user's own conversation, or beyond its bare texts; None where nobody counts them."""
        tokenizer, tokens = self.engine.tokenizer, self.engine.ports.tokens
        if isinstance(prompt, Conversation):
            if tokenizer is None:
                return None
            shaped = tokenizer.tokenize_chat({**self.body, "messages": prompt.wire()})
            return len(shaped) - len(tokenizer.tokenize_chat(self.body))
        if tokens is None:
            return None
        said = "\n".join(message.text for message in conversation_of(self.body).messages)
        return len(tokens.encode_text(prompt)) - len(tokens.encode_text(Text((Segment("content", said),), add_bos=False)))

    def _plain_after(self, error: StrategyError) -> Prompt:
        """The user's own prompt for an unaligned answer under `open`; raises the error where that is not allowed or no help."""
        failed = [step for step in self.ctx.trace.steps if step.status == "failed" and step.strategy != "plain"]
        if self.on_error != "open" or not failed:
            raise error
        for config in self.pipeline.steps[len(self.ctx.trace.steps) :]:
            if config.kind != "plain":
                self.ctx.trace.begin(config.kind, config.role).skip("an earlier step failed")
        self.ctx.trace.warn(f"{failed[-1].strategy} failed and alignment.on_error is 'open': this answer is not aligned")
        return conversation_of(self.body)

    async def shaped(self) -> Prompt:
        """What the shapers make of the conversation; nothing is decoded."""
        return await self.pipeline.shape(conversation_of(self.body), self.ctx, self.on_error)

    async def _answered(self, prompt: Prompt, pipeline: Pipeline) -> Wire:
        if pipeline.decodes_natively and isinstance(prompt, Conversation):
            with NativeStep(self.ctx.trace.begin("plain", "decoder")) as step:
                body = self._native_body(prompt)
                wire = await in_time(self.engine.wire.chat(body, self.ctx.call()), self.ctx.budget)
                self._spent(step, usage_of(wire.get("usage")), {c.get("finish_reason") for c in wire["choices"]})
            return wire
        answer = ChatAnswerBuilder(self.body["model"], logprobs=self.params.logprobs is not None)
        async with aclosing(self._deltas(prompt, pipeline)) as deltas:
            async for delta in deltas:
                answer.add(delta)
        return answer.build()

    async def _streamed(self, prompt: Prompt, pipeline: Pipeline) -> AsyncGenerator[str, None]:
        native = pipeline.decodes_natively and isinstance(prompt, Conversation)
        chunks = (
            self._native_chunks(prompt) if native and isinstance(prompt, Conversation) else self._rendered(prompt, pipeline)
        )
        async with aclosing(chunks) as pieces:
            async for chunk in pieces:
                yield chunk

    async def _native_chunks(self, prompt: Conversation) -> AsyncGenerator[str, None]:
        """The engine's own chunks as they come; only the last one is read and extended."""
        body = {**self._native_body(prompt), "stream": True, "stream_options": {"include_usage": True}}
        asked = wants_usage(self.body)
        held: str | None = None
        finishes: set[str | None] = set()
        usage: Mapping[str, Any] = {}
        with NativeStep(self.ctx.trace.begin("plain", "decoder")) as step:
            async with aclosing(
                within_deadline(self.engine.wire.chat_stream(body, self.ctx.call()), self.ctx.budget)
            ) as chunks:
                async for chunk in chunks:
                    if UNFINISHED in chunk:
                        yield chunk if asked else _without_null_usage(chunk)
                        continue
                    read = loads(chunk)
                    if not read.get("choices"):
                        usage = read
                        continue
                    finishes.update(choice.get("finish_reason") for choice in read["choices"])
                    if held is not None:
                        yield held if asked else _without_null_usage(held)
                    held = chunk
            self._spent(step, usage_of(usage.get("usage")), finishes)
        for last in self._closing(loads(held) if held else None, usage):
            yield dumps(last)

    def _closing(self, finish: Wire | None, usage_chunk: Mapping[str, Any]) -> list[Wire]:
        """The last chunks: `alignment` on the usage chunk where the client asked for one, else on the finishing chunk."""
        explained = {"alignment": self.account.wire()}
        if wants_usage(self.body) and usage_chunk:
            return [*([finish] if finish else []), {**usage_chunk, "usage": self.account.usage(), **explained}]
        if finish is None:
            return []
        return [{name: value for name, value in finish.items() if name != "usage" or wants_usage(self.body)} | explained]

    async def _rendered(self, prompt: Prompt, pipeline: Pipeline) -> AsyncGenerator[str, None]:
        chunks = ChatChunks(self.body["model"], include_usage=wants_usage(self.body), logprobs=self.params.logprobs is not None)
        held: Wire | None = None
        async with aclosing(self._deltas(prompt, pipeline)) as deltas:
            async for delta in deltas:
                for chunk in chunks.chunks(delta):
                    if held is not None:
                        yield dumps(held)
                    held = chunk if chunk["choices"][0]["finish_reason"] else None
                    if held is None:
                        yield dumps(chunk)
        for last in self._closing(held, next(iter(chunks.last(Usage())), {})):
            yield dumps(last)

    async def _deltas(self, prompt: Prompt, pipeline: Pipeline) -> AsyncGenerator[Delta, None]:
        refuse_native(self.body, by=f"the pipeline {', '.join(self.pipeline.names)}")
        if not isinstance(prompt, Conversation):
            self._refuse_chat_only(pipeline)
        self.ctx.budget.check()
        stream = pipeline.run(prompt, self.params, self.ctx, self.on_error)
        said: set[int] = set()
        scored: set[int] = set()
        async with aclosing(stream) as deltas:
            async for delta in deltas:
                if delta.text:
                    said.add(delta.index)
                if delta.logprobs:
                    scored.add(delta.index)
                if self.params.logprobs is not None and delta.finish_reason and delta.index in said - scored:
                    self.ctx.trace.warn("logprobs are null: the engine did not sample this text as it stands")
                yield delta

    def _refuse_chat_only(self, pipeline: Pipeline) -> None:
        """A raw prompt has no place for tools and the like."""
        for name in self.params.native:
            raise RequestRefused(
                f"{name} cannot be honoured: {', '.join(self.pipeline.names)} renders a raw prompt, which never passes "
                "the engine's chat layer",
                param=name,
                code="unsupported_parameter",
            )

    def _native_body(self, prompt: Conversation) -> Wire:
        """The request with the shaped messages in place of its own, held to the budget."""
        body = {**self.body, "messages": prompt.wire()}
        body.pop("continue_final_message", None)
        if prompt.prefill is not None:
            body["messages"] = [*body["messages"], {"role": "assistant", "content": prompt.prefill}]
            body.update(continue_final_message=True, add_generation_prompt=False)
        self.ctx.budget.begin_call()
        params, self._clipped = within_budget(params_of(body), self.ctx.budget)
        if self._clipped:
            body.pop("max_tokens", None)
            body["max_completion_tokens"] = params.max_tokens
            if body.get("min_tokens"):
                body["min_tokens"] = params.min_tokens
        return body

    def _spent(self, step: Step, usage: Usage, finishes: set[str | None]) -> None:
        """Account for the native call."""
        meter = step.meter("policy")
        meter.calls, meter.usage, meter.last = meter.calls + 1, meter.usage + usage, usage
        self.ctx.budget.spend(usage.total_tokens)
        if self._clipped and "length" in finishes:
            step.degrade("cut by alignment.budget.max_tokens")
            self.ctx.trace.warn("the answer was cut by alignment.budget.max_tokens")


def _without_null_usage(chunk: str) -> str:
    """The chunk as it reads where no usage was asked for."""
    kept = chunk.removesuffix(',"usage":null}')
    return chunk if len(kept) == len(chunk) else f"{kept}}}"


@dataclass(slots=True)
class NativeStep:
    """Times the engine's own answer; a failure is recorded and raised."""

    step: Step
    start: float = 0.0

    def __enter__(self) -> Step:
        self.start = time.perf_counter()
        return self.step

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        self.step.ms += (time.perf_counter() - self.start) * 1000
        if isinstance(error, StrategyError):
            self.step.status, self.step.reason = "failed", str(error)
