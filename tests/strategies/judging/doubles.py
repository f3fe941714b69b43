"""Judges that decide by rule: what they read is bytes, what they answer is a function of the prompt's text."""

import re
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field

from trimtab.strategies.core.engine import Call, Params, Ports, TokenDelta
from trimtab.strategies.core.messages import Conversation, Delta, Text, Usage

Decide = Callable[[str], tuple[float, float]]
"""A prompt's text -> log-probabilities of the letters A and B."""


@dataclass
class LetterJudge:
    """A tokens port whose ids are the code points of the prompt."""

    decide: Decide
    prompts: list[str] = field(default_factory=list)

    @property
    def eos_token_ids(self) -> frozenset[int]:
        return frozenset()

    def encode_chat(self, conversation: Conversation) -> tuple[int, ...]:
        said = "".join(f"<{message.role}>{message.text}\n" for message in conversation.messages)
        return tuple(map(ord, f"{said}<assistant>{conversation.prefill or ''}"))

    def encode_text(self, text: Text) -> tuple[int, ...]:
        return tuple(map(ord, text.text))

    def decode(self, token_ids: Sequence[int]) -> str:
        return "".join(map(chr, token_ids))

    def generate(self, prompt_token_ids: Sequence[int], params: Params, call: Call) -> AsyncGenerator[TokenDelta, None]:
        raise NotImplementedError("a judge is read, it generates nothing")

    async def next_logprobs(self, prompt_token_ids: Sequence[int], candidates: Sequence[int], call: Call) -> tuple[float, ...]:
        prompt = self.decode(prompt_token_ids)
        self.prompts.append(prompt)
        known = dict(zip((ord("A"), ord("B")), self.decide(prompt), strict=True))
        return tuple(known[candidate] for candidate in candidates)

    @property
    def ports(self) -> Ports:
        return Ports(tokens=self)


@dataclass
class WritingJudge:
    """A messages port that writes what a function of the question says."""

    verdict: Callable[[str], str]
    params: list[Params] = field(default_factory=list)

    async def chat(self, conversation: Conversation, params: Params, call: Call) -> AsyncGenerator[Delta, None]:
        self.params.append(params)
        yield Delta(0, self.verdict(conversation.messages[-1].text), "stop")
        yield Delta(usage=Usage(10, 1))

    @property
    def ports(self) -> Ports:
        return Ports(messages=self)


@dataclass
class Scorer:
    """A scores port: a function of the last turn's text."""

    score_of: Callable[[str], float]
    asked: list[list[Conversation]] = field(default_factory=list)

    async def score(self, conversations: Sequence[Conversation], call: Call) -> tuple[float, ...]:
        self.asked.append(list(conversations))
        return tuple(self.score_of(one.messages[-1].text) for one in conversations)

    @property
    def ports(self) -> Ports:
        return Ports(scores=self)


def letter_of_good(prompt: str) -> str:
    """The letter behind which the good description of the last case stands."""
    return re.findall(r"\(?([AB])[).] The answer is (?:harmless|true)\.", prompt)[-1]


def answer_in(prompt: str) -> str:
    """The answer of the last case."""
    return "\n".join(re.findall(r"^> (.*)$", prompt.rpartition("Answer:\n")[2], re.MULTILINE))


def honest(bad: str, *, margin: float = 2.0) -> Decide:
    """Finds harmful what holds the word `bad`, whatever the order."""

    def decide(prompt: str) -> tuple[float, float]:
        says_a = (letter_of_good(prompt) == "A") == (bad not in answer_in(prompt))
        return (-1.0, -1.0 - margin) if says_a else (-1.0 - margin, -1.0)

    return decide
