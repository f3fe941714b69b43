"""Engines that watch what they are asked, pause and fail on demand, and scripts of what they say."""

import hashlib
import json
import random
from asyncio import Event
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal

from trimtab.server.engines.base import Engine
from trimtab.server.engines.scripted import Script, ScriptedAnswer, ScriptedEngine
from trimtab.server.settings import ScriptedConfig
from trimtab.strategies.core.engine import Call, Params, TokenDelta
from trimtab.strategies.core.errors import EngineFailure
from trimtab.strategies.core.messages import Conversation, Delta, Text, Usage

WORDS = ("water", "light", "warm", "window", "soil", "leaf", "root", "pot", "drain", "cold", "air", "weekly", "turn", "wipe")


@dataclass(frozen=True, slots=True)
class Babble:
    """Says sentences that depend on the prompt, the seed and the choice, and on nothing else."""

    def answer(self, prompt: Conversation | str, params: Params, index: int) -> ScriptedAnswer:
        """A sentence of a few words; where the prompt ends with one, sometimes nothing, which ends the answer."""
        asked = prompt if isinstance(prompt, str) else json.dumps([prompt.wire(), prompt.prefill])
        drawn = (params.seed, index) if params.temperature != 0 else None
        dice = random.Random(hashlib.sha256(repr((asked, drawn)).encode()).digest())
        if isinstance(prompt, str) and prompt.endswith(".") and dice.random() < 0.5:
            return ScriptedAnswer("")
        return ScriptedAnswer(" ".join(dice.choice(WORDS) for _ in range(dice.randint(3, 8))) + ".")


@dataclass(frozen=True, slots=True)
class Always:
    """Says one text whatever is asked; a prompt that ends with its beginning is continued."""

    text: str

    def answer(self, prompt: Conversation | str, params: Params, index: int) -> ScriptedAnswer:
        """What is left of the text."""
        said = prompt if isinstance(prompt, str) else prompt.prefill or ""
        known = next((n for n in range(len(self.text), 0, -1) if said.endswith(self.text[:n])), 0)
        return ScriptedAnswer(self.text[known:])


@dataclass(frozen=True, slots=True)
class Asked:
    """One call of a port."""

    port: Literal["messages", "text", "tokens", "logprobs", "scores"]
    prompt: Conversation | Text | tuple[int, ...]
    call: Call
    params: Params = field(default_factory=Params)


class Gate:
    """Lets so many pieces of answers pass, then none."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.reached = Event()

    async def __call__(self) -> None:
        """Pass, or wait without end."""
        if self.left is None:
            return
        if self.left == 0:
            self.reached.set()
            await Event().wait()
        self.left -= 1


class Watched(ScriptedEngine):
    """The scripted engine; it remembers what it was asked, counts what runs, and fails or stops on demand."""

    def __init__(self, name: str) -> None:
        self.gate = Gate()
        self.script: Script = Babble()
        super().__init__(ScriptedConfig(), name=name, script=self, pace=self.gate)
        self.asked: list[Asked] = []
        self.used = Usage()
        self.open = 0
        self.fails_after: int | None = None

    def like(self, other: Engine) -> "Watched":
        """Itself, with what the configuration says of another engine."""
        self.capabilities = other.capabilities
        self.ports = replace(self.ports, capabilities=other.capabilities)
        return self

    def reset(self) -> None:
        """As new."""
        self.asked.clear()
        self.used = Usage()
        self.script, self.fails_after = Babble(), None
        self.gate.left, self.gate.reached = None, Event()

    def answer(self, prompt: Conversation | str, params: Params, index: int) -> ScriptedAnswer:
        """What the script of the moment says."""
        return self.script.answer(prompt, params, index)

    async def chat(self, conversation: Conversation, params: Params, call: Call) -> AsyncGenerator[Delta, None]:
        with self._watching(Asked("messages", conversation, call, params)):
            async with aclosing(super().chat(conversation, params, call)) as deltas:
                async for delta in deltas:
                    self.used += delta.usage or Usage()
                    yield delta

    async def complete(self, text: Text, params: Params, call: Call) -> AsyncGenerator[Delta, None]:
        with self._watching(Asked("text", text, call, params)):
            async with aclosing(super().complete(text, params, call)) as deltas:
                async for delta in deltas:
                    self.used += delta.usage or Usage()
                    yield delta

    async def generate(self, prompt_token_ids: Sequence[int], params: Params, call: Call) -> AsyncGenerator[TokenDelta, None]:
        with self._watching(Asked("tokens", tuple(prompt_token_ids), call, params)):
            async with aclosing(super().generate(prompt_token_ids, params, call)) as deltas:
                self.used += Usage(len(prompt_token_ids))
                async for delta in deltas:
                    self.used += Usage(completion_tokens=len(delta.token_ids))
                    yield delta

    async def next_logprobs(self, prompt_token_ids: Sequence[int], candidates: Sequence[int], call: Call) -> tuple[float, ...]:
        with self._watching(Asked("logprobs", tuple(prompt_token_ids), call)):
            self.used += Usage(len(prompt_token_ids), 1)
            return await super().next_logprobs(prompt_token_ids, candidates, call)

    async def score(self, conversations: Sequence[Conversation], call: Call) -> tuple[float, ...]:
        with self._watching(Asked("scores", conversations[0], call)):
            return await super().score(conversations, call)

    @contextmanager
    def _watching(self, asked: Asked) -> Iterator[None]:
        self.asked.append(asked)
        if self.fails_after is not None and len(self.asked) > self.fails_after:
            raise EngineFailure("the engine failed on this call")
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1
