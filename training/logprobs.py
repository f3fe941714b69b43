"""Log-probabilities of chosen tokens from hidden states, the head read in slices: the logits of a batch never stand whole.

It is handed places and targets (`trimtab.training.data.batch` shifts); it knows no losses.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from trimtab.training.tied import TiedGradient

LOGIT_BYTES = 64 * 2**20
"""Size of one slice of logits in float32."""
CACHE_BYTES = 2 * 2**20
"""Logits that are worked on together on a CPU."""
KEPT_BYTES = 256 * 2**20
"""Logits up to this size are kept for the backward pass; larger ones are computed again."""


class LogitForm(NamedTuple):
    """What a model does to the product of its head: scale, then cap (cap tanh(z / cap)), then a sampling temperature."""

    scale: float = 1.0
    cap: float | None = None
    temperature: float = 1.0


PLAIN = LogitForm()


def slice_tokens(vocabulary: int) -> int:
    """Tokens whose logits are computed together."""
    return max(16, LOGIT_BYTES // (4 * vocabulary))


def token_logprobs(
    hidden: Tensor,
    head: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    form: LogitForm = PLAIN,
    chunk: int = 0,
    tied: TiedGradient | None = None,
) -> Tensor:
    """The log-probability of each target, (N,) float32, in nats.

    hidden: (N, H), any float dtype. head: (V, H). targets: (N,) int64. bias: (V,). chunk: tokens a slice, 0 = by memory.
    tied: where the head's gradient is left, for the embedding that has the same weight; None: it is the head's.
    Logits are normalised in float32 whatever the dtype of the product. Few logits are kept for the backward pass; many are
    computed again a slice at a time: four head products in place of three, and no memory beyond a slice. With a frozen head
    the gradient of the hidden states is made in the forward pass: two products in all.
    """
    chunk = chunk or slice_tokens(head.shape[0])
    frozen = not head.requires_grad and (bias is None or not bias.requires_grad)
    keeps = torch.is_grad_enabled() and 4 * len(hidden) * len(head) <= KEPT_BYTES
    result: Tensor
    with torch.autocast(hidden.device.type, enabled=False):  # the head's dtype follows the hidden states, forward and backward
        if frozen and hidden.requires_grad and torch.is_grad_enabled():
            result = _FrozenHead.apply(hidden, head, targets, bias, form, chunk)
        else:
            result = _TrainedHead.apply(hidden, head, targets, bias, form, chunk, keeps, tied)
    return result


def _logits(hidden: Tensor, head: Tensor, bias: Tensor | None, form: LogitForm) -> Tensor:
    """(n, V) float32, a fresh tensor."""
    logits = torch.mm(hidden, head.t()).float()
    if bias is not None:
        logits.add_(bias.float())
    if form.scale != 1.0:
        logits.mul_(form.scale)
    if form.cap is not None:
        logits.div_(form.cap).tanh_().mul_(form.cap)
    return logits if form.temperature == 1.0 else logits.div_(form.temperature)


def _rows(logits: Tensor) -> int:
    """Rows of logits that a CPU's cache holds, for one operation after another; elsewhere all."""
    return max(1, CACHE_BYTES // (4 * logits.shape[1]) if logits.device.type == "cpu" else len(logits))


def _pick(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The targets' log-probabilities and the log of the normaliser, each (n,)."""
    normaliser = torch.cat([torch.logsumexp(part, dim=-1) for part in logits.split(_rows(logits))])
    return logits.gather(-1, targets[:, None])[:, 0] - normaliser, normaliser


def _slope(logits: Tensor, targets: Tensor, normalisers: Tensor, gradient: Tensor, form: LogitForm) -> Tensor:
    """Gradient of the head's own product, (n, V): c (one-hot(y) - softmax) through the form; overwrites the logits."""
    rows = _rows(logits)
    parts = zip(*(one.split(rows) for one in (logits, targets, normalisers, gradient)), strict=True)
    for part, target, normaliser, own in parts:
        _slope_of_rows(part, target, normaliser, own, form)
    return logits


def _slope_of_rows(logits: Tensor, targets: Tensor, normalisers: Tensor, gradient: Tensor, form: LogitForm) -> None:
    through = None
    if form.cap is not None:
        through = 1.0 - (logits * (form.temperature / form.cap)).square_()
    slope = logits.sub_(normalisers[:, None]).exp_().mul_(-gradient[:, None])
    slope.scatter_add_(-1, targets[:, None], gradient[:, None].to(slope.dtype))
    if through is not None:
        slope.mul_(through)
    if form.scale != form.temperature:
        slope.mul_(form.scale / form.temperature)


class _TrainedHead(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        head: Tensor,
        targets: Tensor,
        bias: Tensor | None,
        form: LogitForm,
        chunk: int,
        keeps: bool,
        tied: TiedGradient | None,
    ) -> Tensor:
        picked, normalisers, kept, cast = [], [], [], head.to(hidden.dtype)
        for h, y in zip(hidden.split(chunk), targets.split(chunk), strict=True):
            logits = _logits(h, cast, bias, form)
            value, normaliser = _pick(logits, y)
            picked.append(value)
            normalisers.append(normaliser)
            if keeps:
                kept.append(logits)
        empty = hidden.new_zeros(0, dtype=torch.float32)
        ctx.save_for_backward(hidden, head, targets, torch.cat(normalisers) if normalisers else empty, bias)
        ctx.form, ctx.chunk, ctx.kept, ctx.tied = form, chunk, kept, tied
        return torch.cat(picked) if picked else empty

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        hidden, head, targets, normalisers, bias = ctx.saved_tensors
        kept, ctx.kept = ctx.kept, []
        cast = head.to(hidden.dtype)
        of_hidden = torch.empty_like(hidden)
        of_head = _Sum(head, ctx.needs_input_grad[1])
        of_bias = _Sum(bias, ctx.needs_input_grad[3])
        begin = 0
        parts = zip(*(t.split(ctx.chunk) for t in (hidden, targets, normalisers, gradient)), strict=True)
        for place, (h, y, norm, c) in enumerate(parts):
            logits = kept[place] if kept else _logits(h, cast, bias, ctx.form)
            slope = _slope(logits, y, norm, c, ctx.form)
            torch.mm(slope.to(cast.dtype), cast, out=of_hidden[begin : begin + len(y)])
            of_head.add_product(slope.t(), h.float())
            of_bias.add_product(slope.t(), slope.new_ones(len(y), 1))
            begin += len(y)
        total = of_head.total()
        if ctx.tied is not None:
            ctx.tied.hold(total)
            total = None
        return of_hidden, total, None, of_bias.total(), None, None, None, None


class _Sum:
    """A sum of matrix products in float32, as the gradient of a parameter where one is wanted."""

    def __init__(self, parameter: Tensor | None, wanted: bool) -> None:
        self._parameter = parameter if wanted else None
        self._sum: Tensor | None = None

    def add_product(self, left: Tensor, right: Tensor) -> None:
        if self._parameter is not None:
            self._sum = torch.mm(left, right) if self._sum is None else self._sum.addmm_(left, right)

    def total(self) -> Tensor | None:
        """In the parameter's shape and dtype; zeros where nothing was added."""
        if self._parameter is None:
            return None
        if self._sum is None:
            return torch.zeros_like(self._parameter)
        return self._sum.view(self._parameter.shape).to(self._parameter.dtype)


class _FrozenHead(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor, bias: Tensor | None, form: LogitForm, chunk: int
    ) -> Tensor:
        picked, slopes, cast = [], torch.zeros_like(hidden), head.to(hidden.dtype)
        begin = 0
        for h, y in zip(hidden.split(chunk), targets.split(chunk), strict=True):
            logits = _logits(h, cast, bias, form)
            value, normaliser = _pick(logits, y)
            slope = _slope(logits, y, normaliser, torch.ones_like(value), form)
            torch.mm(slope.to(cast.dtype), cast, out=slopes[begin : begin + len(y)])
            picked.append(value)
            begin += len(y)
        ctx.save_for_backward(slopes)
        return torch.cat(picked) if picked else hidden.new_zeros(0, dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (slopes,) = ctx.saved_tensors
        return (slopes * gradient[:, None]).to(slopes.dtype), None, None, None, None, None


def sums(values: Tensor, response: Tensor, responses: int) -> Tensor:
    """The sum of each response's values, (R,) float32.

    values: (N,). response: (N,) int64, the response of each value.
    """
    return values.new_zeros(responses, dtype=torch.float32).index_add(0, response, values.float())
