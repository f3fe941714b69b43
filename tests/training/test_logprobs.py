"""Log-probabilities in slices equal those of whole logits, with their gradients."""

import pytest
import torch
from torch import Tensor

from trimtab.training.logprobs import LogitForm, slice_tokens, sums, token_logprobs

FORMS = [LogitForm(), LogitForm(scale=0.5), LogitForm(cap=3.0), LogitForm(scale=2.0, cap=4.0, temperature=0.7)]


def whole(hidden: Tensor, head: Tensor, targets: Tensor, bias: Tensor | None, form: LogitForm) -> Tensor:
    logits = hidden @ head.t()
    logits = (logits if bias is None else logits + bias) * form.scale
    if form.cap is not None:
        logits = form.cap * torch.tanh(logits / form.cap)
    return (logits / form.temperature).log_softmax(-1).gather(-1, targets[:, None])[:, 0]


def drawn(tokens: int, *, frozen: bool = False) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(tokens)
    hidden = torch.randn(tokens, 6, generator=generator).requires_grad_()
    head = torch.randn(11, 6, generator=generator).requires_grad_(not frozen)
    bias = torch.randn(11, generator=generator).requires_grad_(not frozen)
    return hidden, head, torch.randint(0, 11, (tokens,), generator=generator), bias


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("chunk", [1, 3, 5, 64])
@pytest.mark.parametrize("frozen", [False, True])
def test_equals_whole_logits(form: LogitForm, chunk: int, frozen: bool) -> None:
    hidden, head, targets, bias = drawn(7, frozen=frozen)
    weights = torch.linspace(-1, 2, 7)
    found = token_logprobs(hidden, head, targets, bias=bias, form=form, chunk=chunk)
    expected = whole(hidden, head, targets, bias, form)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    leaves = [hidden] if frozen else [hidden, head, bias]
    ours = torch.autograd.grad((found * weights).sum(), leaves)
    theirs = torch.autograd.grad((expected * weights).sum(), leaves)
    for own, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("frozen", [False, True])
def test_no_token_gives_no_value(frozen: bool) -> None:
    hidden, head, targets, _ = drawn(0, frozen=frozen)
    found = token_logprobs(hidden, head, targets)
    assert found.shape == (0,)
    (gradient,) = torch.autograd.grad(found.sum(), [hidden])
    assert gradient.shape == (0, 6)


def test_bfloat16_products_are_normalised_in_float32() -> None:
    hidden, head, targets, _ = drawn(9)
    low = token_logprobs(hidden.bfloat16(), head.bfloat16(), targets)
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, token_logprobs(hidden, head, targets), rtol=0.05, atol=0.1)


def test_mixed_dtypes_follow_the_hidden_states() -> None:
    """As under autocast: bfloat16 hidden states, a float32 head; the head's gradient is float32."""
    hidden, head, targets, _ = drawn(5)
    found = token_logprobs(hidden.bfloat16(), head, targets, chunk=2)
    of_hidden, of_head = torch.autograd.grad(found.sum(), [hidden, head])
    assert of_hidden.dtype == of_head.dtype == torch.float32


def test_a_slice_is_bounded_by_memory() -> None:
    assert slice_tokens(49152) * 49152 * 4 <= 64 * 2**20
    assert slice_tokens(10**9) == 16


def test_sums_by_response() -> None:
    found = sums(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([0, 2, 2]), 3)
    assert found.tolist() == [1.0, 0.0, 6.0]
