"""How one request is sampled: its parameters checked, with the model's own defaults filled in. It knows no tensors."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trimtab.strategies.core.engine import Params
from trimtab.strategies.core.errors import ContextLengthExceeded, RequestRefused

GREEDY_BELOW = 1e-5
"""Temperatures under this mean the most likely token."""

SEEDS = 2**63


@dataclass(frozen=True, slots=True)
class SamplingDefaults:
    """What a model's generation config says of parameters that a request leaves out."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    max_tokens: int | None = None

    @classmethod
    def from_generation_config(cls, written: Mapping[str, Any]) -> "SamplingDefaults":
        """The defaults of a `generation_config.json`, as it was written (no library default is mixed in)."""

        def number(name: str, default: float) -> float:
            value = written.get(name)
            return default if value is None else float(value)

        longest = written.get("max_new_tokens")
        return cls(
            temperature=number("temperature", 1.0),
            top_p=number("top_p", 1.0),
            top_k=int(number("top_k", 0)),
            min_p=number("min_p", 0.0),
            repetition_penalty=number("repetition_penalty", 1.0),
            max_tokens=int(longest) if longest else None,
        )


@dataclass(frozen=True, slots=True)
class Sampling:
    """Checked parameters, nothing left to look up."""

    max_tokens: int
    n: int
    temperature: float
    top_p: float
    top_k: int
    """0 = all."""
    min_p: float
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    seed: int | None
    stop: tuple[str, ...]
    end_ids: frozenset[int]
    """Ids that end the answer: the request's own, and the model's unless they are ignored."""
    min_tokens: int
    logprobs: int | None
    logprob_token_ids: tuple[int, ...]
    allowed_token_ids: tuple[int, ...]
    logit_bias: tuple[tuple[int, float], ...]

    @property
    def greedy(self) -> bool:
        """Whether the most likely token is taken."""
        return self.temperature < GREEDY_BELOW or self.top_k == 1

    @property
    def penalized(self) -> bool:
        """Whether earlier tokens change the scores."""
        return self.repetition_penalty != 1.0 or self.presence_penalty != 0.0 or self.frequency_penalty != 0.0

    @property
    def wants_logprobs(self) -> bool:
        """Whether raw log-probabilities are reported."""
        return self.logprobs is not None or bool(self.logprob_token_ids)

    def seed_of(self, index: int) -> int | None:
        """Seed of one of the n samples; None = any."""
        return None if self.seed is None else (self.seed + index) % SEEDS


@dataclass(frozen=True, slots=True)
class ModelLimits:
    """What a request is checked against."""

    window: int
    """Context window in tokens."""
    vocabulary: int
    """Number of ids the model knows."""
    eos_ids: frozenset[int]
    defaults: SamplingDefaults


def check_ids(ids: "tuple[int, ...]", limits: ModelLimits, param: str) -> None:
    """Raises RequestRefused for the first id outside the vocabulary."""
    for token_id in ids:
        if not 0 <= token_id < limits.vocabulary:
            raise RequestRefused(
                f"{param}: token id {token_id} is outside the vocabulary (0 to {limits.vocabulary - 1}).", param=param
            )


def resolve(params: Params, prompt_tokens: int, limits: ModelLimits) -> Sampling:
    """The sampling of a request of that many prompt tokens. Raises RequestRefused and ContextLengthExceeded."""
    defaults = limits.defaults
    check_ids(params.stop_token_ids, limits, "stop_token_ids")
    check_ids(params.logprob_token_ids, limits, "logprob_token_ids")
    check_ids(params.allowed_token_ids, limits, "allowed_token_ids")
    check_ids(tuple(params.logit_bias), limits, "logit_bias")
    return Sampling(
        max_tokens=_room(params.max_tokens, prompt_tokens, limits),
        n=int(_between("n", params.n, 1, math.inf)),
        temperature=_between("temperature", _or(params.temperature, defaults.temperature), 0.0, math.inf),
        top_p=_between("top_p", _or(params.top_p, defaults.top_p), 0.0, 1.0, open_low=True),
        top_k=max(0, int(_between("top_k", _or(params.top_k, defaults.top_k), -1, math.inf))),
        min_p=_between("min_p", _or(params.min_p, defaults.min_p), 0.0, 1.0),
        repetition_penalty=_between(
            "repetition_penalty", _or(params.repetition_penalty, defaults.repetition_penalty), 0.0, math.inf, open_low=True
        ),
        presence_penalty=_between("presence_penalty", _or(params.presence_penalty, 0.0), -2.0, 2.0),
        frequency_penalty=_between("frequency_penalty", _or(params.frequency_penalty, 0.0), -2.0, 2.0),
        seed=params.seed,
        stop=tuple(stop for stop in params.stop if stop),
        end_ids=frozenset(params.stop_token_ids) | (frozenset() if params.ignore_eos else limits.eos_ids),
        min_tokens=int(_between("min_tokens", params.min_tokens, 0, math.inf)),
        logprobs=None if params.logprobs is None else int(_between("logprobs", params.logprobs, 0, limits.vocabulary)),
        logprob_token_ids=tuple(params.logprob_token_ids),
        allowed_token_ids=tuple(params.allowed_token_ids),
        logit_bias=tuple((i, _between("logit_bias", bias, -100.0, 100.0)) for i, bias in params.logit_bias.items()),
    )


def _room(asked: int | None, prompt_tokens: int, limits: ModelLimits) -> int:
    """How many tokens the answer may have."""
    free = limits.window - prompt_tokens
    if prompt_tokens < 1:
        raise RequestRefused("The prompt is empty: it encodes to 0 tokens.", param="prompt")
    if free < 1 and asked != 0:
        raise ContextLengthExceeded(
            f"The prompt has {prompt_tokens} tokens; the context window is {limits.window} and must hold prompt and answer."
        )
    if asked is None:
        return min(free, limits.defaults.max_tokens or free)
    if asked < 0:
        raise RequestRefused(f"max_tokens is {asked}; it must be at least 0.", param="max_tokens")
    if asked > free:
        raise ContextLengthExceeded(
            f"The prompt has {prompt_tokens} tokens and max_tokens is {asked}, together {prompt_tokens + asked}; "
            f"the context window is {limits.window}.",
        )
    return asked


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _between(name: str, value: float, low: float, high: float, *, open_low: bool = False) -> float:
    """The value, if it is a number in the range."""
    fits = (low < value if open_low else low <= value) and value <= high and not math.isnan(value) and not math.isinf(value)
    if fits:
        return value
    least = f"greater than {low:g}" if open_low else f"at least {low:g}"
    most = "" if math.isinf(high) else f" and at most {high:g}"
    raise RequestRefused(f"{name} is {value}; it must be {least}{most}.", param=name)
