"""Log-probabilities of prompts' own tokens, in chunks, so that memory does not grow with the prompt's length."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from trimtab.server.engines.prompt_scores import PromptLogprob
from trimtab.server.engines.transformers.model import LoadedModel
from trimtab.server.engines.transformers.prefill import Prefill, Prompt

LOGITS_AT_ONCE = 2**24
"""Numbers of one chunk's logits: 64 MiB in float32."""


@dataclass(frozen=True, slots=True)
class Scored:
    """One prompt to score."""

    ids: tuple[int, ...]
    top: int
    """How many of the most likely ids are reported at each position."""


class Scoring:
    """Prompts that are scored together."""

    def __init__(self, model: LoadedModel, prompts: Sequence[Scored]) -> None:
        self._prompts = tuple(prompts)
        self._prefill = Prefill(model, [Prompt(prompt.ids) for prompt in prompts])
        self._columns = max(1, LOGITS_AT_ONCE // (model.limits.vocabulary * len(prompts)))
        self._width = max(len(prompt.ids) for prompt in prompts)
        self._results: list[list[PromptLogprob | None]] = [[None] for _ in prompts]

    def advance(self, most_columns: int) -> list[list[PromptLogprob | None]] | None:
        """Computes one chunk; the results, one list a prompt, once all are done."""
        first = self._prefill.done
        logits = self._prefill.advance(min(self._columns, most_columns), keep_all=True)
        for row in range(len(self._prompts)):
            self._score(row, first, logits[row])
        return self._results if not self._prefill.remaining else None

    def _score(self, row: int, first: int, logits: torch.Tensor) -> None:
        """Adds what logits (columns, vocabulary) of the columns from `first` say of the tokens after each."""
        prompt, results = self._prompts[row], self._results[row]
        pad = self._width - len(prompt.ids)
        skip = max(0, pad - first)
        targets = prompt.ids[len(results) : max(0, first + len(logits) - pad + 1)]
        if not targets:
            return
        logprobs = logits[skip : skip + len(targets)].float().log_softmax(-1)
        own = logprobs.gather(-1, torch.tensor(targets, device=logprobs.device).unsqueeze(-1)).squeeze(-1).tolist()
        best = logprobs.topk(prompt.top)
        for target, value, ids, values in zip(targets, own, best.indices.tolist(), best.values.tolist(), strict=True):
            results.append(PromptLogprob(target, value, dict(zip(ids, values, strict=True))))
