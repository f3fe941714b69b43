"""The three published ways to criticise and rewrite an answer; each leads a `Revision` through its rounds.

A round is one criticism, in whatever form, and one revision. What an engine call may cost is the request's affair: the budget
ends a round where it stands, and the answer in force is the result.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from trimtab.retrieval.documents import Hit
from trimtab.strategies.core.context import RequestContext
from trimtab.strategies.core.errors import MissingCapability
from trimtab.strategies.core.lengths import token_lengths
from trimtab.strategies.prompts.critiques import (
    CHECKED,
    CRITIQUE_FORM,
    EVIDENCE_REQUEST,
    EVIDENCE_REVISION,
    FEEDBACK_REQUEST,
    PASSAGE,
    REFINE_REQUEST,
    REVISION_FORM,
    VERDICT_FORM,
    Pair,
)
from trimtab.strategies.revising.dialogue import Dialogue
from trimtab.strategies.revising.gathered import Gathered
from trimtab.strategies.revising.rounds import Revision, Round, verdict_of
from trimtab.strategies.revising.sampling import for_answer, for_critique

_TOTAL: Final = re.compile(r"^Total: (\d{1,3})/(\d{1,3})$", re.MULTILINE)


class Form(Protocol):
    """A way to revise."""

    async def run(self, revision: Revision, dialogue: Dialogue, rounds: int) -> None:
        """Lead the revision through at most so many rounds."""
        ...


@dataclass(frozen=True, slots=True)
class Speaker:
    """What all forms ask the model for."""

    critique_tokens: int

    async def critique(self, turns: Sequence[str], dialogue: Dialogue, revision: Revision, number: int) -> str:
        """The model's criticism."""
        params = for_critique(revision.ctx, self.critique_tokens, f"critique:{number}")
        return (await dialogue.reply(turns, params, revision.ctx, answers=False)).text.strip()

    async def rewrite(self, turns: Sequence[str], dialogue: Dialogue, revision: Revision, number: int) -> Gathered:
        """The model's new answer."""
        params = for_answer(revision.ctx, f"revision:{number}")
        return revision.cleaned(await dialogue.reply(turns, params, revision.ctx, answers=True))


@dataclass(frozen=True, slots=True)
class Constitutional:
    """Criticise the answer by one principle drawn at random, rewrite it, and go on from there.

    Source: Bai et al. 2022 (Constitutional AI), arXiv 2212.08073, section 3.1; their released prompts' structure.
    Deviation: own principles; requests are chat turns after the draft, not labels within one text, so no worked examples stand
    before the conversation on chat models; what is accepted may be held to a verifier.
    """

    pairs: tuple[Pair, ...]
    speaker: Speaker

    async def run(self, revision: Revision, dialogue: Dialogue, rounds: int) -> None:
        """Two calls a round, without an early end."""
        for number in range(rounds):
            round_, pair, past = revision.begin(), drawn(self.pairs, revision.ctx.seed, number), revision.answer.text
            round_.note(principle=pair.name)
            turns = [past, f"{pair.critique} {CRITIQUE_FORM}"]
            critique = await self.speaker.critique(turns, dialogue, revision, number)
            round_.note_full(critique=critique)
            turns = [*turns, critique] if critique else [past]
            turns.append(f"{pair.revision} {REVISION_FORM}")
            await revision.offer(await self.speaker.rewrite(turns, dialogue, revision, number), past, round_)


def drawn(pairs: Sequence[Pair], seed: int, number: int) -> Pair:
    """The principle of a round: uniform, independent of other rounds, fixed by the request's seed."""
    return random.Random(f"{seed}:critique_refine:{number}").choice(pairs)


@dataclass(frozen=True, slots=True)
class SelfRefine:
    """The model judges its answer by a rubric and rewrites it until its own verdict is that it can stay.

    All attempts and judgements are carried along; the oldest are left out where they outgrow the history's tokens.

    Source: Madaan et al. 2023 (Self-Refine), arXiv 2303.17651, algorithm 1; released code, `responsegen` (10 aspects, window).
    Deviation: own rubric; a verdict line, read to the letter, ends the loop (the released score test never does); with a
    verifier the best attempt is the answer, without one the last.
    """

    speaker: Speaker
    history_tokens: int

    async def run(self, revision: Revision, dialogue: Dialogue, rounds: int) -> None:
        """Two calls a round; one in the last, where the verdict is that the answer can stay."""
        turns, past = [revision.draft], revision.draft
        for number in range(rounds):
            round_ = revision.begin()
            turns = await self._recent(turns, revision.ctx, round_)
            feedback = await self.speaker.critique([*turns, FEEDBACK_REQUEST], dialogue, revision, number)
            if _judged(feedback, round_) == "keep":
                return
            judged = [FEEDBACK_REQUEST, feedback] if feedback else []
            new = await self.speaker.rewrite([*turns, *judged, REFINE_REQUEST], dialogue, revision, number)
            await revision.offer(new, past, round_)
            if revision.unfit(new, past):
                continue
            past = new.text
            turns = [*turns, *judged, REFINE_REQUEST, past]

    async def _recent(self, turns: list[str], ctx: RequestContext, round_: Round) -> list[str]:
        """As many of the latest attempts, with what was said of them, as fit the window; the last one always."""
        if len(turns) == 1:
            return turns
        counts = list((await token_lengths(turns, ctx)).counts)
        start = 0
        while sum(counts[start:]) > self.history_tokens and start + 4 < len(turns):
            start += 4
        if start:
            round_.note(attempts_left_out=start // 4)
        return turns[start:]


def _judged(feedback: str, round_: Round) -> str | None:
    """The verdict of a judgement, noted with its points."""
    verdict = verdict_of(feedback)
    total = _TOTAL.search(feedback)
    points = (int(total[1]), int(total[2])) if total else None
    if points and points[0] <= points[1]:
        round_.note(points=points[0], of=points[1])
    round_.note(verdict=verdict or "none")
    round_.note_full(critique=feedback)
    return verdict


@dataclass(frozen=True, slots=True)
class Critic:
    """Tools, not the model alone, say what is wrong: a verifier's value and retrieved passages, until the value is reached.

    Source: Gou et al. 2023 (CRITIC), arXiv 2305.11738, algorithm 1; released code for toxicity (stop; keep what is better).
    Deviation: the tools are a value function and a corpus of the server instead of web services; own wording; no retries of
    short revisions.
    """

    speaker: Speaker
    goal: float
    corpus: str | None
    passages: int

    async def run(self, revision: Revision, dialogue: Dialogue, rounds: int) -> None:
        """One call a round, two with evidence; none once the value reaches the goal or the evidence finds nothing to mend."""
        evidence = await self._evidence(revision)
        if not evidence and revision.value is None:
            revision.ctx.step.skip("no evidence was found")
            return
        for number in range(rounds):
            round_, past = revision.begin(), revision.answer.text
            worth = await revision.own_value()
            if revision.value is not None and self._ends(worth, revision, round_):
                return
            turns = [past]
            if evidence:
                turns.append(f"{EVIDENCE_REQUEST} {CRITIQUE_FORM} {VERDICT_FORM}\n\n{evidence}")
                critique = await self.speaker.critique(turns, dialogue, revision, number)
                if _judged(critique, round_) == "keep" and revision.value is None:
                    return
                turns = [*turns, critique] if critique else [past]
            turns.append(self._request(worth, evidence))
            new = await self.speaker.rewrite(turns, dialogue, revision, number)
            if not await revision.offer(new, past, round_) and new.text == past:
                return

    def _ends(self, worth: float | None, revision: Revision, round_: Round) -> bool:
        """Whether the verifier ends the loop: the goal is reached, or it cannot judge the answer."""
        round_.note(value_before=worth)
        if worth is None:
            revision.ctx.step.degrade("the verifier could not score the answer")
            round_.note(verdict="none")
            return True
        if worth >= self.goal:
            round_.note(verdict="keep")
        return worth >= self.goal

    def _request(self, worth: float | None, evidence: str) -> str:
        """What the tools found, as a request to rewrite."""
        found = "" if worth is None else CHECKED.format(percent=_percent(worth), goal=_percent(self.goal))
        return " ".join(part for part in (found, EVIDENCE_REVISION if evidence else "", REVISION_FORM) if part)

    async def _evidence(self, revision: Revision) -> str:
        """Passages that bear on the question, quoted; "" without a corpus or a fitting passage."""
        if self.corpus is None:
            return ""
        if revision.ctx.corpora is None:
            raise MissingCapability("critique_refine.corpus: this server keeps no corpora")
        asked = [message.text for message in revision.asked.messages if message.role == "user"]
        hits = await revision.ctx.corpora.search(self.corpus, asked[-1] if asked else revision.draft, self.passages)
        revision.ctx.step.note(evidence=[{"id": hit.document.id, "score": round(hit.score, 4)} for hit in hits])
        return "\n\n".join(_quoted(number, hit) for number, hit in enumerate(hits, 1))


def _percent(value: float) -> int:
    return round(50 * (1 + value))


def _quoted(number: int, hit: Hit) -> str:
    lines = "\n".join(f"> {line}" for line in hit.text.splitlines())
    return f"{PASSAGE.format(number=number)}:\n{lines}"
