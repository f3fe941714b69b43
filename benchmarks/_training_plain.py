"""The plain side of the list methods: each response a sequence of its own, unpadded, one forward pass each.

It is no straw man: logits are computed at the completion's places alone, the graph of a list goes back at once, and the
optimizer is fused. What it lacks is what is measured: prompts shared by the responses of a list.
"""

import time
from collections.abc import Sequence
from typing import Any

import torch
from _training_terms import Result, Settings, Task, Tokens, cut, digest_of, read_rows
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed


def run_plain(task: Task, rows: str, settings: Settings) -> Result:
    """Trains on the lists in their order; the loss is the mean over the lists of a step."""
    set_seed(settings.seed)
    tokenizer = AutoTokenizer.from_pretrained(settings.model)
    model = AutoModelForCausalLM.from_pretrained(settings.start, dtype=torch.float32).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=0.0, fused=True)
    losses, ends, batches = [], [], []
    for group in cut(read_rows(rows), settings.batch):
        lists = [_sequences(row, tokenizer, settings.max_length) for row in group]
        scores = [[response["score"] for response in row["responses"]] for row in group]
        loss = sum(_backward(task, model, own, mark, len(group)) for own, mark in zip(lists, scores, strict=True))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss)
        ends.append(time.monotonic())
        batches.append([sequence for own in lists for sequence in own])
    return Result(losses, ends, digest_of(batches))


def _sequences(row: dict[str, Any], tokenizer: Any, limit: int) -> list[Tokens]:
    prompt = tokenizer(row["prompt"], add_special_tokens=False).input_ids
    texts = [row["prompt"] + response["content"] + tokenizer.eos_token for response in row["responses"]]
    wholes = [tokenizer(text, add_special_tokens=False).input_ids[:limit] for text in texts]
    return [Tokens(tuple(whole), len(whole) - len(prompt)) for whole in wholes]


def _backward(task: Task, model: Any, sequences: Sequence[Tokens], scores: Sequence[float], lists: int) -> float:
    """The list's share of the step's loss, its gradient added to the model's."""
    means = torch.stack([_mean_logprob(model, sequence) for sequence in sequences])
    loss: Tensor = (pro if task == "pro" else rrhf)(means, torch.tensor(scores)) / lists
    loss.backward()
    return loss.item()


def _mean_logprob(model: Any, sequence: Tokens) -> Tensor:
    ids = torch.tensor([sequence.ids])
    logits = model(ids, use_cache=False, logits_to_keep=sequence.scored + 1).logits[0, :-1].float()
    return -functional.cross_entropy(logits, ids[0, -sequence.scored :])


def pro(means: Tensor, scores: Tensor) -> Tensor:
    """Loss of a list sorted from the best on, its temperatures by the gaps of the scores.

    means: (K,) mean log-probability of a token of each response. Source: Song et al. 2023, arXiv 2306.17492, Eq. 7-9.
    """
    count = len(means)
    loss = means.new_zeros(())
    for k in range(count - 1):
        gaps = scores[k] - scores[k + 1 :]
        logits = torch.cat([(means[k] * gaps.max())[None], means[k + 1 :] * gaps])
        loss = loss - functional.log_softmax(logits, dim=0)[0]
    return loss - 0.05 * (count - 1) ** 2 * means[0]


def rrhf(means: Tensor, scores: Tensor) -> Tensor:
    """Loss of a list sorted from the best on: worse answers more likely than better ones, and the best's likelihood.

    means: (K,) mean log-probability of a token of each response. Source: Yuan et al. 2023, arXiv 2304.05302, Eq. 2-4.
    """
    better, worse = torch.triu_indices(len(means), len(means), offset=1)
    return functional.relu(means[worse] - means[better]).sum() - means[0]
