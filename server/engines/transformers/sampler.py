"""Logits to choices, all rows at once. Greedy rows cost one argmax; what a row does not use is not computed.

Order of operations: logit bias, allowed ids, ids barred by min_tokens, penalties, temperature, min_p, top_k, top_p (over what
min_p and top_k left). Log-probabilities are of the raw logits.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from trimtab.server.engines.transformers.row import Choice, Row
from trimtab.server.engines.transformers.truncation import draw, draw_truncated


@dataclass(slots=True)
class Edits:
    """What a row changes in its logits; tensors of (vocabulary,) on the model's device."""

    bias: torch.Tensor | None
    """Added once: logit bias, and -inf where an id is not allowed."""
    barred: torch.Tensor | None
    """Ids that may not be chosen before min_tokens."""
    seen: torch.Tensor | None
    """Whether prompt or output hold the id; None without a repetition penalty."""
    counts: torch.Tensor | None
    """How often the output holds the id; None without presence and frequency penalties."""
    counted: int = 0
    """Output tokens that `seen` and `counts` know."""


def choose(logits: torch.Tensor, rows: Sequence[Row]) -> list[Choice]:
    """One choice a row from raw logits (rows, vocabulary)."""
    if all(_plain(row) for row in rows):
        return [Choice(token_id) for token_id in logits.float().argmax(-1).tolist()]
    edited = _edited(logits, rows)
    tokens = edited.argmax(-1).tolist()
    _draw_into(tokens, edited, rows)
    return _with_logprobs(tokens, logits, rows)


def _plain(row: Row) -> bool:
    sampling = row.sampling
    return (
        sampling.greedy
        and not sampling.wants_logprobs
        and not sampling.penalized
        and not sampling.logit_bias
        and not sampling.allowed_token_ids
        and len(row.output) >= sampling.min_tokens
    )


def _edited(logits: torch.Tensor, rows: Sequence[Row]) -> torch.Tensor:
    """Float32 logits with each row's edits; a copy where there are any."""
    edits = [(index, edit) for index, row in enumerate(rows) if (edit := _edits_of(row, logits)) is not None]
    edited = logits.to(torch.float32, copy=bool(edits))
    for index, edit in edits:
        _apply(edited[index], edit, rows[index])
    return edited


def _edits_of(row: Row, logits: torch.Tensor) -> Edits | None:
    """The row's edits, built at its first token."""
    sampling = row.sampling
    if not (sampling.penalized or sampling.logit_bias or sampling.allowed_token_ids or sampling.min_tokens):
        return None
    if isinstance(row.state, Edits):
        return row.state
    size, device = logits.shape[-1], logits.device
    bias = barred = seen = counts = None
    if sampling.allowed_token_ids:
        bias = torch.full((size,), -torch.inf, device=device)
        bias[list(sampling.allowed_token_ids)] = 0.0
    if sampling.logit_bias:
        bias = torch.zeros(size, device=device) if bias is None else bias
        ids, values = zip(*sampling.logit_bias, strict=True)
        bias[list(ids)] += torch.tensor(values, device=device)
    if sampling.min_tokens and sampling.end_ids:
        barred = torch.tensor(sorted(sampling.end_ids), device=device)
    if sampling.repetition_penalty != 1.0:
        seen = torch.zeros(size, dtype=torch.bool, device=device)
        seen[list(row.job.prompt)] = True
    if sampling.presence_penalty or sampling.frequency_penalty:
        counts = torch.zeros(size, device=device)
    row.state = edits = Edits(bias, barred, seen, counts)
    return edits


def _apply(logits: torch.Tensor, edits: Edits, row: Row) -> None:
    """Edits one row's logits (vocabulary,) in place."""
    sampling = row.sampling
    if edits.bias is not None:
        logits += edits.bias
    if edits.barred is not None and len(row.output) < sampling.min_tokens:
        logits[edits.barred] = -torch.inf
    for token_id in row.output[edits.counted :]:
        if edits.seen is not None:
            edits.seen[token_id] = True
        if edits.counts is not None:
            edits.counts[token_id] += 1
    edits.counted = len(row.output)
    if edits.seen is not None:
        penalty = sampling.repetition_penalty
        logits.copy_(torch.where(edits.seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits))
    if edits.counts is not None:
        logits -= sampling.frequency_penalty * edits.counts + sampling.presence_penalty * (edits.counts > 0)


def _draw_into(tokens: list[int], logits: torch.Tensor, rows: Sequence[Row]) -> None:
    """Replaces the choices of rows that sample."""
    whole = [i for i, row in enumerate(rows) if row.uniforms is not None and not _truncated(row)]
    cut = [i for i, row in enumerate(rows) if row.uniforms is not None and _truncated(row)]
    for indices, truncated in ((whole, False), (cut, True)):
        if not indices:
            continue
        chosen = [rows[i] for i in indices]
        some = logits if len(indices) == len(rows) else logits[indices]
        scores = some / _column([row.sampling.temperature for row in chosen], some)
        uniform = torch.tensor([[row.uniforms.draw()] for row in chosen if row.uniforms], dtype=torch.float64)
        uniform = uniform.to(some.device)
        drawn = (
            draw_truncated(
                scores,
                uniform,
                top_k=_column([row.sampling.top_k or some.shape[-1] for row in chosen], some),
                top_p=_column([row.sampling.top_p for row in chosen], some),
                min_p=_column([row.sampling.min_p for row in chosen], some),
            )
            if truncated
            else draw(scores, uniform)
        )
        for index, token_id in zip(indices, drawn.tolist(), strict=True):
            tokens[index] = token_id


def _truncated(row: Row) -> bool:
    sampling = row.sampling
    return sampling.top_p < 1.0 or sampling.top_k > 0 or sampling.min_p > 0.0


def _column(values: Sequence[float], like: torch.Tensor) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32, device=like.device).unsqueeze(1)


def _with_logprobs(tokens: list[int], logits: torch.Tensor, rows: Sequence[Row]) -> list[Choice]:
    """The choices, with raw log-probabilities where a row wants them."""
    choices = [Choice(token_id) for token_id in tokens]
    wanting = [i for i, row in enumerate(rows) if row.sampling.wants_logprobs]
    if not wanting:
        return choices
    logprobs = logits[wanting].float().log_softmax(-1)
    most = max(rows[i].sampling.logprobs or 0 for i in wanting)
    best = logprobs.topk(most) if most else None
    best_values, best_ids = (best.values.tolist(), best.indices.tolist()) if best else ([], [])
    for place, index in enumerate(wanting):
        sampling = rows[index].sampling
        asked = [tokens[index], *sampling.logprob_token_ids]
        values = logprobs[place, asked].tolist()
        top = dict(zip(sampling.logprob_token_ids, values[1:], strict=True))
        if sampling.logprobs:
            best_of_row = zip(best_ids[place][: sampling.logprobs], best_values[place][: sampling.logprobs], strict=True)
            top = {**dict(best_of_row), **top}
        choices[index] = Choice(tokens[index], values[0], top)
    return choices
