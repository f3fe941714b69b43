"""The reference cache: what it holds is what the model says, and it is another model's never."""

from pathlib import Path

import pytest
import torch

from tests.training.tiny import random_example
from trimtab.training.data.batch import collate
from trimtab.training.errors import OutputError
from trimtab.training.models import LoraSettings, load
from trimtab.training.networks import Policy, without_adapter
from trimtab.training.reference import fingerprint, reference_logps


def policy(path: Path) -> Policy:
    module = load(str(path), "language").module
    assert isinstance(module, Policy)
    return module


GENERATOR = torch.Generator().manual_seed(4)
EXAMPLES = [random_example(GENERATOR, (3, 5)) for _ in range(4)]


def test_cached_equals_live(llama: Path, tmp_path: Path) -> None:
    module = policy(llama)
    batch = reference_logps(module, EXAMPLES, tmp_path).attach(collate(EXAMPLES))
    with torch.no_grad():
        torch.testing.assert_close(batch.reference, module(batch).logps, rtol=1e-6, atol=1e-5)


def test_a_second_run_reads_what_the_first_wrote(llama: Path, tmp_path: Path) -> None:
    module, computed = policy(llama), list[int]()
    reference_logps(module, EXAMPLES[:2], tmp_path, progress=lambda done, of: computed.append(of))
    reference_logps(module, EXAMPLES, tmp_path, progress=lambda done, of: computed.append(of))
    again = reference_logps(module, EXAMPLES, tmp_path, progress=lambda done, of: computed.append(of))
    assert computed == [2, 2]
    assert len(again.values) == 8
    reference_logps(module, EXAMPLES, tmp_path, recompute=True, progress=lambda done, of: computed.append(of))
    assert computed == [2, 2, 4]


def test_other_weights_have_another_file(llama: Path, tmp_path: Path) -> None:
    first, second = policy(llama), policy(llama)
    with torch.no_grad():
        next(second.parameters()).view(-1)[0] += 1e-3
    assert fingerprint(first) != fingerprint(second)
    assert fingerprint(first) == fingerprint(policy(llama))
    reference_logps(first, EXAMPLES, tmp_path)
    other = reference_logps(second, EXAMPLES, tmp_path)
    with torch.no_grad():
        expected = second(collate(EXAMPLES)).logps
    torch.testing.assert_close(other.attach(collate(EXAMPLES)).reference, expected, rtol=1e-6, atol=1e-5)
    assert len(list(tmp_path.glob("*.npz"))) == 2


@pytest.mark.parametrize("broken", [b"no such thing", b"PK\x03\x04 cut off"])
def test_a_broken_file_is_named(broken: bytes, llama: Path, tmp_path: Path) -> None:
    module = policy(llama)
    file = tmp_path / f"{fingerprint(module)}.npz"
    file.write_bytes(broken)
    with pytest.raises(OutputError, match="--recompute-reference"):
        reference_logps(module, EXAMPLES, tmp_path)


def test_the_adapter_switched_off_is_the_base(llama: Path) -> None:
    """Bit for bit, whatever the adapter holds."""
    base = policy(llama)
    network = load(str(llama), "language", lora=LoraSettings(r=4)).network
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            if "lora_B" in name:
                tensor.normal_(generator=GENERATOR)
    batch = collate(EXAMPLES)
    with torch.no_grad():
        adapted = Policy(network)(batch).logps
        with without_adapter(network):
            off = Policy(network)(batch).logps
        expected = base(batch).logps
    assert torch.equal(off, expected)
    assert not torch.allclose(adapted, expected, atol=1e-2)


def test_a_run_with_an_adapter_reads_what_a_run_without_wrote(llama: Path, tmp_path: Path) -> None:
    adapted = load(str(llama), "language", lora=LoraSettings(r=4)).module
    assert isinstance(adapted, Policy)
    assert fingerprint(adapted) == fingerprint(policy(llama))
    computed = list[int]()
    for module in (policy(llama), adapted):
        reference_logps(module, EXAMPLES, tmp_path, progress=lambda done, of: computed.append(of))
    assert computed == [4]
