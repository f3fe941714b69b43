"""The dialogue in which an answer is criticised and rewritten: it goes on where the draft ended.

In chat form it is the draft's own conversation, the draft as its last turn: an engine with a prefix cache computes nothing of
it again. A base model gets a raw form with marks of our own, behind two worked examples; what people and models said is content
in it, in which marks are written apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from trimtab.strategies.core.context import RequestContext
from trimtab.strategies.core.engine import MessagesPort, Params, TextPort
from trimtab.strategies.core.errors import MissingCapability
from trimtab.strategies.core.messages import SYSTEM_ROLES, TOOL_ROLES, Conversation, Message, Prompt, Segment, Text
from trimtab.strategies.prompts.critiques import EXAMPLES
from trimtab.strategies.revising.gathered import Gathered, gather
from trimtab.strategies.revising.room import fitted
from trimtab.strategies.revising.separators import Separators

USER, ASSISTANT, SYSTEM, REQUEST, REPLY = "[[user]]", "[[assistant]]", "[[system]]", "[[request]]", "[[reply]]"
MARKS: Final = (USER, ASSISTANT, SYSTEM, REQUEST, REPLY)
STOPS: Final = (f"\n{USER}", f"\n{REQUEST}")
"""What a base model writes where it runs on."""
_SEPARATORS = Separators.of(MARKS)


class Dialogue(Protocol):
    """A conversation with its draft, which can be led on."""

    async def reply(self, turns: Sequence[str], params: Params, ctx: RequestContext, *, answers: bool) -> Gathered:
        """What the model says next.

        turns: what came after the question: the draft, a request, a reply to it, ..., a request at the end.
        answers: whether the reply takes the draft's place (and begins as the draft had to begin).
        """
        ...


def dialogue_of(prompt: Prompt, ctx: RequestContext) -> Dialogue:
    """How a draft's dialogue is led on with the policy engine. Raises MissingCapability where it cannot be."""
    engine = ctx.engine()
    if engine.messages is not None:
        return ChatDialogue(prompt if isinstance(prompt, Conversation) else asked_of(prompt), engine.messages)
    if engine.text is not None:
        return RawDialogue(asked_of(prompt), engine.text)
    raise MissingCapability(f"{ctx.step.strategy} needs an engine that answers conversations or continues raw prompts")


def asked_of(prompt: Prompt) -> Conversation:
    """What the user asked; a raw prompt that remembers no conversation is the question itself."""
    if isinstance(prompt, Conversation):
        return prompt.original
    return prompt.asked or Conversation((Message("user", prompt.text),))


@dataclass(frozen=True, slots=True)
class ChatDialogue:
    """Led on in chat turns."""

    base: Conversation
    """What the draft answered, as it was rendered for the draft."""
    port: MessagesPort

    async def reply(self, turns: Sequence[str], params: Params, ctx: RequestContext, *, answers: bool) -> Gathered:
        """The model's next turn."""
        prompt = self.extended(turns, answers=answers)
        return await gather(self.port.chat(prompt, await fitted(params, prompt, ctx.engine()), ctx.call()))

    def extended(self, turns: Sequence[str], *, answers: bool) -> Conversation:
        """The draft's conversation with further turns."""
        opening = self.base.prefill or ""
        said = [Message(("assistant", "user")[place % 2], turn) for place, turn in enumerate(turns)]
        said[0] = Message("assistant", f"{opening}{turns[0]}")
        prefill = self.base.prefill if answers else None
        return Conversation((*self.base.messages, *said), prefill, self.base.original)


@dataclass(frozen=True, slots=True)
class RawDialogue:
    """Led on as raw text."""

    asked: Conversation
    port: TextPort

    async def reply(self, turns: Sequence[str], params: Params, ctx: RequestContext, *, answers: bool) -> Gathered:
        """The continuation after the last mark."""
        opening = self.asked.prefill if answers else None
        prompt = self.rendered(turns, opening)
        said = await gather(self.port.complete(prompt, await fitted(params, prompt, ctx.engine()), ctx.call()))
        return said.said(_SEPARATORS.together(said.text))

    def rendered(self, turns: Sequence[str], opening: str | None) -> Text:
        """The examples and the whole dialogue, ready for the next reply."""
        segments = [Segment("literal", _EXAMPLES)]
        for message in self.asked.messages:
            segments += _block(_mark_of(message.role), message.text)
        segments += _block(ASSISTANT, f"{self.asked.prefill or ''}{turns[0]}")
        for place, turn in enumerate(turns[1:]):
            segments += _block((REQUEST, REPLY)[place % 2], turn)
        segments.append(Segment("literal", f"{REPLY}\n"))
        if opening:
            segments.append(Segment("content", _SEPARATORS.apart(opening)))
        return Text(tuple(segments), stops=STOPS, asked=self.asked)


def _mark_of(role: str) -> str:
    if role in SYSTEM_ROLES | TOOL_ROLES:
        return SYSTEM
    return ASSISTANT if role == "assistant" else USER


def _block(mark: str, text: str) -> list[Segment]:
    return [Segment("literal", f"{mark}\n"), Segment("content", _SEPARATORS.apart(text)), Segment("literal", "\n\n")]


_EXAMPLES = "".join(
    f"{mark}\n{text}\n\n"
    for example in EXAMPLES
    for mark, text in zip((USER, ASSISTANT, REQUEST, REPLY, REQUEST, REPLY), example, strict=True)
)
