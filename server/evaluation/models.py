"""The models that scorers ask, over the ports of served engines: a reward model, and a judge that answers conversations."""

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from trimtab.server.evaluation.scorers.base import ScorerError
from trimtab.server.lines.answering import BATCH_PRIORITY
from trimtab.server.service import Service
from trimtab.server.wire import new_id
from trimtab.strategies.core.engine import Call, MessagesPort, Params, Ports, ScoresPort
from trimtab.strategies.core.errors import UpstreamError
from trimtab.strategies.core.messages import Conversation


@dataclass(frozen=True, slots=True)
class PortRewards:
    """`Rewards` over a scores port."""

    port: ScoresPort

    async def score(self, conversations: Sequence[Sequence[Mapping[str, Any]]]) -> Sequence[float]:
        """One number a conversation; raises as engines do, for all of them where one is too long."""
        call = Call(new_id("eval"), "reward", BATCH_PRIORITY)
        return await self.port.score([Conversation.from_wire(turns) for turns in conversations], call)


@dataclass(slots=True)
class PortChat:
    """`Chat` over a messages port, of an engine here or of any OpenAI-compatible server (engine kind `upstream`)."""

    messages: MessagesPort
    name: str
    seeded: bool = True
    """Whether the engine honours a seed."""
    _temperature: float | None = 0.0
    """None for a server that refuses to decode greedily; learned from its refusal."""

    async def ask(self, messages: Sequence[Mapping[str, Any]], *, max_tokens: int, seed: int) -> str:
        """Its greedy answer, or the likeliest thing to one that a server allows. Raises as engines do."""
        conversation = Conversation.from_wire(messages)
        try:
            return await self._answer(conversation, max_tokens, seed)
        except UpstreamError as error:
            if self._temperature is None or error.status != 400 or "temperature" not in str(error):
                raise
            self._temperature = None
        return await self._answer(conversation, max_tokens, seed)

    async def _answer(self, conversation: Conversation, max_tokens: int, seed: int) -> str:
        params = Params(max_tokens=max_tokens, temperature=self._temperature, seed=seed if self.seeded else None)
        stream = self.messages.chat(conversation, params, Call(new_id("eval"), "judge", BATCH_PRIORITY))
        async with aclosing(stream) as deltas:
            return "".join([delta.text async for delta in deltas])


def rewards_of(service: Service) -> PortRewards:
    """The reward model of a service that runs. Raises ScorerError where none is configured."""
    engine = service.roles.get("reward")
    if engine is None:
        raise ScorerError("no reward model is configured; name one for the role 'reward', e.g. --role reward=./runs/rm")
    if engine.ports.scores is None:
        has = ", ".join(sorted(engine.ports.names())) or "none"
        raise ScorerError(f"the engine of the role 'reward' gives no scores (it has {has}); it must be a scoring model")
    return PortRewards(engine.ports.scores)


def judge_of(service: Service, model: str | None = None) -> tuple[Ports, str]:
    """The ports of a service's judge and what to call it: the role `judge`, or the model itself where there is none.

    model: whose answers are judged; None = the default model. Raises ModelNotFound.
    """
    engine = service.roles.get("judge")
    if engine is not None:
        return engine.ports, "judge"
    served = service.registry.resolve(model or service.models()[0]).model
    return served.ports, served.id


def chat_on(ports: Ports, name: str) -> PortChat:
    """The chat of an engine. Raises ScorerError where it answers no conversations."""
    if ports.messages is None:
        raise ScorerError(f"{name} answers no conversations: a judge needs the messages or the tokens port of its engine")
    return PortChat(ports.messages, name, ports.capabilities.seed)
