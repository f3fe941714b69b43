"""The gradient of a weight that is embedding and head: what autograd makes of both uses."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from tests.training.tiny import random_example, write_llama
from trimtab.training.attention import NAME
from trimtab.training.data.batch import Batch, collate
from trimtab.training.data.examples import Branch, Example
from trimtab.training.networks import Policy
from trimtab.training.online.actor import Actor
from trimtab.training.tied import looked_up

PADDING = 2
"""The id whose embedding gets no gradient."""


def network(path: Path, attention: str = NAME) -> Any:
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation=attention)


def batch(seed: int = 4, *, share: bool = True) -> Batch:
    """Ids that come more than once, and the padding's among them and among what is predicted."""
    example = random_example(torch.Generator().manual_seed(seed), (4, 6))
    prompt = (PADDING, 5, 5, *example.prompt, PADDING)
    return collate([Example(prompt, (*example.branches, Branch((5, 7, PADDING))))], share_prompts=share)


def gradients(module: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.grad for name, parameter in module.named_parameters() if parameter.grad is not None}


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-5, atol=1e-6, msg=name)


def loss(module: Any, batch: Batch) -> Tensor:
    return (module(batch).logps * torch.linspace(-1, 2, batch.responses)).sum()


def test_it_is_what_the_model_itself_gives(llama: Path) -> None:
    ours, plain, one = network(llama), network(llama, "eager"), batch()
    assert ours.get_input_embeddings().padding_idx == PADDING
    loss(Policy(ours), one).backward()
    (example,) = one.examples
    for weight, branch in zip(torch.linspace(-1, 2, one.responses), example.branches, strict=True):
        logprobs = plain(torch.tensor([[*example.prompt, *branch.ids]])).logits[0].log_softmax(-1)
        picked = logprobs[len(example.prompt) - 1 : -1].gather(-1, torch.tensor(branch.ids)[:, None])
        (weight * picked.sum()).backward()
    assert_equal(gradients(ours), gradients(plain))


def test_passes_add_up(llama: Path) -> None:
    """Also two passes of one graph, and a pass whose gradient nobody asked the embedding for in between."""
    ours, apart = network(llama), network(llama)
    for one in (batch(4), batch(5)):
        kept = loss(Policy(ours), one)
        kept.backward(retain_graph=True)
        torch.autograd.grad(kept, ours.model.norm.weight, retain_graph=True)
        kept.backward()
    for one in (batch(4), batch(5)):
        (2 * loss(Policy(apart), one)).backward()
    assert_equal(gradients(ours), gradients(apart))


@pytest.mark.parametrize("share", [True, False])
def test_entropies_use_the_head_too(llama: Path, share: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def trained() -> dict[str, Tensor]:
        actor = Actor(Policy(network(llama)), temperature=0.7, entropy=True)
        read = actor(batch(share=share))
        (read.logps.sum() + 0.3 * read.entropy.sum()).backward()
        return gradients(actor)

    found = trained()
    monkeypatch.setattr("trimtab.training.networks.looked_up", lambda base, ids: None)
    assert_equal(found, trained())


def test_a_network_of_padded_rows_trains_its_embedding(llama: Path) -> None:
    ours, padded = network(llama), network(llama, "eager")
    loss(Policy(ours), batch()).backward()
    loss(Policy(padded), batch(share=False)).backward()
    assert_equal(gradients(ours), gradients(padded))


def test_an_embedding_alone_gets_its_rows(llama: Path) -> None:
    """Where the head is not read, no gradient waits for it."""
    ours = network(llama)
    embedded, _ = looked_up(ours, torch.tensor([5, PADDING, 5, 9]))
    embedded.sum().backward()
    counted = ours.get_input_embeddings().weight.grad.sum(-1) / ours.config.hidden_size
    assert {place: counted[place].item() for place in counted.nonzero().flatten().tolist()} == {5: 2.0, 9: 1.0}


def test_where_autograd_does_it_all(llama: Path, gemma: Path, tmp_path: Path) -> None:
    ids = torch.tensor([4, 5])
    assert looked_up(network(llama), ids) is not None
    with torch.no_grad():
        assert looked_up(network(llama), ids) is None
    assert looked_up(network(llama).requires_grad_(False), ids) is None
    assert looked_up(network(write_llama(tmp_path / "untied", tied=False)), ids) is None
    assert looked_up(network(gemma), ids) is None  # its embedding is not a plain one
    hooked = network(llama)
    hooked.enable_input_require_grads()
    assert looked_up(hooked, ids) is None
