"""An engine that is a plain torch module in memory, with whatever an engine may do wrong; and scorers of text."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from trimtab.training.online.parts import OnlineParts
from trimtab.training.online.protocols import Sample


class TorchPolicy:
    """`Rollouts` and `Weights` over a causal model: tokens are drawn one by one, without a cache."""

    def __init__(self, network: Any, ends: frozenset[int], *, stale: int = 0, shift: float = 0.0) -> None:
        """stale: how many versions behind it says that it is. shift: what it adds to its log-probabilities."""
        self.network = network.eval()
        self.pushed: list[Path] = []
        self.asked: list[tuple[int, int]] = []
        """(prompts, seed) of each call."""
        self._ends, self._stale, self._shift = ends, stale, shift

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        n: int,
        max_tokens: int,
        temperature: float,
        top_p: float,
        seed: int,
    ) -> list[list[Sample]]:
        assert top_p == 1.0
        self.asked.append((len(prompts), seed))
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            return [self._answers(list(ids), n, max_tokens, temperature, generator) for ids in prompts]

    def push(self, directory: Path) -> int:
        self.network.load_state_dict(load_file(directory / "model.safetensors"), strict=False)
        self.network.tie_weights()
        self.pushed.append(directory)
        return len(self.pushed)

    def _answers(
        self, prompt: list[int], n: int, max_tokens: int, temperature: float, generator: torch.Generator
    ) -> list[Sample]:
        ids = torch.tensor([prompt] * n)
        logprobs = torch.zeros(n, 0)
        for _ in range(max_tokens):
            logits = self.network(ids, use_cache=False).logits[:, -1].float()
            drawn = torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator)
            ids = torch.cat([ids, drawn], 1)
            logprobs = torch.cat([logprobs, logits.log_softmax(-1).gather(1, drawn)], 1)
        return [self._ended(*one) for one in zip(ids[:, len(prompt) :].tolist(), logprobs.tolist(), strict=True)]

    def _ended(self, ids: list[int], logprobs: list[float]) -> Sample:
        end = next((place + 1 for place, token in enumerate(ids) if token in self._ends), None)
        size = end or len(ids)
        told = tuple(value + self._shift for value in logprobs[:size])
        return Sample(tuple(ids[:size]), told, "stop" if end else "length", len(self.pushed) - self._stale)


class TextScores:
    """`Scores` by a function of the answer's text."""

    def __init__(self, reward: Callable[[str], float]) -> None:
        self.seen: list[Sequence[tuple[str, str]]] = []
        self._reward = reward

    def score(self, conversations: Sequence[Sequence[tuple[str, str]]]) -> list[float]:
        self.seen += conversations
        assert all(role == "assistant" for role, _ in (turns[-1] for turns in conversations))
        return [self._reward(turns[-1][1]) for turns in conversations]


def parts(policy: TorchPolicy, reward: Callable[[str], float]) -> OnlineParts:
    return OnlineParts(policy, TextScores(reward), policy)


def evens(text: str) -> float:
    """Share of an answer's characters with an even code."""
    return sum(ord(letter) % 2 == 0 for letter in text) / max(1, len(text))


def write_prompts(path: Path, *, repeat: int = 1) -> Path:
    """Prompts with an answer each, which only ReST looks at."""
    asked = [("Name a fruit.", "Kiwi"), ("Is tea warm?", "Yes"), ("Say hello.", "Hello"), ("Name a colour.", "Aquamarine")]
    rows = [
        {
            "prompt": [{"role": "user", "content": f"{prompt}{' ' * turn}"}],
            "completion": [{"role": "assistant", "content": answer}],
        }
        for turn in range(repeat)
        for prompt, answer in asked
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
