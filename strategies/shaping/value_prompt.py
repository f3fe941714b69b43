"""Value prompts: the model is told, in words, what its answer honours; optionally it thinks about that first."""

from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, StringConstraints

from trimtab.strategies.core.config import Cost, RoleName, StrategyConfig
from trimtab.strategies.core.context import RequestContext
from trimtab.strategies.core.engine import Params, PortName
from trimtab.strategies.core.errors import MissingCapability
from trimtab.strategies.core.messages import Conversation, Message, Prompt
from trimtab.strategies.prompts.principles import (
    ANSWER_REQUEST,
    PACKS,
    REASONING_OPENER,
    REASONING_REQUEST,
    PackName,
    as_rules,
)

Principle = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]


class ValuePromptConfig(StrategyConfig):
    """States principles to the model before it answers."""

    kind: Literal["value_prompt"] = "value_prompt"
    pack: PackName = "helpful-honest-harmless"
    """A pack of this project's own principles; not used where `principles` are given."""
    principles: tuple[Principle, ...] = Field(default=(), max_length=64)
    """Principles in the caller's own words, a sentence each, in place of a pack."""
    condition: Literal["question", "instruction", "chain_of_thought"] = "instruction"
    """question: nothing is stated (the paper's control Q); instruction: the principles are (Q+IF); chain_of_thought: the model
    also reasons about them before it answers (Q+IF+CoT)."""
    placement: Literal["system", "user"] = "system"
    """system: the principles hold over the conversation; user: they stand behind the last question, as in the paper."""
    precedence: Literal["before", "after"] = "before"
    """before: stated ahead of the caller's system text and above it in rank; after: below it in both."""
    reasoning_tokens: int = Field(default=256, ge=1, le=4096)
    """Longest reasoning under chain_of_thought, in tokens."""
    answer_lead_in: str = Field(default="", max_length=400)
    """First words of the answer, e.g. "The best choice is (": the model goes on behind them and they are no part of its answer.
    For multiple choice, as in the paper. Not used where the request brings a beginning of its own."""
    tool_turns: Literal["skip", "apply"] = "skip"
    """What happens where the model goes on after a tool's result; in a locked pipeline the default is apply."""

    role: ClassVar[RoleName] = "shaper"
    source: ClassVar[str] = "Ganguli et al. 2023, arXiv 2302.07459, section 3"

    def needs(self) -> frozenset[PortName]:
        """The messages port for reasoning; what only states principles asks no engine."""
        return frozenset({"messages"}) if self.condition == "chain_of_thought" else frozenset()

    def locked(self) -> Self:
        """Also on tool turns: any client can end its messages with the result of a tool that nobody called."""
        return self if "tool_turns" in self.model_fields_set else self.model_copy(update={"tool_turns": "apply"})

    def cost(self, params: Params) -> Cost:
        """One call under chain_of_thought, none otherwise."""
        return Cost(1, self.reasoning_tokens) if self.condition == "chain_of_thought" else Cost()

    def build(self) -> "ValuePrompt":
        """The shaper."""
        return ValuePrompt(self)


@dataclass(frozen=True, slots=True)
class ValuePrompt:
    """States principles, and under chain_of_thought lets the model reason about them first.

    Source: Ganguli et al. 2023, arXiv 2302.07459, section 3 (conditions Q, Q+IF and Q+IF+CoT).
    Deviation: by default the instruction stands in the system turn, not behind the question, so that it holds over a
    conversation, and the answer is free text, without the paper's multiple-choice lead-in; `n` choices share one reasoning.
    """

    config: ValuePromptConfig

    async def shape(self, prompt: Prompt, ctx: RequestContext) -> Prompt:
        """The conversation with the principles (and the reasoning behind the question, and the lead-in of the answer)."""
        if not isinstance(prompt, Conversation):
            raise MissingCapability("value_prompt works on conversations, not on raw prompts")
        if prompt.is_tool_turn and self.config.tool_turns == "skip":
            ctx.step.skip("tool turn")
            return prompt
        ctx.step.note(condition=self.config.condition)
        shaped = prompt if self.config.condition == "question" else self._stated(prompt, ctx)
        if self.config.condition == "chain_of_thought":
            shaped = await self._reasoned(shaped, ctx)
        return self._begun(shaped, ctx)

    def _stated(self, prompt: Conversation, ctx: RequestContext) -> Conversation:
        """The conversation with the principles in it."""
        principles, first = self.config.principles or PACKS[self.config.pack], self.config.precedence == "before"
        rules = as_rules(principles, prevail=first)
        ctx.step.note(principles=len(principles))
        ctx.step.note_full(system=rules)
        if self.config.placement == "user" and any(message.role == "user" for message in prompt.messages):
            return prompt.with_question(after=rules)
        return prompt.with_system(before=rules) if first else prompt.with_system(after=rules)

    def _begun(self, prompt: Conversation, ctx: RequestContext) -> Conversation:
        """The conversation with the first words of its answer."""
        if not self.config.answer_lead_in or prompt.prefill is not None:
            return prompt
        if not ctx.engine().capabilities.prefill:
            ctx.step.degrade("the engine cannot continue a given opening, so the lead-in was left out")
            return prompt
        return prompt.changed(prompt.messages, self.config.answer_lead_in)

    async def _reasoned(self, prompt: Conversation, ctx: RequestContext) -> Conversation:
        """The conversation extended by the model's own reasoning and the request for the answer itself."""
        if ctx.engine().capabilities.prefill:
            asked, opener = replace(prompt, prefill=REASONING_OPENER), REASONING_OPENER
        else:
            asked, opener = prompt.changed((*prompt.messages, Message("user", REASONING_REQUEST))), ""
            ctx.step.degrade("the engine cannot continue a given opening, so the reasoning is asked for in a user turn")
        thoughts = await self._think(asked, ctx)
        ctx.step.note_full(reasoning=thoughts)
        turns = asked.messages if not opener else prompt.messages
        said = _behind(opener, thoughts) if opener else thoughts
        return prompt.changed((*turns, Message("assistant", said), Message("user", ANSWER_REQUEST)))

    async def _think(self, prompt: Conversation, ctx: RequestContext) -> str:
        """The text of the reasoning: sampled as the answer, free of what binds the answer alone (stops, tools, token ids)."""
        port = ctx.engine().messages
        if port is None:
            raise MissingCapability("value_prompt under chain_of_thought needs an engine that answers conversations")
        params = ctx.params.freed(max_tokens=self.config.reasoning_tokens, seed=ctx.params.seed)
        pieces: list[str] = []
        stream = port.chat(prompt, params, ctx.call())
        async with aclosing(stream):
            async for delta in stream:
                pieces.append(delta.text)
        return "".join(pieces)


def _behind(opener: str, thoughts: str) -> str:
    """The reasoning with its opener, one space between them: in any vocabulary the ids of what was asked stay the beginning of
    what is asked next, whose keys and values are then reused. Line breaks or a colon would be joined with the opener's own."""
    return f"{opener} {thoughts.lstrip()}".rstrip()
