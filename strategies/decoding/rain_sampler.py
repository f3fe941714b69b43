"""What RAIN asks of the policy: ranked first tokens, candidate sets, rollouts; each draw seeded by its place in the tree.

It works on token ids alone: a set is never turned into text and back. Seeds depend on the request's seed, the answer so far and
the purpose, never on when a draw is made: lazily or early, alone or beside others, the same node gets the same candidates.
"""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from math import prod
from typing import Any, TypeVar

from trimtab.strategies.core.engine import Call, Params, TokenDelta, TokensPort
from trimtab.strategies.decoding.rain_priors import Candidate, Tokens, renormalised
from trimtab.strategies.decoding.rain_profile import CLAUSE_ENDS, Profile

T = TypeVar("T")

RANKED = 20
"""Most likely first tokens that are asked for: as many as a node may have children."""
NEUTRAL = Params(
    temperature=1.0,
    top_p=1.0,
    top_k=0,
    min_p=0.0,
    repetition_penalty=1.0,
    presence_penalty=0.0,
    frequency_penalty=0.0,
)
"""Plain sampling, whatever the model's generation config prefers."""


@dataclass(slots=True)
class Sample:
    """One sample of a call, gathered."""

    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    tops: list[dict[int, float]] = field(default_factory=list)
    cached: int = 0

    def take(self, delta: TokenDelta) -> None:
        """Append what is new."""
        self.tokens += delta.token_ids
        self.logprobs += delta.logprobs
        self.tops += map(dict, delta.top_logprobs)
        self.cached = max(self.cached, delta.cached_tokens)


@dataclass(frozen=True, slots=True)
class Drawn:
    """What was drawn at one place, probabilities as they are."""

    greedy: Candidate | None
    """None where the policy says nothing more."""
    sampled: list[Candidate]


@dataclass(slots=True)
class Forwarded:
    """How many tokens the policy had to compute: those of prompts beyond the cached prefix, and the generated ones."""

    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Sampler:
    """The policy behind one prompt, for one of the request's choices."""

    port: TokensPort
    call: Call
    prompt: Tokens
    profile: Profile
    seed: str | None
    """Where its draws begin; None where the engine cannot honour seeds."""
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    forwarded: Forwarded = field(default_factory=Forwarded)

    async def ranked(self, answer: Tokens) -> tuple[Candidate, ...]:
        """The most likely next tokens, best first, with their probabilities among all that are asked for."""
        params = replace(NEUTRAL, max_tokens=1, temperature=0.0, logprobs=RANKED, ignore_eos=True, in_one=True)
        sample = (await self._gathered(answer, params))[0]
        best = sorted(sample.tops[0].items(), key=lambda item: (-item[1], item[0]))[:RANKED]
        top, temperature = dict(best), self.profile.temperature
        return tuple(Candidate((token,), renormalised(value, top, RANKED, temperature)) for token, value in best)

    async def sets(self, answer: Tokens, length: int, *, wanted: int, number: int, greedy: Candidate | None = None) -> Drawn:
        """The greedy set and draws enough for `wanted` sampled ones that differ.

        number: which draw at this place this is, from 0. greedy: the greedy set where an earlier draw has shown it.
        """
        ends_at_eos = self.profile.end == "set_ends"
        sampled = replace(
            NEUTRAL,
            max_tokens=length,
            n=self.profile.draws(wanted),
            temperature=self.profile.temperature,
            top_k=self.profile.top_k,
            logprobs=self.profile.top_k,
            seed=self._seed(answer, "set", number),
            stop_token_ids=self.stop_token_ids if ends_at_eos else (),
            ignore_eos=self.ignore_eos or not ends_at_eos,
            in_one=True,
        )
        if greedy is not None:
            return Drawn(greedy, await self._drawn(answer, sampled))
        likeliest = replace(sampled, n=1, temperature=0.0, top_k=0, seed=None)
        first, others = await together(self._drawn(answer, likeliest), self._drawn(answer, sampled))
        return Drawn(first[0] if first else None, others)

    async def rollout(self, answer: Tokens, room: int, visit: int, stops: Sequence[str]) -> Tokens:
        """A sampled continuation up to the end of the clause or of the answer, of at most `room` tokens.

        A clause ends where the text up to a token ends with a mark; stop strings only end whole answers here, since an engine
        that looks for them shows text late.
        """
        by_clause = self.profile.rollout == "clause"
        params = replace(
            NEUTRAL,
            max_tokens=room,
            seed=self._seed(answer, "rollout", visit),
            stop=() if by_clause else tuple(stops),
            stop_token_ids=self.stop_token_ids,
            ignore_eos=self.ignore_eos,
        )
        rollout = Sample()
        async with aclosing(self._deltas(answer, params)) as deltas:
            async for delta in deltas:
                rollout.take(delta)
                if by_clause and await self._ends_clause(rollout, delta):
                    break
        return tuple(rollout.tokens)

    async def _ends_clause(self, rollout: Sample, delta: TokenDelta) -> bool:
        """Whether a clause ends with the newest tokens; those beyond its end are dropped."""
        if len(delta.token_ids) <= 1:
            return delta.text[-1:] in CLAUSE_ENDS
        size = await asyncio.to_thread(self._clause_end, rollout.tokens, len(rollout.tokens) - len(delta.token_ids))
        if size is None:
            return False
        del rollout.tokens[size:]
        return True

    def _clause_end(self, tokens: Sequence[int], known: int) -> int | None:
        """How many tokens there are up to the first end of a clause behind the known ones."""
        sizes = range(known + 1, len(tokens) + 1)
        return next((size for size in sizes if self.port.decode(tokens[:size])[-1:] in CLAUSE_ENDS), None)

    async def _drawn(self, answer: Tokens, params: Params) -> list[Candidate]:
        """The samples of a call as sets with their joint probabilities."""
        k, temperature = self.profile.top_k, self.profile.temperature
        return [
            Candidate(
                tuple(sample.tokens),
                prod(renormalised(own, top, k, temperature) for own, top in zip(sample.logprobs, sample.tops, strict=True)),
            )
            for sample in await self._gathered(answer, params)
            if sample.tokens
        ]

    async def _gathered(self, answer: Tokens, params: Params) -> list[Sample]:
        samples = [Sample() for _ in range(params.n)]
        async with aclosing(self._deltas(answer, params)) as deltas:
            async for delta in deltas:
                samples[delta.index].take(delta)
        return samples

    async def _deltas(self, answer: Tokens, params: Params) -> AsyncGenerator[TokenDelta, None]:
        """What the policy says behind the answer so far, counted."""
        prompt = (*self.prompt, *answer)
        cached = dict.fromkeys(range(params.n), 0)
        try:
            async with aclosing(self.port.generate(prompt, params, self.call)) as deltas:
                async for delta in deltas:
                    self.forwarded.tokens += len(delta.token_ids)
                    cached[delta.index] = max(cached[delta.index], delta.cached_tokens)
                    yield delta
        finally:
            self.forwarded.tokens += sum(len(prompt) - known for known in cached.values())

    def _seed(self, answer: Tokens, purpose: str, number: int) -> int | None:
        """31 bits that belong to this place in the tree."""
        if self.seed is None:
            return None
        place = f"{self.seed}:{purpose}:{number}:{','.join(map(str, answer))}"
        return int.from_bytes(blake2b(place.encode(), digest_size=4).digest(), "big") >> 1


async def together(*work: Coroutine[Any, Any, T]) -> list[T]:
    """The results of work done at once; the first failure ends the rest and is raised as itself."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]
