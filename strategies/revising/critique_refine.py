"""Critique and refine: the answer is criticised, by the model or by tools, and rewritten."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from trimtab.strategies.core.config import Cost
from trimtab.strategies.core.context import RequestContext
from trimtab.strategies.core.engine import Params, PortName, Ports
from trimtab.strategies.core.errors import BudgetExceeded, DeadlineExceeded, MissingCapability
from trimtab.strategies.core.messages import Delta, Prompt
from trimtab.strategies.judging.config import ValueConfig
from trimtab.strategies.judging.self_evaluation import SelfEvaluationConfig
from trimtab.strategies.judging.source import ValueSource
from trimtab.strategies.prompts.critiques import (
    CHECKED,
    EVIDENCE_REQUEST,
    FEEDBACK_REQUEST,
    PAIRS,
    PAIRS_VERSION,
    REFINE_REQUEST,
    REVISION_FORM,
    Pair,
    digest,
)
from trimtab.strategies.revising.dialogue import asked_of, dialogue_of
from trimtab.strategies.revising.forms import Constitutional, Critic, Form, SelfRefine, Speaker
from trimtab.strategies.revising.gathered import kept
from trimtab.strategies.revising.policy import ReviserConfig
from trimtab.strategies.revising.rounds import Accept, Revision

Wording = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]


class Principle(BaseModel):
    """A principle in the caller's own words."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64)]
    """What the trace calls it."""
    critique: Wording
    """What the model is asked to look for in its answer."""
    revision: Wording
    """How the model is asked to mend it."""


class CritiqueRefineConfig(ReviserConfig):
    """Has the answer criticised and rewritten, by principles, by a rubric, or by what tools find."""

    kind: Literal["critique_refine"] = "critique_refine"
    form: Literal["constitutional", "self_refine", "critic"] = "constitutional"
    """constitutional: a principle drawn at random each round (Bai et al.); self_refine: the model's own rubric and verdict
    (Madaan et al.); critic: a verifier and evidence decide what is wrong, when to stop and what is kept (Gou et al.)."""
    rounds: int = Field(default=1, ge=1, le=16)
    """Most rounds. The papers: 4 (constitutional), 3 (self_refine), 4 (critic)."""
    principles: tuple[Principle, ...] = Field(default=(), max_length=64)
    """Principles that constitutional draws from; default this project's own."""
    accept: Accept | None = None
    """always: each revision replaces the answer; if_better: only one that the verifier values more. Default: if_better where a
    `value` is given, else always."""
    value: ValueConfig | None = None
    """The verifier; under if_better by default the judge's self-evaluation. critic needs one, or a `corpus`."""
    goal: float = Field(default=0.8, ge=-1.0, le=1.0)
    """critic: the value that ends the rounds (0.8 = a probability of 0.1 of being bad, as in the paper)."""
    corpus: str | None = Field(default=None, min_length=1, max_length=256)
    """critic: the corpus in which evidence is searched."""
    passages: int = Field(default=3, ge=1, le=20)
    """critic: passages shown as evidence."""
    critique_tokens: int = Field(default=256, ge=1, le=4096)
    """Longest criticism, in tokens."""
    history_tokens: int = Field(default=3000, ge=64)
    """self_refine: attempts and judgements carried along, in tokens; the oldest are left out first."""

    source: ClassVar[str] = (
        "Bai et al. 2022, arXiv 2212.08073, section 3.1; Madaan et al. 2023, arXiv 2303.17651, algorithm 1; "
        "Gou et al. 2023, arXiv 2305.11738, algorithm 1"
    )

    @model_validator(mode="after")
    def _has_tools(self) -> Self:
        if self.form == "critic" and self.value is None and self.corpus is None:
            raise ValueError(
                "critic needs a tool: a `value`, e.g. {'kind': 'classifier'}, or a `corpus` with evidence; "
                "without one use self_refine"
            )
        return self

    @property
    def acceptance(self) -> Accept:
        """When a revision replaces the answer."""
        return self.accept or ("if_better" if self.value is not None else "always")

    @property
    def verifier(self) -> ValueSource | None:
        """What values answers, where anything does."""
        if self.value is None and self.acceptance == "if_better":
            return SelfEvaluationConfig()
        return self.value

    def needs(self) -> frozenset[PortName]:
        """What the verifier needs of the policy."""
        return self.verifier.needs() if self.verifier else frozenset()

    def engine_roles(self) -> frozenset[str]:
        """What the verifier needs beside the policy."""
        return self.verifier.engine_roles() if self.verifier else frozenset()

    def check(self, engines: Mapping[str, Ports], *, param: str = "alignment.strategy") -> None:
        """Raise where the policy neither answers conversations nor continues prompts, or the verifier cannot judge."""
        if not engines["policy"].names() & {"messages", "text"}:
            raise MissingCapability(f"{self.kind} needs the engine's messages or text port", param=param)
        if self.verifier is not None:
            self.verifier.check(engines, by=self.kind, param=param)

    def prove(self, engines: Mapping[str, Ports]) -> None:
        """Try the verifier."""
        if self.verifier is not None:
            self.verifier.prove(engines)

    def cost(self, params: Params) -> Cost:
        """Two calls a round (one where tools alone criticise), and a judgement of the draft and of each revision."""
        critiques = 0 if self.form == "critic" and self.corpus is None else self.rounds
        own = Cost(critiques + self.rounds, critiques * self.critique_tokens + self.rounds * (params.max_tokens or 0))
        judged = self.verifier.cost(1) if self.verifier else Cost()
        return own + Cost(judged.calls * (self.rounds + 1), judged.completion_tokens * (self.rounds + 1))

    def build(self) -> "CritiqueRefine":
        """The reviser."""
        return CritiqueRefine(self)


@dataclass(frozen=True, slots=True)
class CritiqueRefine:
    """Leads the draft's own dialogue on: criticism, revision, and again.

    Source: see the three forms in `trimtab.strategies.revising.forms`.
    Deviation: a revision that is empty, cut off, too short, or holds a delimiter leaves the answer as it was; verdicts are read
    to the letter, and a missing one ends nothing; where the budget ends, the answer in force is given.
    """

    config: CritiqueRefineConfig

    async def revise(self, prompt: Prompt, draft: str, ctx: RequestContext) -> AsyncGenerator[Delta, None]:
        """The best answer after all rounds; the draft itself where nothing took its place."""
        reason = self.config.leaves(draft, ctx.params)
        if reason is not None:
            ctx.step.skip(reason)
            yield kept(draft)
            return
        revision = self._begun(prompt, draft, ctx)
        try:
            await self._form().run(revision, dialogue_of(prompt, ctx), self.config.rounds)
        except (BudgetExceeded, DeadlineExceeded) as spent:
            ctx.step.degrade(f"ended in round {len(revision.rounds)}: {spent}")
            ctx.trace.warn(f"critique_refine gives the best answer so far: {spent}")
        finally:
            self._tell(revision)
        for delta in revision.answer.deltas():
            yield delta

    def _begun(self, prompt: Prompt, draft: str, ctx: RequestContext) -> Revision:
        verifier = self.config.verifier
        return Revision(asked_of(prompt), draft, self.config.acceptance, verifier.build() if verifier else None, ctx)

    def _form(self) -> Form:
        config, speaker = self.config, Speaker(self.config.critique_tokens)
        if config.form == "constitutional":
            return Constitutional(self.pairs, speaker)
        if config.form == "self_refine":
            return SelfRefine(speaker, config.history_tokens)
        return Critic(speaker, config.goal, config.corpus, config.passages)

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """What principles are drawn from."""
        own = tuple(Pair(one.name, one.critique, one.revision) for one in self.config.principles)
        return own or PAIRS

    def _tell(self, revision: Revision) -> None:
        """Give account of the rounds."""
        summary, full = revision.account()
        if revision.spent is not None:
            revision.ctx.step.meter("policy").last = revision.spent
        revision.ctx.step.note(form=self.config.form, prompts=self._wording(), rounds=summary)
        revision.ctx.step.note_full(rounds=full)

    def _wording(self) -> str:
        """Which prompts were in force: their version and hash."""
        texts = {
            "constitutional": [text for pair in self.pairs for text in (pair.name, pair.critique, pair.revision)],
            "self_refine": [FEEDBACK_REQUEST, REFINE_REQUEST],
            "critic": [CHECKED, EVIDENCE_REQUEST],
        }
        own = "own" if self.config.form == "constitutional" and self.config.principles else str(PAIRS_VERSION)
        return f"{own}:{digest([*texts[self.config.form], REVISION_FORM])}"
