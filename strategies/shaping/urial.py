"""URIAL: a base model is shown a few well-written exchanges and goes on in their manner; nothing is trained or retrieved."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from trimtab.strategies.core.config import RoleName, StrategyConfig
from trimtab.strategies.core.context import RequestContext
from trimtab.strategies.core.engine import PortName
from trimtab.strategies.core.errors import MissingCapability
from trimtab.strategies.core.messages import Conversation, Prompt, Segment, Text
from trimtab.strategies.prompts import urial as own
from trimtab.strategies.shaping.frames import STOPS, STOPS_IN_CONTEXT, Frame, StructureName
from trimtab.strategies.shaping.turns import turns_of

Words = Annotated[str, StringConstraints(min_length=1, max_length=20_000)]


class Example(BaseModel):
    """A stylistic example: something that is asked, and the answer as it should sound."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    query: Words
    """What the person writes."""
    answer: Words
    """What the assistant replies."""


class UrialConfig(StrategyConfig):
    """Puts exchanges in a fixed style before the conversation, so that a base model answers as an assistant and stops."""

    kind: Literal["urial"] = "urial"
    k: int = Field(default=3, ge=0, le=len(own.EXAMPLES))
    """How many of this project's own examples are shown (the paper's K)."""
    structure: StructureName = "block"
    """block: the layout of the released v4 prompts; inline: that of the first ones, a query on one line with its fences."""
    system: Words | None = None
    """A system text in place of this project's own."""
    examples: tuple[Example, ...] = Field(default=(), max_length=32)
    """Examples in place of this project's own; `k` does not count them."""
    prompt: Annotated[str, StringConstraints(min_length=1, max_length=100_000)] | None = None
    """A whole head, byte for byte, in place of system text and examples: the text of a released prompt file. In a server's
    configuration file `prompt_file` names the file instead."""
    temperature: float | None = Field(default=0.0, ge=0.0, le=2.0)
    """Temperature of one answer where the request names none (the paper decodes greedily); null leaves it to the model."""
    repetition_penalty: float | None = Field(default=None, ge=1.0, le=2.0)
    """Repetition penalty where the request names none (1.0 to 1.15 in the released scripts; it counts the examples' words too);
    null leaves it to the model."""
    frequency_penalty: float | None = Field(default=0.6, ge=0.0, le=2.0)
    """Frequency penalty where the request names none (it counts the answer's words alone): without it, greedy answers of small
    base models run in circles; for long answers of large ones 0 to 0.2 is better. null leaves it to the model."""

    role: ClassVar[RoleName] = "shaper"
    requires: ClassVar[frozenset[PortName]] = frozenset({"text"})
    source: ClassVar[str] = "Lin et al. 2023, arXiv 2312.01552, sections 3 and 4"

    @model_validator(mode="after")
    def _one_head(self) -> Self:
        """A whole head leaves no place for its parts."""
        given = {"k", "system", "examples"} & self.model_fields_set
        if self.prompt is not None and given:
            raise ValueError(f"prompt is a whole head; leave out {', '.join(sorted(given))}")
        return self

    def renders_text(self) -> bool:
        """Always: no chat template is passed."""
        return True

    def build(self) -> "Urial":
        """The shaper."""
        return Urial(self)


@dataclass(frozen=True, slots=True)
class Head:
    """The constant beginning of every prompt."""

    segment: Segment
    sha256: str
    """Of its bytes."""
    version: str
    """Version of this project's own head; `custom` where any of it is the caller's."""
    k: int | None
    """Number of examples; None where the head came whole."""


@lru_cache(maxsize=64)
def head_of(config: UrialConfig) -> Head:
    """The head of a configuration. What a caller gave is content: nothing in it becomes a control token."""
    if config.prompt is not None:
        return _head(Segment("content", config.prompt), "custom", None)
    examples = tuple((e.query, e.answer) for e in config.examples) or own.EXAMPLES[: config.k]
    is_own = config.system is None and not config.examples
    text = Frame(config.structure).prefix((config.system or own.SYSTEM).rstrip("\n"), examples)
    return _head(Segment("literal" if is_own else "content", text), own.VERSION if is_own else "custom", len(examples))


def _head(segment: Segment, version: str, k: int | None) -> Head:
    return Head(segment, hashlib.sha256(segment.text.encode()).hexdigest(), version, k)


@dataclass(frozen=True, slots=True)
class Urial:
    """Renders a conversation as a raw prompt behind the constant head.

    The conversation's system text stands behind the head, so that the head is the same for every request and its keys and
    values are reused; it outranks the head, which says so. Decoding is greedy where the request leaves it open.
    Source: Lin et al. 2023, arXiv 2312.01552, section 4 and the released `urial_backticks` renderer.
    Deviation: an answer ends at a header on a line of its own (released: at `# Query` anywhere); only its closing fence is
    taken off, not every fence; texts cannot break the frame (see `Frame`); no stray spaces in the layouts; a frequency penalty
    (the paper: none; its scripts: repetition penalties up to 1.15).
    """

    config: UrialConfig

    async def shape(self, prompt: Prompt, ctx: RequestContext) -> Prompt:
        """The raw prompt. Raises RequestRefused for what it cannot show: tool calls and results, images."""
        if not isinstance(prompt, Conversation):
            raise MissingCapability("urial works on conversations, not on raw prompts")
        head, frame = head_of(self.config), Frame(self.config.structure)
        turns = turns_of(prompt, by="urial")
        ctx.step.note(version=head.version, k=head.k, structure=self.config.structure, sha256=head.sha256)
        rendered = Text(
            (head.segment, *frame.turns(turns), *frame.answer(prompt.prefill)),
            stops=STOPS_IN_CONTEXT if any(turn.speaker == "system" for turn in turns) else STOPS,
            answer="fenced",
            sampling=self._sampling(ctx.params.n),
            asked=prompt.original,
        )
        ctx.step.note_full(prompt=rendered.text[len(head.segment.text) :])
        return rendered

    def _sampling(self, n: int) -> dict[str, float]:
        """What is set where the request leaves it open; several greedy answers would all be the same."""
        wanted = {
            "temperature": self.config.temperature if n == 1 else None,
            "repetition_penalty": self.config.repetition_penalty,
            "frequency_penalty": self.config.frequency_penalty,
        }
        return {name: value for name, value in wanted.items() if value is not None}
