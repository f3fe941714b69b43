"""VllmEngine: puts the parts together and keeps them through restarts. Imports vLLM when it starts, not before."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.server.engines.base import Health, TokenizerFace, WireFace
from trimtab.server.engines.checkpoint_files import check_checkpoint, check_shapes, stored_shapes
from trimtab.server.engines.labels import pick_label
from trimtab.server.engines.vllm import defaults
from trimtab.server.engines.vllm.calls import RunningCalls
from trimtab.server.engines.vllm.errors import from_exception
from trimtab.server.engines.vllm.supervisor import Supervisor
from trimtab.server.settings import VllmConfig
from trimtab.strategies.core.engine import Capabilities, Ports
from trimtab.strategies.core.errors import EngineFailure, RequestRefused, StrategyError

if TYPE_CHECKING:
    from trimtab.server.engines.vllm.plan import Language, Plan
    from trimtab.server.engines.vllm.runtime import Runtime

NOT_STARTED = "the vLLM engine has not been started"
ADAPTED = "an adapter on a served model: its answers are decoded without speculation"


class VllmEngine:
    """`trimtab.server.engines.base.Engine` on vLLM's AsyncLLM."""

    def __init__(
        self, path: Path, config: VllmConfig, *, name: str, chat_template: str | None = None, label: str | None = None
    ) -> None:
        """path: a directory of safetensors. name: what the model is called. chat_template: in place of the model's own.

        label: of a classifier, whose log-odds are the score.
        """
        self._path = path
        self._config = config
        self._name = name
        self._chat_template = chat_template
        self._label = label
        self._calls = RunningCalls()
        self._supervisor: Supervisor[Runtime] = Supervisor(name, self._launch, backoff_s=config.restart_backoff_s)
        self._capabilities = Capabilities()
        self._ports = Ports()
        self._under: dict[str, Ports] = {}
        self._wire: WireFace | None = None
        self._tokenizer: TokenizerFace | None = None
        self._plan: Plan | None = None
        self._language: Language | None = None
        self._latest: Runtime | None = None
        self._pushing = asyncio.Lock()
        self._version = 0
        self._weights = path
        """The checkpoint whose weights are served."""

    @property
    def kind(self) -> str:
        """vllm."""
        return "vllm"

    @property
    def capabilities(self) -> Capabilities:
        """What it honours; final once `start` has returned."""
        return self._capabilities

    @property
    def ports(self) -> Ports:
        """What strategies may use; the objects survive a restart of the engine."""
        return self._ports

    def ports_under(self, adapter: str) -> Ports:
        """What strategies may use of the model under one of its adapters. Raises KeyError."""
        return self._under[adapter]

    @property
    def wire(self) -> WireFace:
        """vLLM's own OpenAI layer."""
        if self._wire is None:
            raise EngineFailure(NOT_STARTED)
        return self._wire

    @property
    def tokenizer(self) -> TokenizerFace | None:
        """Exactly what the engine will see."""
        return self._tokenizer

    @property
    def adapters(self) -> tuple[str, ...]:
        """Model names beside the base model: the LoRA adapters of the config."""
        return tuple(self._config.lora)

    async def start(self) -> None:
        """Load the model; returns when requests can be served.

        Raises ConfigError for arguments that vLLM does not have or take, EngineFailure where the engine does not start.
        """
        try:
            runtime = await self._supervisor.start()
            self._assemble(await self._planned(), await self._read_language(), runtime)
        except BaseException as error:
            await self._supervisor.close()
            if isinstance(error, StrategyError) or not isinstance(error, Exception):
                raise
            raise EngineFailure(f"the vLLM engine of {self._name!r} did not start: {error}") from error
        _freeze_heap()

    async def close(self) -> None:
        """End running work and free everything. Safe to call twice."""
        if self._latest is not None:
            await self._latest.abort(self._calls.all_engine_ids())
        await self._supervisor.close()

    def health(self) -> Health:
        """The state now."""
        return self._supervisor.health()

    async def abort(self, request_id: str) -> None:
        """End every piece of work that runs under this `Call.request_id`."""
        if self._latest is not None:
            await self._latest.abort(self._calls.engine_ids(request_id))

    def metrics(self) -> Mapping[str, float]:
        """Gauges and totals of the engine, and how often it was restarted."""
        if self._plan is None or self._latest is None:
            return {}
        numbers = {**self._plan.stats.numbers(), "restarts": float(self._supervisor.restarts)}
        if self._latest.idle:
            numbers |= {"running": 0.0, "waiting": 0.0}
        return numbers

    @property
    def weights_version(self) -> int:
        """How often the weights were replaced."""
        return self._version

    async def push_weights(self, directory: Path) -> int:
        """Compute with the weights of a checkpoint from here on; their version. See `Renewable`.

        An engine that is started again after a death reads them again. Raises RequestRefused, EngineUnavailable, EngineFailure.
        """
        from trimtab.server.engines.vllm.wire import translated

        self._check_renewable()
        async with self._pushing:
            runtime = self._supervisor.live()
            await asyncio.to_thread(self._check_weights, directory)
            with translated(self._supervisor, runtime, "path"):
                await runtime.load_weights(directory, self._weights)
            self._weights = directory
            self._version += 1
            return self._version

    def _check_renewable(self) -> None:
        if self._config.lora:
            raise RequestRefused(f"{self._name} has adapters, which were trained on the weights it has", param="model")
        if self._plan is not None and self._plan.scoring:
            raise RequestRefused(f"{self._name} scores texts; weights are pushed to models that generate", param="model")

    def _check_weights(self, directory: Path) -> None:
        """Raise RequestRefused for a directory that does not hold this model in other weights."""
        check_checkpoint(directory)
        check_shapes(stored_shapes(directory), stored_shapes(self._path), directory)

    async def _launch(self) -> "Runtime":
        """A running engine with its handlers; nothing is left of it where that fails."""
        plan = await self._planned()
        from trimtab.server.engines.vllm.launch import launch
        from trimtab.server.engines.vllm.openai_layer import Serving
        from trimtab.server.engines.vllm.runtime import Runtime

        reading = asyncio.ensure_future(self._read_language())
        try:
            launched = await launch(plan.build, timeout_s=self._config.start_timeout_s)
        except BaseException:
            reading.cancel()
            raise
        try:
            language = await reading
            plan.choose_tool_parser(language.template)
            serving = await Serving.over(launched.engine, plan.args, language.encoder)
        except BaseException:
            await launched.stop()
            raise
        runtime = Runtime(launched, serving, language.encoder, plan.prioritised)
        if self._weights != self._path:
            await self._pushed_again(runtime)
        self._latest = runtime
        return runtime

    async def _pushed_again(self, runtime: "Runtime") -> None:
        """Load the weights that were pushed into an engine that has just been started, or leave nothing of it."""
        try:
            await runtime.load_weights(self._weights, self._weights)
        except BaseException:
            await runtime.stop()
            raise

    async def _planned(self) -> "Plan":
        """How the engine is started; made once."""
        from trimtab.server.engines.vllm.plan import make_plan

        if self._plan is None:
            self._plan = await asyncio.to_thread(make_plan, self._path, self._config, self._name, self._chat_template)
        return self._plan

    async def _read_language(self) -> "Language":
        """Tokenizer, template and encoder; read while the engine's processes load their weights, and once."""
        from trimtab.server.engines.vllm.plan import read_language

        if self._language is None:
            self._language = await asyncio.to_thread(read_language, self._path, self._chat_template)
        return self._language

    def _assemble(self, plan: "Plan", language: "Language", runtime: "Runtime") -> None:
        """The faces and ports, once; they outlive this runtime."""
        from trimtab.server.engines.vllm import ports as adapters
        from trimtab.server.engines.vllm.generation import Generation
        from trimtab.server.engines.vllm.tokenizer import VllmTokenizer
        from trimtab.server.engines.vllm.wire import VllmWire

        model = runtime.engine.model_config
        self._capabilities = _capabilities(plan, language, model)
        wire = VllmWire(self._supervisor, self._calls, self._check)
        tokenizer = VllmTokenizer(language.tokenizer, language.encoder, language.template, self._render)
        self._wire, self._tokenizer = wire, tokenizer
        if plan.scoring:
            generation = Generation(self._supervisor, self._calls)
            label = pick_label(model.hf_config, self._label)
            scores = adapters.ScoresOverPooling(generation, tokenizer, int(model.max_model_len), label)
            self._ports = Ports(scores=scores, capabilities=self._capabilities)
            return
        eos = _eos_token_ids(language.tokenizer, model)

        def ports(adapter: str | None, capabilities: Capabilities) -> Ports:
            generation = Generation(self._supervisor, self._calls, adapter)
            return Ports(
                messages=adapters.MessagesOverWire(wire, adapter) if language.template else None,
                text=adapters.TextOverTokens(generation, tokenizer),
                tokens=adapters.TokensOverEngine(generation, tokenizer, eos),
                capabilities=capabilities,
            )

        self._ports = ports(None, self._capabilities)
        adapted = replace(self._capabilities, notes=(*self._capabilities.notes, ADAPTED))
        self._under = {adapter: ports(adapter, adapted) for adapter in self.adapters}

    def _render(self, body: Mapping[str, Any]) -> list[int]:
        """The ids of a chat body as the engine will see them."""
        if self._latest is None:
            raise EngineFailure(NOT_STARTED)
        try:
            return self._latest.serving.render(body, safe=self._latest.is_forged(body))
        except Exception as error:  # vLLM's renderer raises what a template or tokenizer raises
            raise from_exception(error, dead=False, prompt="messages") from error

    def _check(self, body: Mapping[str, Any]) -> None:
        """Raises RequestRefused for what this engine cannot honour although vLLM would take it."""
        from trimtab.server.engines.vllm.wire import refuse_fetching

        if body.get("seed") is not None and not self._capabilities.seed:
            raise RequestRefused(
                "`seed` cannot be honoured: with chunked prefill a seeded request would end vLLM's CPU worker",
                param="seed",
                code="unsupported_by_engine",
            )
        refuse_fetching(body, bool(self._config.args.get("allowed_media_domains")))


def _freeze_heap() -> None:
    """Keep the garbage collector away from what stays for good: collections would stall every stream, as in vLLM's server."""
    from vllm.utils.gc_utils import freeze_gc_heap

    freeze_gc_heap()


def _capabilities(plan: "Plan", language: "Language", model: Any) -> Capabilities:
    tools = plan.args.tool_call_parser is not None
    notes: list[str] = []
    if tools and not defaults.renders_tools(language.template):
        notes.append("the chat template does not show tools to the model; a call can be forced by tool_choice")
    if not plan.prompt_logprobs:
        notes.append("on CPU vLLM gives no log-probabilities of a prompt beside adapters; the transformers engine does")
    return Capabilities(
        prefill=language.template is not None,
        tools=tools,
        response_format=frozenset({"text", "json_object", "json_schema"}),
        logprobs=int(model.max_logprobs),
        n=128,
        seed=plan.seeds,
        images=bool(model.is_multimodal_model),
        logit_bias=True,
        prompt_logprobs=plan.prompt_logprobs,
        safe_content=language.encoder.mode,
        max_model_len=int(model.max_model_len),
        notes=tuple(notes),
    )


def _eos_token_ids(tokenizer: Any, model: Any) -> frozenset[int]:
    """The ids that end an answer: the tokenizer's and those of the generation config."""
    configured = model.try_get_generation_config().get("eos_token_id")
    several = configured if isinstance(configured, list) else [configured]
    return frozenset(int(i) for i in [tokenizer.eos_token_id, *several] if i is not None)
