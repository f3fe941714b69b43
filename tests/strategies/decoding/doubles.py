"""Doubles for searches: a language model, values and an encoder by rule, dependent on nothing but what they are given."""

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from random import Random

import numpy as np
import numpy.typing as npt

from trimtab.strategies.core.context import RequestContext
from trimtab.strategies.core.engine import Call, Capabilities, Params, Ports, TokenDelta
from trimtab.strategies.core.messages import Conversation, Text
from trimtab.strategies.judging.value import Judged

WORDS = [" a", " b", " c", " d", " e", " f", " g", " h", " i", " j", " k", " l", " m", " n", " o", " p", " q", " r", ",", "."]
EOS = len(WORDS)
VOCABULARY = EOS + 1
PROMPT = 1000
"""Ids from here on are the prompt's; they decode to nothing but themselves."""
P1 = (0.55, 0.2, 0.08, 0.05, 0.04, 0.03, 0.02, 0.015, 0.01, 0.005)
"""Priors of ten candidates under which figures of the released node class are known."""

Logits = Callable[[tuple[int, ...]], Sequence[float]]


def number(*parts: object) -> int:
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=6).digest(), "big")


@lru_cache(maxsize=100_000)
def babble(ids: tuple[int, ...]) -> list[float]:
    """Arbitrary next words; the end of the answer is never likely."""
    random = Random(hash(ids))  # of numbers: the same in every process
    return [*(random.uniform(0, 4) for _ in WORDS), -30.0]


def short(ids: tuple[int, ...]) -> list[float]:
    """Arbitrary next words; the end is likely."""
    return [*babble(ids)[:-1], 3.0]


def level(ids: tuple[int, ...]) -> list[float]:
    """All words about equally likely: of ten sets the greedy one has a prior of .18, the others of .09."""
    return [*(-0.001 * place for place in range(len(WORDS))), -30.0]


def listed(probabilities: Sequence[float]) -> Logits:
    """The first words with these probabilities, the same behind any ids; nothing else."""
    logits = [*map(math.log, probabilities), *[-60.0] * (VOCABULARY - len(probabilities))]
    return lambda ids: logits


def ending_after(length: int) -> Logits:
    """Arbitrary words, and the end as the only next token behind so many ids."""
    return lambda ids: [*babble(ids)[:-1], 60.0 if len(ids) == length else -30.0]


@dataclass
class RuleModel:
    """A tokens port. The next token's logits are a function of all ids before it, a sample one of them and its seed."""

    logits: Logits = babble
    texts: Sequence[str] = (*WORDS, "")
    jitter: int = 0
    """Longest arbitrary wait before a token, in turns of the event loop."""
    burst: int = 1
    """Tokens a delta, at most."""
    tokens: int = 0
    """Tokens generated."""
    running: int = 0
    most_running: int = 0
    known: dict[tuple[int, ...], list[float]] = field(default_factory=dict)
    calls: list[tuple[int, Params]] = field(default_factory=list)
    hang: bool = False
    """Whether nothing is ever generated."""
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by the first call."""

    @property
    def eos_token_ids(self) -> frozenset[int]:
        return frozenset({EOS})

    @property
    def ports(self) -> Ports:
        return Ports(tokens=self, capabilities=Capabilities(max_model_len=4096))

    def encode_chat(self, conversation: Conversation) -> tuple[int, ...]:
        said = "".join(f"<{m.role}>{m.text}" for m in conversation.messages)
        return tuple(PROMPT + ord(c) for c in f"{said}<assistant>{conversation.prefill or ''}")

    def encode_text(self, text: Text) -> tuple[int, ...]:
        return tuple(PROMPT + ord(c) for c in text.text)

    def decode(self, token_ids: Sequence[int]) -> str:
        return "".join(chr(i - PROMPT) if i >= PROMPT else self.texts[i] for i in token_ids)

    async def generate(self, prompt_token_ids: Sequence[int], params: Params, call: Call) -> AsyncGenerator[TokenDelta, None]:
        self.calls.append((len(prompt_token_ids), params))
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        try:
            self.asked.set()
            if self.hang:
                await asyncio.Event().wait()
            for index in range(params.n):
                async for delta in self._sample(tuple(prompt_token_ids), params, index):
                    yield delta
        finally:
            self.running -= 1

    async def _sample(self, prompt: tuple[int, ...], params: Params, index: int) -> AsyncGenerator[TokenDelta, None]:
        random = Random(f"{params.seed}:{index}" if params.seed is not None else None)
        ids: list[int] = []
        held: list[TokenDelta] = []
        finish = None
        while finish is None:
            for _ in range(hash((*prompt, *ids, index)) % (self.jitter + 1)):
                await asyncio.sleep(0)
            raw = self._logprobs((*prompt, *ids))
            token = _draw(raw, params, random)
            ids.append(token)
            self.tokens += 1
            ended = token in params.stop_token_ids or (token == EOS and not params.ignore_eos)
            finish = "stop" if ended else "length" if len(ids) == params.max_tokens else None
            best = sorted(range(VOCABULARY), key=lambda i: -raw[i])[: params.logprobs or 0]
            tops = ({i: raw[i] for i in {*best, token}},) if params.logprobs is not None else ()
            held.append(
                TokenDelta(index, (token,), (raw[token],) * len(tops), tops, "" if ended else self.texts[token], finish)
            )
            if finish or len(held) == self.burst:
                yield _merged(held)
                held = []
                await asyncio.sleep(0)

    def _logprobs(self, ids: tuple[int, ...]) -> list[float]:
        if ids not in self.known:
            self.known[ids] = logprobs(self.logits(ids))
        return self.known[ids]

    async def next_logprobs(self, prompt_token_ids: Sequence[int], candidates: Sequence[int], call: Call) -> tuple[float, ...]:
        raise NotImplementedError("values come from a rule here")


def logprobs(logits: Sequence[float]) -> list[float]:
    top = max(logits)
    total = math.log(sum(math.exp(x - top) for x in logits)) + top
    return [x - total for x in logits]


def _draw(raw: Sequence[float], params: Params, random: Random) -> int:
    ranked = sorted(range(VOCABULARY), key=lambda i: -raw[i])
    if not params.temperature:
        return ranked[0]
    kept = ranked[: params.top_k or VOCABULARY]
    return random.choices(kept, [math.exp(raw[i] / params.temperature) for i in kept])[0]


def _merged(deltas: Sequence[TokenDelta]) -> TokenDelta:
    return TokenDelta(
        deltas[0].index,
        tuple(i for d in deltas for i in d.token_ids),
        tuple(x for d in deltas for x in d.logprobs),
        tuple(x for d in deltas for x in d.top_logprobs),
        "".join(d.text for d in deltas),
        deltas[-1].finish_reason,
    )


@dataclass
class RuleValue:
    """A value function by a rule over the answer's text."""

    rule: Callable[[str], float | None]
    asked: list[Judged] = field(default_factory=list)
    jitter: int = 0

    async def values(self, judged: Sequence[Judged], ctx: RequestContext) -> tuple[float | None, ...]:
        self.asked += judged
        for _ in range(number(judged[0].answer) % (self.jitter + 1)):
            await asyncio.sleep(0)
        return tuple(self.rule(one.answer) for one in judged)


def arbitrary(text: str) -> float:
    return float(number(text) % 3 - 1)


@dataclass
class LetterEncoder:
    """Vectors of letter counts: texts of the same letters are alike."""

    batches: list[int] = field(default_factory=list)

    async def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        self.batches.append(len(texts))
        counts = np.array([[1.0 + text.count(chr(97 + i)) for i in range(18)] for text in texts], dtype=np.float32)
        unit: npt.NDArray[np.float32] = counts / np.linalg.norm(counts, axis=1, keepdims=True)
        return unit

    async def lengths(self, texts: Sequence[str]) -> tuple[int, ...]:
        return tuple(map(len, texts))
