"""The scoring engine on transformers: a reward model or classifier with the scores port alone.

A request passes: `score` -> `reward_prompts` (ids) -> `microbatch` (with whatever else waits) -> `reward_model` (forward).
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.server.engines.base import Health, Wire, WireFace
from trimtab.server.engines.transformers.microbatch import MicroBatcher
from trimtab.server.settings import TransformersConfig
from trimtab.strategies.core.engine import Call, Capabilities, Ports
from trimtab.strategies.core.errors import (
    ConfigError,
    ContextLengthExceeded,
    EngineFailure,
    EngineUnavailable,
    RequestRefused,
    StrategyError,
)
from trimtab.strategies.core.messages import Conversation

if TYPE_CHECKING:
    from trimtab.server.engines.transformers.reward_model import RewardModel
    from trimtab.server.engines.transformers.reward_prompts import RewardPrompts, ScoredPrompt

PADDED_TOKENS = 16_384
"""Tokens of a batch, padding counted."""


@dataclass(frozen=True, slots=True)
class _Runtime:
    model: "RewardModel"
    prompts: "RewardPrompts"
    batches: "MicroBatcher[ScoredPrompt, float]"


class TransformersRewards:
    """`Engine` over a sequence classification checkpoint.

    path: its directory. label: of a classifier, whose log-odds are the score. chat_template: in place of the model's own.
    """

    kind = "transformers"
    tokenizer = None

    def __init__(
        self,
        path: Path,
        config: TransformersConfig,
        *,
        name: str,
        label: str | None = None,
        chat_template: str | None = None,
    ) -> None:
        self.name = name
        self._path = path
        self._config = config
        self._label = label
        self._chat_template = chat_template
        self._runtime: _Runtime | None = None
        self._start = asyncio.Lock()
        self._health = Health("starting")

    @property
    def capabilities(self) -> Capabilities:
        """What it honours: it scores, and generates nothing."""
        if self._runtime is None:
            return Capabilities(prefill=False, logprobs=-1)
        model = self._runtime.model
        scores = f"the log-odds of {model.label.name!r}" if model.label.name else "a reward"
        return Capabilities(
            prefill=False,
            logprobs=-1,
            logit_bias=False,
            seed=False,
            max_model_len=model.window,
            notes=(f"gives {scores}; generates nothing", f"{model.dtype} on {model.network.device}"),
        )

    @property
    def ports(self) -> Ports:
        """Scores."""
        return Ports(scores=self, capabilities=self.capabilities)

    @property
    def wire(self) -> WireFace:
        """Refuses every request: this model generates no text."""
        return NoWire()

    async def start(self) -> None:
        """Load the model in a thread. Raises ConfigError where it cannot be served, OSError where files lack."""
        async with self._start:
            if self._runtime is None:
                self._runtime = await asyncio.to_thread(self._open)
                self._health = Health("ready")

    async def close(self) -> None:
        """End waiting work with EngineUnavailable and free the model. Safe to call twice."""
        async with self._start:
            runtime, self._runtime = self._runtime, None
            self._health = Health("closed")
            if runtime is not None:
                await runtime.batches.close(EngineUnavailable(f"The engine of {self.name} is closed."))

    def health(self) -> Health:
        """Ready between start and close."""
        return self._health

    async def abort(self, request_id: str) -> None:
        """End the waiting work of a request with EngineFailure; a batch that has begun is computed."""
        if self._runtime is not None:
            self._runtime.batches.fail(EngineFailure("The request was aborted."), request_id)

    def metrics(self) -> Mapping[str, float]:
        """Conversations in work and waiting, and how many were scored."""
        if self._runtime is None:
            return {}
        batches = self._runtime.batches
        return {"running": float(batches.running), "waiting": float(batches.waiting), "scored_total": float(batches.computed)}

    async def score(self, conversations: Sequence[Conversation], call: Call) -> tuple[float, ...]:
        """The reward of each conversation, or the log-odds of the label.

        Raises RequestRefused, ContextLengthExceeded (nothing is cut off), EngineUnavailable and EngineFailure.
        """
        runtime = self._runtime
        if runtime is None:
            raise EngineUnavailable(f"The engine of {self.name} is {self._health.state}.")
        prompts = await asyncio.to_thread(lambda: [runtime.prompts.encode(one) for one in conversations])
        longest = max((len(prompt.ids) for prompt in prompts), default=0)
        if longest > runtime.model.window:
            raise ContextLengthExceeded(
                f"a conversation to be scored has {longest} tokens; the context window of the scoring model is "
                f"{runtime.model.window}"
            )
        try:
            return tuple(await runtime.batches.results(prompts, call.request_id))
        except StrategyError:
            raise
        except Exception as error:  # the border to torch: whatever a model raises is this request's failure
            raise EngineFailure(f"The scoring model of {self.name} failed: {type(error).__name__}") from error

    def _open(self) -> _Runtime:
        from trimtab.server.engines.encoding import ChatEncoder
        from trimtab.server.engines.transformers.reward_model import load_reward_model
        from trimtab.server.engines.transformers.reward_prompts import RewardPrompts

        model = load_reward_model(self._path, self._config, self._label)
        tokenizer = model.tokenizer
        if getattr(tokenizer, "backend_tokenizer", None) is None:
            raise ConfigError(f"The tokenizer of {self.name} has no fast form (tokenizer.json); the engine needs one.")
        has_template = bool(self._chat_template or tokenizer.chat_template)
        prompts = RewardPrompts(tokenizer, ChatEncoder(tokenizer, self._chat_template), has_template=has_template)
        batches = MicroBatcher(
            model.scores,
            size=lambda prompt: len(prompt.ids),
            most=self._config.max_batch_size,
            room=PADDED_TOKENS,
            prepare=self._claim_threads,
        )
        return _Runtime(model, prompts, batches)

    def _claim_threads(self) -> None:
        """Compute on as many CPU threads as the settings say; torch keeps the number for each thread that computes."""
        import torch

        if self._config.threads is not None:
            torch.set_num_threads(self._config.threads)


class NoWire:
    """`WireFace` of a model that generates no text: every request is refused."""

    async def chat(self, body: Mapping[str, object], call: Call) -> Wire:
        """Raises RequestRefused."""
        raise _refusal()

    def chat_stream(self, body: Mapping[str, object], call: Call) -> AsyncGenerator[str, None]:
        """Raises RequestRefused at its first step."""
        return _refused()

    async def completion(self, body: Mapping[str, object], call: Call) -> Wire:
        """Raises RequestRefused."""
        raise _refusal()

    def completion_stream(self, body: Mapping[str, object], call: Call) -> AsyncGenerator[str, None]:
        """Raises RequestRefused at its first step."""
        return _refused()


async def _refused() -> AsyncGenerator[str, None]:
    for chunk in tuple[str, ...]():
        yield chunk
    raise _refusal()


def _refusal() -> RequestRefused:
    return RequestRefused("this model scores texts; it generates none", param="model", code="unsupported_by_engine")
