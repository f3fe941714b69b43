"""A row: one sample while it is generated. It turns chosen ids into deltas and knows when it ends; it knows no model."""

import secrets
from dataclasses import dataclass, field
from typing import Protocol

import torch

from trimtab.server.engines.stops import StopText
from trimtab.server.engines.transformers.detokenizer import Decode, Detokenizer
from trimtab.server.engines.transformers.sampling import Sampling
from trimtab.strategies.core.engine import TokenDelta

DRAWS_AT_ONCE = 64


class Sink(Protocol):
    """Where the results of a request go; called from the engine's thread."""

    def put(self, item: object) -> None:
        """Hands on a result (a `TokenDelta`, or a scored prompt), or the error that ends the request."""
        ...


@dataclass(eq=False, slots=True)
class Job:
    """A request: one prompt, n rows."""

    request_id: str
    priority: int
    salt: str | None
    """Prompts are only shared under the same salt."""
    prompt: tuple[int, ...]
    sampling: Sampling
    sink: Sink
    arrival: int = 0
    """Its place in the queue among requests of the same priority."""
    ended: bool = False
    """Nothing more is to be generated or sent."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A chosen id, with raw log-probabilities where they were asked for."""

    token_id: int
    logprob: float | None = None
    top: dict[int, float] = field(default_factory=dict)


class Uniforms:
    """Numbers in [0, 1), in the order that a seed fixes."""

    __slots__ = ("_drawn", "_generator")

    def __init__(self, seed: int | None) -> None:
        self._generator = torch.Generator().manual_seed(secrets.randbits(63) if seed is None else seed)
        self._drawn: list[float] = []

    def draw(self) -> float:
        """The next number."""
        if not self._drawn:
            block = torch.rand(DRAWS_AT_ONCE, generator=self._generator, dtype=torch.float64)
            self._drawn = block.tolist()[::-1]
        return self._drawn.pop()


class Row:
    """One of the n samples of a job."""

    __slots__ = ("_detokenizer", "_stops", "cached_tokens", "index", "job", "output", "sampling", "state", "uniforms")

    def __init__(self, job: Job, index: int, decode: Decode) -> None:
        self.job = job
        self.index = index
        self.sampling = job.sampling
        self.output: list[int] = []
        self.cached_tokens = 0
        self.uniforms = None if job.sampling.greedy else Uniforms(job.sampling.seed_of(index))
        self.state: object = None
        """What the sampler keeps of this row (counts of seen tokens, masks)."""
        self._detokenizer = Detokenizer(decode, job.prompt)
        self._stops = StopText(job.sampling.stop)

    def accept(self, choice: Choice) -> TokenDelta:
        """The delta of a newly chosen id; its finish_reason tells whether the row has ended."""
        first = not self.output
        self.output.append(choice.token_id)
        text, reason = self._text_of(choice.token_id)
        return TokenDelta(
            index=self.index,
            token_ids=(choice.token_id,),
            logprobs=() if choice.logprob is None else (choice.logprob,),
            top_logprobs=(choice.top,) if choice.logprob is not None else (),
            text=text,
            finish_reason=reason,
            cached_tokens=self.cached_tokens if first else 0,
        )

    def _text_of(self, token_id: int) -> tuple[str, str | None]:
        sampling = self.sampling
        early = len(self.output) < sampling.min_tokens
        if token_id in sampling.end_ids and not early:
            return self._stops.flush(), "stop"
        piece = self._detokenizer.push(token_id)
        text, stopped = (self._stops.skip(piece), False) if early else self._stops.push(piece)
        if stopped:
            return text, "stop"
        if len(self.output) >= sampling.max_tokens:
            return text + self._stops.flush(), "length"
        return text, None


@dataclass(eq=False, slots=True)
class ScoreJob:
    """A request for the log-probabilities of a prompt's own tokens."""

    request_id: str
    ids: tuple[int, ...]
    top: int
    sink: Sink
    ended: bool = False
