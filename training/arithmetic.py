"""The faster of the CPU's two float32 matrix products, where it is one.

Through oneDNN a product takes about half the time it takes by default on CPUs whose default library does not know them. torch
offers it under the precision name bf16: on CPUs without AMX it computes in float32 all the same, on others it does not. So it
is tried first, on numbers that bfloat16 cannot hold.
"""

import logging

import torch

logger = logging.getLogger(__name__)
FLOAT32_ERROR = 1e-5
"""Largest relative error of a product of 256 terms in float32; bfloat16 errs by about 1e-3."""


def use_fast_float32() -> bool:
    """Switch this process to oneDNN's float32 products if they are float32; whether they are."""
    if not torch.backends.mkldnn.is_available():
        return False
    before = torch.backends.mkldnn.matmul.fp32_precision
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    if _is_float32():
        return True
    torch.backends.mkldnn.matmul.fp32_precision = before
    logger.info("matrix products stay with torch's default: this CPU's faster ones are not float32")
    return False


def _is_float32() -> bool:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.rand(256, 256, generator=generator) + 0.5 for _ in range(2))
    exact = a.double() @ b.double()
    return float(((a @ b).double() - exact).abs().max() / exact.abs().max()) < FLOAT32_ERROR
