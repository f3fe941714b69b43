"""Every public loss: its closed form, its gradient, its dtype, and that it leaves its inputs alone."""

import pytest
import torch
from torch.testing import assert_close

from tests.training.losses.cases import CASES, Case
from trimtab.training import losses

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
TYPES = {"PairLogps", "PairLengths"}


def test_every_public_loss_has_a_case() -> None:
    assert {case.name for case in CASES} == set(losses.__all__) - TYPES


@each_case
def test_closed_form(case: Case) -> None:
    assert_close(case.call(*case.inputs), case.expected, rtol=0, atol=case.digits)


@each_case
def test_gradient_is_that_of_finite_differences(case: Case) -> None:
    inputs = tuple(x.clone().requires_grad_() for x in case.inputs)
    if case.constant:
        assert not case.call(*inputs).requires_grad
    else:
        assert torch.autograd.gradcheck(case.call, inputs)


@each_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_shorter_dtype_is_kept_and_close(case: Case, dtype: torch.dtype) -> None:
    # bfloat16 has 8 bits: a logarithm of 28 carries an error of 28/256, ratios of small differences more
    loose = {torch.float32: 1e-4, torch.bfloat16: 0.25}[dtype]
    result = case.call(*(x.to(dtype) for x in case.inputs))
    assert result.dtype == dtype
    assert_close(result.double(), case.expected, rtol=loose, atol=loose)


@each_case
def test_inputs_are_not_edited(case: Case) -> None:
    before = [x.clone() for x in case.inputs]
    case.call(*case.inputs)
    assert all(torch.equal(x, y) for x, y in zip(case.inputs, before, strict=True))
