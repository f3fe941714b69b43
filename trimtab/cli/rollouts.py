"""What online training asks of an engine, in this process: samples of the policy, scores of a reward model, new weights.

The engine is the one that serves, with its batching and prefix cache; it runs in an event loop of a thread of its own, because
the trainer calls it synchronously.
"""

import asyncio
import hashlib
import threading
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from trimtab.artifacts import ArtifactError
from trimtab.artifacts.directory import inspect_directory
from trimtab.server.engines.base import Engine
from trimtab.server.engines.transformers import TransformersEngine, TransformersRewards
from trimtab.server.engines.vllm import VllmEngine
from trimtab.server.settings import TransformersConfig, VllmConfig
from trimtab.strategies.core.engine import Call, Params, ScoresPort, TokensPort
from trimtab.strategies.core.errors import StrategyError
from trimtab.strategies.core.messages import Conversation, Message
from trimtab.training.errors import RolloutError
from trimtab.training.online.protocols import Sample

T = TypeVar("T")
GREEDY_BELOW = 1e-5
"""Temperatures under this mean the most likely token."""


class LocalPolicy:
    """`Rollouts` and `Weights` over an engine of this process; a context that ends with `close`."""

    def __init__(self, directory: Path, config: TransformersConfig | VllmConfig) -> None:
        """Start the engine on a checkpoint directory. Raises RolloutError where it does not start.

        config: dtype, context window, batch size, threads. One with adapters takes no new weights.
        """
        self._engine = _policy(directory, config)
        self._thread = EngineThread(self._engine)
        self._names = count()

    @property
    def eos_token_ids(self) -> frozenset[int]:
        """The ids that end a sample."""
        return self._tokens.eos_token_ids

    @property
    def running(self) -> float:
        """Samples under way."""
        return self._engine.metrics().get("running", 0.0)

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        n: int,
        max_tokens: int,
        temperature: float,
        top_p: float,
        seed: int,
    ) -> list[list[Sample]]:
        """`n` continuations of each prompt. See `trimtab.training.online.protocols.Rollouts`."""
        self._check_room(prompts, max_tokens)
        drawn = 1 if temperature < GREEDY_BELOW else n
        work = [
            self._samples(ids, _neutral(drawn, max_tokens, temperature, top_p, prompt_seed(seed, place)))
            for place, ids in enumerate(prompts)
        ]
        found = self._thread.run(_all(work))
        return [samples if drawn == n else samples * n for samples in found]

    def push(self, directory: Path) -> int:
        """Sample with the weights of a checkpoint from here on. See `trimtab.training.online.protocols.Weights`."""
        return self._thread.run(self._engine.push_weights(directory))

    def close(self) -> None:
        """End the engine. Safe to call twice."""
        self._thread.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def _tokens(self) -> TokensPort:
        tokens = self._engine.ports.tokens
        if tokens is None:
            raise RolloutError("this checkpoint scores texts; a policy has to generate them")
        return tokens

    def _check_room(self, prompts: Sequence[Sequence[int]], max_tokens: int) -> None:
        """Raise RolloutError where a prompt leaves less room than the samples may take; vLLM would cut them silently."""
        window, longest = self._engine.capabilities.max_model_len, max(map(len, prompts), default=0)
        if window is not None and longest + max_tokens > window:
            raise RolloutError(f"a prompt of {longest} tokens and {max_tokens} new ones exceed the context window of {window}")

    async def _samples(self, ids: Sequence[int], params: Params) -> list[Sample]:
        call = Call(f"rollout-{next(self._names)}")
        version = self._engine.weights_version
        samples = [_Growing() for _ in range(params.n)]
        async with aclosing(self._tokens.generate(tuple(ids), params, call)) as deltas:
            async for delta in deltas:
                one = samples[delta.index]
                one.token_ids += delta.token_ids
                one.logprobs += delta.logprobs
                one.finish_reason = delta.finish_reason or one.finish_reason
        return [sample_of(one.token_ids, one.logprobs, one.finish_reason, version) for one in samples]


class LocalRewards:
    """`Scores` over a reward model or classifier in this process; a context that ends with `close`."""

    def __init__(self, directory: Path, config: TransformersConfig | VllmConfig, *, label: str | None = None) -> None:
        """Start it on a checkpoint directory. Raises RolloutError where it does not start or is no scoring model.

        label: of a classifier, whose log-odds are the score.
        """
        self._engine = _rewards(directory, config, label)
        self._thread = EngineThread(self._engine)
        self._names = count()
        if self._engine.ports.scores is None:
            self.close()
            raise RolloutError(f"{str(directory)!r} is no reward model: it gives no scores")

    def score(self, conversations: Sequence[Sequence[tuple[str, str]]]) -> list[float]:
        """One number a conversation. See `trimtab.training.online.protocols.Scores`."""
        asked = [Conversation(tuple(Message(role, content) for role, content in turns)) for turns in conversations]
        port: ScoresPort | None = self._engine.ports.scores
        if port is None or not asked:
            return []
        return list(self._thread.run(port.score(asked, Call(f"rewards-{next(self._names)}", "reward"))))

    def close(self) -> None:
        """End the model. Safe to call twice."""
        self._thread.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class EngineThread:
    """An event loop in a thread, with an engine that is started in it and ends with it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="rollouts", daemon=True)
        self._thread.start()
        try:
            self.run(engine.start())
        except BaseException:
            self.close()
            raise

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of work that runs in the loop; an interrupt ends it. Raises RolloutError for what an engine raises."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        with _translated():
            try:
                return future.result()
            finally:
                future.cancel()

    def close(self) -> None:
        """End the engine, the loop and the thread. Safe to call twice."""
        if self._loop.is_closed():
            return
        try:
            self.run(self._engine.close())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


def _policy(directory: Path, config: TransformersConfig | VllmConfig) -> TransformersEngine | VllmEngine:
    _check(directory)
    if isinstance(config, TransformersConfig):
        return TransformersEngine(directory, config, name="policy")
    return VllmEngine(directory, config, name="policy")


def _rewards(directory: Path, config: TransformersConfig | VllmConfig, label: str | None) -> Engine:
    _check(directory)
    if isinstance(config, TransformersConfig):
        return TransformersRewards(directory, config, name="reward", label=label)
    return VllmEngine(directory, config, name="reward", label=label)


def _check(directory: Path) -> None:
    """Raise RolloutError for a directory that holds no model."""
    with _translated():
        inspect_directory(directory, str(directory))


def _neutral(n: int, max_tokens: int, temperature: float, top_p: float, seed: int) -> Params:
    """Parameters under which nothing but temperature and top_p shapes the distribution, whatever the model's own say."""
    return Params(
        max_tokens=max_tokens,
        n=n,
        temperature=temperature,
        top_p=top_p,
        top_k=0,
        min_p=0.0,
        repetition_penalty=1.0,
        presence_penalty=0.0,
        frequency_penalty=0.0,
        seed=seed,
        logprobs=0,
        in_one=True,
    )


def prompt_seed(seed: int, place: int) -> int:
    """The seed of one prompt of a call; its samples take this one and those that follow."""
    return int.from_bytes(hashlib.sha256(f"{seed}:prompt:{place}".encode()).digest()[:4], "big") >> 1


def sample_of(token_ids: Sequence[int], logprobs: Sequence[float], finish_reason: str | None, version: int) -> Sample:
    """A finished sample. Raises RolloutError for one that lacks something."""
    if finish_reason not in ("stop", "length") or len(token_ids) != len(logprobs):
        raise RolloutError(
            f"a sample ended with {finish_reason!r}, {len(token_ids)} tokens and {len(logprobs)} log-probabilities"
        )
    return Sample(tuple(token_ids), tuple(logprobs), finish_reason, version)


@dataclass(slots=True)
class _Growing:
    """A sample while it is generated."""

    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish_reason: str | None = None


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (StrategyError, ArtifactError, OSError) as error:
        raise RolloutError(str(error)) from error


async def _all(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Their results in order; the first failure ends the others."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]
