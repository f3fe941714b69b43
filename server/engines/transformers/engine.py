"""The transformers engine: life, ports and capabilities around one worker thread.

A request passes: `chat` or `complete` -> `prompts` (ids) -> `generate` -> `sampling` (checked parameters) -> `worker` (inbox)
-> `scheduler` (waiting, admission, prefill, batch, sampler, row) -> `worker` (outbox) -> `answers` (deltas).
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.server.engines.base import Health, TokenizerFace, WireFace
from trimtab.server.engines.faces import AdaptedWire, PortsWire
from trimtab.server.engines.prompt_scores import PromptLogprob
from trimtab.server.engines.transformers.answers import answer
from trimtab.server.settings import TransformersConfig
from trimtab.strategies.core.engine import Call, Capabilities, Params, Ports, TokenDelta
from trimtab.strategies.core.errors import EngineFailure, EngineUnavailable, RequestRefused
from trimtab.strategies.core.messages import Conversation, Delta, Text

if TYPE_CHECKING:
    from trimtab.server.engines.transformers.runtime import Runtime

MOST_TOP_LOGPROBS = 20
MOST_SAMPLES = 128


class TransformersEngine:
    """Any Hugging Face causal language model whose layers keep keys and values, with continuous batching.

    path: a checkpoint directory. chat_template: a Jinja template in place of the model's own.
    """

    def __init__(self, path: Path, config: TransformersConfig, *, name: str, chat_template: str | None = None) -> None:
        self.name = name
        self._path = path
        self._config = config
        self._chat_template = chat_template
        self._runtime: Runtime | None = None
        self._start: asyncio.Lock = asyncio.Lock()
        self._pushing: asyncio.Lock = asyncio.Lock()
        self._version = 0
        self._health = Health("starting", retry_after_s=5.0)
        own = config.model_copy(update={"lora": {}})
        self._under = {
            adapter: TransformersEngine(Path(folder), own, name=adapter, chat_template=chat_template)
            for adapter, folder in config.lora.items()
        }
        """The model under each adapter, an engine whose runtime this one makes."""

    @property
    def kind(self) -> str:
        """transformers."""
        return "transformers"

    @property
    def capabilities(self) -> Capabilities:
        """What it honours."""
        if self._runtime is None:
            return Capabilities(n=MOST_SAMPLES, logprobs=MOST_TOP_LOGPROBS, prompt_logprobs=True)
        runtime = self._runtime
        notes = () if runtime.prompts.has_template else ("a base model: no chat template",)
        return Capabilities(
            n=MOST_SAMPLES,
            logprobs=MOST_TOP_LOGPROBS,
            prompt_logprobs=True,
            safe_content=runtime.encoder.mode,
            max_model_len=runtime.model.limits.window,
            notes=(f"{runtime.dtype} on {runtime.model.device}", *notes),
        )

    @property
    def ports(self) -> Ports:
        """Text and tokens; messages where the model has a chat template."""
        chats = self._runtime is None or self._runtime.prompts.has_template
        return Ports(messages=self if chats else None, text=self, tokens=self, capabilities=self.capabilities)

    def ports_under(self, adapter: str) -> Ports:
        """What strategies may use of the model under one of its adapters. Raises KeyError."""
        return self._under[adapter].ports

    @property
    def adapters(self) -> tuple[str, ...]:
        """Model names beside the base model: the LoRA adapters of the config."""
        return tuple(self._under)

    @property
    def wire(self) -> WireFace:
        """The face made from the ports."""
        own = PortsWire(Ports(self, self, self, capabilities=self.capabilities), self.tokenizer, self)
        return AdaptedWire(own, {name: engine.wire for name, engine in self._under.items()}) if self._under else own

    @property
    def tokenizer(self) -> TokenizerFace:
        """The tokenizer. Raises EngineUnavailable before the start."""
        return self._ready().face

    async def start(self) -> None:
        """Load the model in a thread. Raises ConfigError where it cannot be served, OSError where files lack."""
        async with self._start:
            if self._runtime is None:
                self._runtime, under = await asyncio.to_thread(self._open)
                for name, runtime in under.items():
                    self._under[name]._runtime = runtime

    def _open(self) -> tuple["Runtime", dict[str, "Runtime"]]:
        from trimtab.server.engines.transformers.runtime import open_adapters, open_runtime

        runtime = open_runtime(self._path, self._config, name=self.name, chat_template=self._chat_template)
        try:
            return runtime, open_adapters(runtime, self._config)
        except BaseException:
            runtime.worker.close()
            raise

    async def close(self) -> None:
        """End running work with EngineUnavailable and free the model. Safe to call twice."""
        async with self._start:
            runtime, self._runtime = self._runtime, None
            self._health = Health("closed")
            if runtime is not None:
                await asyncio.to_thread(runtime.worker.close)
        for engine in self._under.values():
            await engine.close()

    def health(self) -> Health:
        """The state now; not ready where an adapter is not."""
        own = self._health if self._runtime is None else self._runtime.worker.health()
        states = [own, *(engine.health() for engine in self._under.values())]
        return next((health for health in states if health.state != "ready"), own)

    async def abort(self, request_id: str) -> None:
        """End the work of a request; whoever reads it gets EngineFailure."""
        for engine in self._under.values():
            await engine.abort(request_id)
        if self._runtime is not None and self._runtime.worker.health().state == "ready":
            error = EngineFailure("The request was aborted.")
            self._runtime.worker.post(lambda scheduler: scheduler.fail(error, request_id=request_id))

    def metrics(self) -> Mapping[str, float]:
        """Rows running and waiting, and counts since the start, those under adapters included."""
        if self._runtime is None:
            return {}
        numbers = Counter(self._runtime.worker.gauges())
        for engine in self._under.values():
            numbers.update(engine.metrics())
        return numbers

    @property
    def weights_version(self) -> int:
        """How often the weights were replaced."""
        return self._version

    async def push_weights(self, directory: Path) -> int:
        """Compute with the weights of a checkpoint from here on; their version. See `Renewable`.

        They are read beside the running engine, in float32, and copied in when what was queued before has ended.
        Raises RequestRefused, EngineUnavailable and EngineFailure.
        """
        from trimtab.server.engines.transformers.weights import read_weights

        if self._under:
            raise RequestRefused(f"{self.name} has adapters, which were trained on the weights it has", param="model")
        async with self._pushing:
            runtime = self._ready()
            tensors = await asyncio.to_thread(read_weights, directory, runtime.model)
            _, mailbox = runtime.submit_weights(tensors, Call("weights"))
            await mailbox.get()
            self._version += 1
            return self._version

    @property
    def eos_token_ids(self) -> frozenset[int]:
        """The ids that end an answer."""
        return self._ready().model.limits.eos_ids

    def encode_chat(self, conversation: Conversation) -> tuple[int, ...]:
        """The ids of a conversation. Raises RequestRefused, also where the model has no chat template."""
        return self._ready().prompts.conversation(conversation)

    def encode_text(self, text: Text) -> tuple[int, ...]:
        """The ids of a raw prompt."""
        return self._ready().prompts.text(text)

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of ids, control tokens left out."""
        return self._ready().decode(token_ids)

    async def chat(self, conversation: Conversation, params: Params, call: Call) -> AsyncGenerator[Delta, None]:
        """The answer to a conversation."""
        runtime = self._ready()
        ids = runtime.prompts.conversation(conversation, params.native)
        async with aclosing(answer(self.generate(ids, params, call), len(ids), params, runtime.pieces)) as deltas:
            async for delta in deltas:
                yield delta

    async def complete(self, text: Text, params: Params, call: Call) -> AsyncGenerator[Delta, None]:
        """The continuation of a raw prompt."""
        runtime = self._ready()
        runtime.prompts.check(params.native)
        ids = runtime.prompts.text(text)
        params = replace(params, stop=(*params.stop, *text.stops))
        async with aclosing(answer(self.generate(ids, params, call), len(ids), params, runtime.pieces)) as deltas:
            async for delta in deltas:
                yield delta

    async def generate(self, prompt_token_ids: Sequence[int], params: Params, call: Call) -> AsyncGenerator[TokenDelta, None]:
        """Continuations of ids, a delta a sample a step. Raises RequestRefused, ContextLengthExceeded and EngineError."""
        runtime = self._ready()
        job, mailbox = runtime.submit(prompt_token_ids, params, call)
        open_samples = job.sampling.n
        try:
            if not job.sampling.max_tokens:
                for index in range(open_samples):
                    yield TokenDelta(index, (), finish_reason="length")
                return
            while open_samples:
                delta: TokenDelta = await mailbox.get()
                open_samples -= delta.finish_reason is not None
                yield delta
        finally:
            if not job.ended:
                runtime.worker.cancel(job)

    async def next_logprobs(self, prompt_token_ids: Sequence[int], candidates: Sequence[int], call: Call) -> tuple[float, ...]:
        """Raw log-probabilities, in nats, of each candidate id as the next token."""
        params = Params(max_tokens=1, temperature=0.0, logprob_token_ids=tuple(candidates), ignore_eos=True)
        async with aclosing(self.generate(prompt_token_ids, params, call)) as deltas:
            delta = await anext(deltas)
        return tuple(delta.top_logprobs[0][candidate] for candidate in candidates)

    async def prompt_logprobs(self, token_ids: Sequence[int], top: int, call: Call) -> list[PromptLogprob | None]:
        """Raw log-probabilities of a prompt's own tokens; the first has none."""
        runtime = self._ready()
        job, mailbox = runtime.submit_score(token_ids, top, call)
        try:
            scored: list[PromptLogprob | None] = await mailbox.get()
            return scored
        finally:
            if not job.ended:
                runtime.worker.cancel(job)

    def _ready(self) -> "Runtime":
        if self._runtime is None:
            raise EngineUnavailable(f"The engine of {self.name} is {self._health.state}.", retry_after_s=5.0)
        return self._runtime
