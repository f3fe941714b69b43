"""Running token ids through AsyncLLM: one call, its outputs, its errors."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeVar

from vllm.inputs import tokens_input

from trimtab.server.engines.vllm.calls import RunningCalls
from trimtab.server.engines.vllm.defaults import LABELS
from trimtab.server.engines.vllm.errors import aborted
from trimtab.server.engines.vllm.runtime import Runtime
from trimtab.server.engines.vllm.supervisor import Supervisor
from trimtab.server.engines.vllm.wire import translated
from trimtab.strategies.core.engine import Call
from trimtab.strategies.core.errors import ContextLengthExceeded, EngineFailure

T = TypeVar("T")


class Generation:
    """Outputs of the running engine for prompts of token ids."""

    def __init__(self, supervisor: Supervisor[Runtime], calls: RunningCalls, adapter: str | None = None) -> None:
        """adapter: the name of the adapter under which all of it runs; None = the base model."""
        self._supervisor = supervisor
        self._calls = calls
        self._adapter = adapter
        self._defaults: tuple[Runtime, Mapping[str, Any]] | None = None

    @property
    def runtime(self) -> Runtime:
        """The running engine. Raises EngineUnavailable while there is none."""
        return self._supervisor.live()

    @property
    def defaults(self) -> Mapping[str, Any]:
        """The model's generation config, as vLLM's server applies it; read once an engine: vLLM reads its file each time."""
        runtime = self.runtime
        if self._defaults is None or self._defaults[0] is not runtime:
            self._defaults = (runtime, runtime.engine.model_config.get_diff_sampling_param())
        return self._defaults[1]

    @property
    def labels(self) -> int:
        """Most ids whose log-probabilities one call returns."""
        allowed = int(self.runtime.engine.model_config.max_logprobs)
        return LABELS if allowed < 0 else min(allowed, LABELS)

    def room(self, prompt_token_ids: Sequence[int]) -> int:
        """Tokens that an answer may have. Raises ContextLengthExceeded where there is no room for one."""
        window = int(self.runtime.engine.model_config.max_model_len)
        if len(prompt_token_ids) >= window:
            raise ContextLengthExceeded(
                f"the prompt has {len(prompt_token_ids)} tokens; with an answer it exceeds the context window of {window}",
                param="prompt",
            )
        return window - len(prompt_token_ids)

    @asynccontextmanager
    async def outputs(self, prompt_token_ids: Sequence[int], sampling: Any, call: Call) -> AsyncIterator[AsyncIterator[Any]]:
        """vLLM's outputs inside the block; leaving it ends the work in the engine."""
        runtime = self.runtime
        prompt = tokens_input(list(prompt_token_ids), cache_salt=runtime.salt(call))
        with self._calls.enter(call) as running, translated(self._supervisor, runtime, "prompt"):
            adapter = None if self._adapter is None else runtime.serving.adapter(self._adapter)
            priority = runtime.priority(call)
            stream = runtime.engine.generate(prompt, sampling, running.name, lora_request=adapter, priority=priority)
            async with aclosing(stream):
                yield _checked(stream)

    async def final(self, prompt_token_ids: Sequence[int], sampling: Any, call: Call) -> Any:
        """The last of the outputs; `sampling` asks for final ones only."""
        last = None
        async with self.outputs(prompt_token_ids, sampling, call) as outputs:
            async for output in outputs:
                last = output
        if last is None:
            raise EngineFailure("the engine ended this request without an output")
        return last

    async def pooled(self, prompt_token_ids: Sequence[int], pooling: Any, call: Call) -> Any:
        """What a pooling model makes of a prompt: a tensor."""
        runtime, last = self.runtime, None
        prompt = tokens_input(list(prompt_token_ids), cache_salt=runtime.salt(call))
        with self._calls.enter(call) as running, translated(self._supervisor, runtime, "prompt"):
            stream = runtime.engine.encode(prompt, pooling, running.name, priority=runtime.priority(call))
            async with aclosing(stream):
                async for output in stream:
                    last = output
        if last is None:
            raise EngineFailure("the engine ended this request without an output")
        return last.outputs.data


async def _checked(stream: AsyncGenerator[Any, None]) -> AsyncIterator[Any]:
    """The outputs; one that the engine ended for reasons of its own is an error."""
    async for output in stream:
        for sample in output.outputs:
            if sample.finish_reason == "abort":
                raise aborted()
            if sample.finish_reason == "error":
                raise EngineFailure("the engine failed on this request")
        yield output


async def all_of(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Their results in order; the first failure ends the others and is raised as itself."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in coroutines]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


def finish_reason(sample: Any) -> str | None:
    """OpenAI's finish reason of a vLLM sample."""
    return "length" if sample.finish_reason == "repetition" else sample.finish_reason
