"""Aligner: a second, small model that has learned to correct answers rewrites the draft."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from pydantic import Field

from trimtab.artifacts.correction import FORMATS, CorrectionTemplate, FormatName
from trimtab.strategies.core.config import Cost
from trimtab.strategies.core.context import RequestContext
from trimtab.strategies.core.engine import Capabilities, Params, Ports
from trimtab.strategies.core.errors import ConfigError, MissingCapability, MissingRole
from trimtab.strategies.core.messages import Conversation, Delta, Prompt
from trimtab.strategies.revising.correction import Correction, question_of
from trimtab.strategies.revising.dialogue import asked_of
from trimtab.strategies.revising.edits import diff, edits
from trimtab.strategies.revising.gathered import Gathered, gather, kept, refusal
from trimtab.strategies.revising.policy import ReviserConfig, breaks_form
from trimtab.strategies.revising.room import fitted
from trimtab.strategies.revising.sampling import derived_seed

ROLE = "aligner"


class AlignerConfig(ReviserConfig):
    """Hands question and answer to a correction model, whose rewriting is the answer."""

    kind: Literal["aligner"] = "aligner"
    template: Literal["auto"] | FormatName | CorrectionTemplate = "auto"
    """How the correction model is asked. auto: as its checkpoint (`correction.json`) or `roles.aligner.template` says;
    question_answer and edit_pair: the formats of the published code and of the published checkpoints."""
    history: Literal["conversation", "last"] = "conversation"
    """What the question is: the last turn with the turns before it, or, as in the paper, the last turn alone."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Longest correction in tokens; default as long as the answer may be. One that is cut off is not used."""
    temperature: float = Field(default=0.0, ge=0.0, le=2.0)
    """Sampling temperature of the correction; 0 = the likeliest, which speculation copies fastest."""

    source: ClassVar[str] = "Ji et al. 2024, arXiv 2402.02416, section 2"

    def engine_roles(self) -> frozenset[str]:
        """The aligner."""
        return frozenset({ROLE})

    def check(self, engines: Mapping[str, Ports], *, param: str = "alignment.strategy") -> None:
        """Raise where the aligner's engine cannot be asked, or how to ask it is not known."""
        if ROLE not in engines:
            raise MissingRole(f"aligner needs an engine for the role {ROLE!r}, and none is configured", param=param)
        if not engines[ROLE].names() & {"messages", "text"}:
            raise MissingCapability("aligner needs the messages or text port of the role 'aligner'", param=param)
        self.correction(engines[ROLE], param=param)

    def correction(self, aligner: Ports, *, param: str = "alignment.strategy") -> Correction:
        """How this engine is asked. Raises ConfigError where nobody says."""
        if self.template != "auto":
            return Correction(self.template if isinstance(self.template, CorrectionTemplate) else FORMATS[self.template])
        if aligner.capabilities.correction is None:
            raise ConfigError(
                "aligner.template is 'auto', and neither the aligner's checkpoint (correction.json) nor roles.aligner.template "
                f"says how it is asked; allowed: {', '.join(FORMATS)}, or an object with a `message`",
                param=f"{param}.template",
            )
        return Correction(aligner.capabilities.correction)

    def cost(self, params: Params) -> Cost:
        """One call of the aligner."""
        return Cost(1, _longest(self.max_tokens, params.max_tokens) or 0)

    def build(self) -> "Aligner":
        """The reviser."""
        return Aligner(self)


@dataclass(frozen=True, slots=True)
class Aligner:
    """One pass of the correction model over question and answer.

    Source: Ji et al. 2024 (Aligner), arXiv 2402.02416, section 2; formats of the released code and checkpoints.
    Deviation: earlier turns are told before the question; separators inside texts are written apart, and put together again in
    the correction; a correction that is empty, cut off or too short leaves the draft; drafts of code and of a form that was
    asked for are left alone unless told otherwise.
    """

    config: AlignerConfig

    async def revise(self, prompt: Prompt, draft: str, ctx: RequestContext) -> AsyncGenerator[Delta, None]:
        """The correction; the draft where there is none to be used."""
        reason = self.config.leaves(draft, ctx.params)
        if reason is not None:
            ctx.step.skip(reason)
            yield kept(draft)
            return
        corrected = await self._corrected(asked_of(prompt), draft, ctx)
        reason = refusal(corrected, draft) or (
            "not in the form that was asked for" if breaks_form(corrected.text, ctx.params) else None
        )
        if reason is None and corrected.text == draft.strip():
            reason = "unchanged"
        self._tell(draft, corrected, reason, ctx)
        if reason is not None:
            yield kept(draft)
            return
        for delta in corrected.deltas():
            yield delta

    async def _corrected(self, asked: Conversation, draft: str, ctx: RequestContext) -> Gathered:
        """What the correction model makes of the draft."""
        aligner = ctx.engine(ROLE)
        correction = self.config.correction(aligner)
        question = await self._question(asked, draft, correction, aligner)
        params, call = self._params(ctx, aligner.capabilities), ctx.call(ROLE)
        if aligner.text is not None and (correction.template.wrapper is not None or aligner.messages is None):
            raw = correction.raw(question, draft)
            said = await gather(aligner.text.complete(raw, await fitted(params, raw, aligner), call))
        elif aligner.messages is not None:
            message = correction.message(question, draft)
            said = await gather(aligner.messages.chat(message, await fitted(params, message, aligner), call))
        else:
            raise MissingCapability("the aligner's engine neither continues raw prompts nor answers conversations")
        return said.said(correction.read(said.text))

    async def _question(self, asked: Conversation, draft: str, correction: Correction, aligner: Ports) -> str:
        """The question with as many earlier turns as leave room for a correction as long as the draft."""
        whole = question_of(asked, turns=None if self.config.history == "conversation" else 0)
        window, tokens = aligner.capabilities.max_model_len, aligner.tokens
        if window is None or tokens is None or len(whole.encode()) + 2 * len(draft.encode()) < window // 2:
            return whole
        encode = tokens.encode_text

        def fitting() -> str:
            room = window - len(encode(replace(correction.raw("", draft + draft), stops=())))
            for turns in range(len(asked.messages) - 1, 0, -1):
                told = question_of(asked, turns=turns)
                if len(encode(correction.raw(told, ""))) <= room:
                    return told
            return question_of(asked, turns=0)

        return await asyncio.to_thread(fitting) if self.config.history == "conversation" else whole

    def _params(self, ctx: RequestContext, able: Capabilities) -> Params:
        """Greedy by default; the request's limits on an answer hold, its form where the aligner's engine honours it."""
        asked, samples = ctx.params, self.config.temperature > 0
        kind = (asked.native.get("response_format") or {}).get("type", "text")
        forms = {
            "response_format": kind in able.response_format,
            "structured_outputs": bool(able.response_format & {"structured_outputs", "json_schema"}),
        }
        return Params(
            max_tokens=_longest(self.config.max_tokens, asked.max_tokens),
            temperature=self.config.temperature,
            seed=derived_seed(ctx, ROLE) if samples and able.seed else None,
            stop=asked.stop,
            native={name: asked.native[name] for name, honoured in forms.items() if honoured and name in asked.native},
        )

    def _tell(self, draft: str, corrected: Gathered, reason: str | None, ctx: RequestContext) -> None:
        """Give account of the correction."""
        changed = edits(draft, corrected.text)
        ctx.step.note(words_added=changed.added, words_removed=changed.removed, accepted=reason is None)
        if reason is not None:
            ctx.step.note(kept=reason)
        if ctx.trace.level == "full":
            ctx.step.note_full(draft=draft, correction=corrected.text, diff=diff(draft, corrected.text))


def _longest(own: int | None, asked: int | None) -> int | None:
    given = [limit for limit in (own, asked) if limit is not None]
    return min(given) if given else None
