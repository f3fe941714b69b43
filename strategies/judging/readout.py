"""Reading a choice off a model: the log-probabilities of given next words, and the best of them. For multiple choice."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from trimtab.strategies.core.context import RequestContext
from trimtab.strategies.core.engine import TokensPort
from trimtab.strategies.core.errors import ConfigError, MissingCapability
from trimtab.strategies.core.messages import Conversation, Prompt, Segment


@dataclass(frozen=True, slots=True)
class Readout:
    """How likely each choice is."""

    choices: tuple[str, ...]
    logprobs: tuple[float, ...]
    """Raw log-probability, in nats, of each choice's token."""

    @property
    def best(self) -> str:
        """The most likely choice; of equally likely ones the first."""
        return self.choices[max(range(len(self.choices)), key=lambda place: (self.logprobs[place], -place))]


async def read_choice(prompt: Prompt, choices: Sequence[str], ctx: RequestContext, *, role: str = "policy") -> Readout:
    """How likely each choice is to come next: one engine call, no sampling.

    choices: as they stand behind the prompt, e.g. `A` after "(" and ` A` after "answer:"; each adds one token of its own.
    Raises ConfigError where two share their token or one has several, MissingCapability where the engine shows no tokens.
    Source: Xu et al. 2023, arXiv 2312.15907 (constrained to the letters of the options).
    Deviation: ids are those that the prompt's own end gives the letters (released: `encode("A")[0]`); no repetition penalty.
    """
    tokens = ctx.engine(role).tokens
    if tokens is None:
        raise MissingCapability("reading a choice needs the engine's tokens port", param="model")
    ids, labels = await asyncio.to_thread(_encoded, tokens, prompt, tuple(choices))
    return Readout(tuple(choices), await tokens.next_logprobs(ids, labels, ctx.call(role)))


def _encoded(tokens: TokensPort, prompt: Prompt, choices: tuple[str, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The prompt's ids, and the id that each choice adds to them."""
    ids = _ids(tokens, prompt, "")
    added = [_ids(tokens, prompt, choice) for choice in choices]
    labels = tuple(own[len(ids)] if own[:-1] == ids else -1 for own in added)
    for choice, label in zip(choices, labels, strict=True):
        if label < 0 or labels.count(label) > 1:
            reason = "shares its token with another" if label >= 0 else "is not one token behind this prompt"
            raise ConfigError(f"the choice {choice[:40]!r} {reason}; choices: {', '.join(map(repr, choices))}", param="choices")
    return ids, labels


def _ids(tokens: TokensPort, prompt: Prompt, choice: str) -> tuple[int, ...]:
    if isinstance(prompt, Conversation):
        begun = f"{prompt.prefill or ''}{choice}"
        return tokens.encode_chat(replace(prompt, prefill=begun or None))
    return tokens.encode_text(replace(prompt, segments=(*prompt.segments, Segment("content", choice))))
