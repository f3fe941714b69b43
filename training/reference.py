"""Log-probabilities under the frozen reference, computed once and kept on disk.

The reference is the model as it came, so they are computed before the first step, with prompts shared, and each response's
sum is kept under a hash of its tokens. A file belongs to one set of weights: another's is never read.
"""

import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import nn

from trimtab.training.data.batch import Batch, collate
from trimtab.training.data.examples import Branch, Example
from trimtab.training.errors import OutputError
from trimtab.training.networks import Policy

logger = logging.getLogger(__name__)
VERSION = b"trimtab-reference-1"
ROW_TOKENS = 4096
"""Tokens computed together."""
Progress = Callable[[int, int], None]
"""Told how many examples are done, and of how many."""


@dataclass(slots=True)
class ReferenceLogps:
    """Summed log-probabilities by response."""

    values: dict[bytes, float]

    def attach(self, batch: Batch) -> Batch:
        """The batch with its reference. Raises KeyError where a response was never computed."""
        found = [self.values[key(example, branch)] for example in batch.examples for branch in example.branches]
        return replace(batch, reference=torch.tensor(found, dtype=torch.float32))


def key(example: Example, branch: Branch) -> bytes:
    """The hash of a response: its tokens, its prompt's and its weights."""
    digest = hashlib.blake2b(VERSION, digest_size=16)
    digest.update(np.asarray(example.prompt, np.int64).tobytes())
    digest.update(b"|")
    digest.update(np.asarray(branch.ids, np.int64).tobytes())
    if branch.weights is not None:
        digest.update(np.asarray(branch.weights, np.float64).tobytes())
    return digest.digest()


def fingerprint(module: nn.Module, dtype: torch.dtype = torch.float32) -> str:
    """The hash of a model's weights, a fresh adapter's left out, and of the dtype they are computed in.

    It is the same with an adapter and without: both have one reference.
    """
    digest = hashlib.blake2b(VERSION + str(dtype).encode(), digest_size=16)
    for name, tensor in module.state_dict().items():
        if ".lora_" in name:
            continue
        own = name.replace("base_model.model.", "", 1).replace(".base_layer.", ".")
        digest.update(f"{own}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def reference_logps(
    policy: Policy,
    examples: Sequence[Example],
    folder: Path,
    *,
    dtype: torch.dtype = torch.float32,
    share_prompts: bool = True,
    recompute: bool = False,
    progress: Progress | None = None,
) -> ReferenceLogps:
    """The sums of all responses of some examples, from the cache where they stand there.

    folder: where caches lie, one file a model and dtype. dtype: of the computation, the one that trains. Raises OutputError
    where the file cannot be written or is no such file.
    """
    file = folder / f"{fingerprint(policy, dtype)}.npz"
    known = {} if recompute else _read(file)
    missing = [example for example in examples if any(key(example, b) not in known for b in example.branches)]
    if missing:
        device = next(policy.parameters()).device
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            known |= _computed(policy, missing, share_prompts, progress)
        _write(file, known)
    logger.info("reference: %d responses computed, %d examples from the cache", len(missing), len(examples) - len(missing))
    return ReferenceLogps(known)


@torch.no_grad()
def _computed(
    policy: Policy, examples: Sequence[Example], share_prompts: bool, progress: Progress | None
) -> dict[bytes, float]:
    device = next(policy.parameters()).device
    training = policy.training
    policy.eval()
    found: dict[bytes, float] = {}
    done = 0
    for part in _parts(examples):
        logps = policy(collate(part, share_prompts=share_prompts).to(device)).logps
        keys = (key(example, branch) for example in part for branch in example.branches)
        found |= dict(zip(keys, logps.tolist(), strict=True))
        done += len(part)
        if progress is not None:
            progress(done, len(examples))
    policy.train(training)
    return found


def _parts(examples: Sequence[Example]) -> Iterator[list[Example]]:
    """Examples of about `ROW_TOKENS` tokens together."""
    part: list[Example] = []
    size = 0
    for example in examples:
        if part and size + example.tokens > ROW_TOKENS:
            yield part
            part, size = [], 0
        part.append(example)
        size += example.tokens
    if part:
        yield part


def _read(file: Path) -> dict[bytes, float]:
    if not file.is_file():
        return {}
    try:
        with file.open("rb") as handle, np.load(handle, allow_pickle=False) as stored:
            keys, values = stored["keys"], stored["values"]
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise OutputError(
            f"the reference cache {str(file)!r} cannot be read ({error}); --recompute-reference makes it anew"
        ) from error
    return {row.tobytes(): float(value) for row, value in zip(keys, values, strict=True)}


def _write(file: Path, values: dict[bytes, float]) -> None:
    draft = file.with_suffix(f".{os.getpid()}.draft.npz")
    keys = np.frombuffer(b"".join(values), np.uint8).reshape(-1, 16)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(draft, keys=keys, values=np.fromiter(values.values(), np.float32))
        draft.replace(file)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise OutputError(f"the reference cache cannot be written to {str(file)!r}: {error}") from error
