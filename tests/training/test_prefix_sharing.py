"""A prompt read once for all its answers gives what separate rows give: log-probabilities, scalars and gradients."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from tests.training.tiny import random_example
from trimtab.training.attention import NAME
from trimtab.training.data.batch import LEAST_PREFIX, collate
from trimtab.training.data.examples import Branch, Example
from trimtab.training.models import fits
from trimtab.training.networks import Policy, Scorer


def drawn(seed: int, sizes: list[tuple[int, ...]], *, prompt: int = 7) -> list[Example]:
    generator = torch.Generator().manual_seed(seed)
    return [random_example(generator, branches, prompt=prompt) for branches in sizes]


def behind(prefix: int, examples: list[Example]) -> list[Example]:
    """The same with one start in common, such as a system prompt."""
    start = tuple(torch.randint(3, 200, (prefix,), generator=torch.Generator().manual_seed(99)).tolist())
    return [replace(example, prompt=start + example.prompt) for example in examples]


def policy(path: Path, attention: str = NAME) -> Policy:
    return Policy(AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation=attention))


def by_hand(path: Path, examples: list[Example]) -> Tensor:
    """Sums of log-probabilities from the model's own logits, a row a response."""
    network = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager")
    found = []
    for example in examples:
        for branch in example.branches:
            logprobs = network(torch.tensor([[*example.prompt, *branch.ids]])).logits[0].log_softmax(-1)
            start = len(example.prompt) - 1
            picked = logprobs[start:-1].gather(-1, torch.tensor(branch.ids)[:, None])[:, 0]
            found.append((picked * torch.tensor(branch.weights or (1.0,) * len(branch.ids))).sum())
    return torch.stack(found)


SHAPES = [[(5,)], [(4, 6)], [(3, 1, 8)], [(2, 2, 2, 2, 2), (9,)], [(4, 6), (1, 1), (7, 3)]]


@pytest.mark.parametrize("sizes", SHAPES)
@pytest.mark.parametrize("prompt", [1, 7])
@pytest.mark.parametrize("share", [True, False])
def test_log_probabilities(llama: Path, sizes: list[tuple[int, ...]], prompt: int, share: bool) -> None:
    examples = drawn(3, sizes, prompt=prompt)
    found = policy(llama)(collate(examples, share_prompts=share)).logps
    torch.testing.assert_close(found, by_hand(llama, examples), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("sizes", SHAPES)
@pytest.mark.parametrize("prompt", [1, 7])
@pytest.mark.parametrize("dense", [0, 512 * 512])
def test_log_probabilities_behind_a_prefix(
    llama: Path, sizes: list[tuple[int, ...]], prompt: int, dense: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small trees whole, and large ones in blocks."""
    monkeypatch.setattr("trimtab.training.attention.DENSE_WEIGHTS", dense)
    examples = behind(LEAST_PREFIX + 3, drawn(3, sizes, prompt=prompt))
    batch = collate(examples)
    assert batch.prefix == (LEAST_PREFIX + 3 if len(sizes) > 1 else 0)
    assert len(batch.ids) == sum(example.tokens for example in examples) - batch.prefix * (len(sizes) - 1)
    torch.testing.assert_close(policy(llama)(batch).logps, by_hand(llama, examples), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("prompts", "prefix"),
    [
        ([20], 0),
        ([20, 20, 20], 19),  # the last token of a prompt predicts its branches' first, so it stays with them
        ([20, 12, 31], 11),
        ([20, LEAST_PREFIX + 1], LEAST_PREFIX),
        ([20, LEAST_PREFIX], 0),
        ([20, 20, 1], 0),
    ],
)
def test_the_prefix_leaves_each_prompt_its_last_token(prompts: list[int], prefix: int) -> None:
    examples = [Example(tuple(range(size)), (Branch((1, 2)),)) for size in prompts]
    batch = collate(examples)
    assert batch.prefix == prefix
    assert [tree.prompt for tree in batch.trees] == [size - prefix for size in prompts]
    assert collate(examples, share_prompts=False).prefix == 0


def test_one_prompt_that_differs_early_ends_the_prefix() -> None:
    prompts = [(1,) * 30, (1,) * 10 + (2,) * 20, (1,) * 12 + (0,) * 3]
    assert collate([Example(prompt, (Branch((5,)),)) for prompt in prompts]).prefix == 10


@pytest.mark.parametrize("prefix", [0, LEAST_PREFIX])
@pytest.mark.parametrize("prompt", [2, 12])
def test_sliding_windows_and_capped_logits(gemma: Path, prompt: int, prefix: int) -> None:
    """The window is 6 tokens: trees longer than it need the window's own mask."""
    examples = behind(prefix, drawn(5, [(4, 9), (1, 2, 3), (11,)], prompt=prompt))
    assert fits(policy(gemma).network)
    found = policy(gemma)(collate(examples)).logps
    torch.testing.assert_close(found, by_hand(gemma, examples), rtol=1e-5, atol=1e-4)


def test_padded_rows_for_attention_of_its_own(gemma: Path, llama: Path) -> None:
    examples = drawn(6, [(4, 9), (2, 3)])
    for path in (gemma, llama):
        found = policy(path, "eager")(collate(examples, share_prompts=False)).logps
        torch.testing.assert_close(found, by_hand(path, examples), rtol=1e-5, atol=1e-4)


def test_padded_rows_hold_no_prefix(llama: Path) -> None:
    batch = collate(behind(LEAST_PREFIX, drawn(6, [(4,), (2,)])))
    with pytest.raises(TypeError, match="share_prompts=False"):
        policy(llama, "eager")(batch)


@pytest.mark.parametrize("prefix", [0, LEAST_PREFIX])
def test_gradients(llama: Path, prefix: int) -> None:
    """Sharing adds up at the prompt what the branches say, also at its last token, which predicts each branch's first."""
    examples = behind(prefix, drawn(8, [(4, 6, 2), (3, 5, 1)]))
    shared, apart = policy(llama), policy(llama)
    for module, share in ((shared, True), (apart, False)):
        logps = module(collate(examples, share_prompts=share)).logps
        (logps * torch.linspace(-1, 2, 6)).sum().backward()
    for (name, own), other in zip(shared.named_parameters(), apart.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad, rtol=1e-4, atol=1e-5, msg=name)


def test_checkpointing_behind_a_prefix(llama: Path) -> None:
    examples = behind(LEAST_PREFIX, drawn(8, [(4, 6, 2), (3, 5, 1)]))
    plain, again = policy(llama), policy(llama)
    again.network.gradient_checkpointing_enable({"use_reentrant": False})
    for module in (plain, again):
        module.train()
        module(collate(examples)).logps.sum().backward()
    for own, other in zip(plain.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad, rtol=1e-5, atol=1e-6)


def test_branches_are_blind_to_each_other(llama: Path) -> None:
    (example,) = drawn(9, [(4, 6)])
    other = replace(example, branches=(example.branches[0], replace(example.branches[1], ids=(9, 9))))
    module = policy(llama)
    first, second = module(collate([example])).logps, module(collate([other])).logps
    assert first[0].item() == pytest.approx(second[0].item(), abs=1e-5)
    assert first[1].item() != pytest.approx(second[1].item(), abs=1e-2)


def test_order_in_the_batch_does_not_matter(llama: Path) -> None:
    examples = drawn(10, [(4, 6), (2, 2), (9, 1)])
    module = policy(llama)
    forward = module(collate(examples)).logps.view(3, 2)
    backward = module(collate(examples[::-1])).logps.view(3, 2)
    torch.testing.assert_close(forward, backward.flip(0), rtol=1e-5, atol=1e-4)


def test_weights_choose_and_scale_tokens(llama: Path) -> None:
    (example,) = drawn(11, [(4,)])
    weighed = replace(example, branches=(replace(example.branches[0], weights=(0.0, 1.0, 0.5, 0.0)),))
    batch = collate([weighed])
    readout = policy(llama)(batch)
    assert batch.lengths.tolist() == [1.5]
    assert len(readout.logprobs) == 2
    torch.testing.assert_close(readout.logps, by_hand(llama, [weighed]), rtol=1e-5, atol=1e-4)


def test_scalars_are_read_at_the_last_token_whatever_the_padding_id(llama: Path) -> None:
    """The tokenizer pads with its end token, which is also each answer's last."""
    torch.manual_seed(0)
    network = AutoModelForSequenceClassification.from_pretrained(
        llama, num_labels=1, dtype=torch.float32, attn_implementation=NAME
    )
    examples = [
        replace(e, branches=tuple(replace(b, ids=(*b.ids, 2)) for b in e.branches)) for e in drawn(12, [(4, 6), (2, 3)])
    ]
    found = Scorer(network)(collate(examples)).rewards
    network.set_attn_implementation("eager")
    network.config.pad_token_id = 0
    rows = [torch.tensor([[*e.prompt, *b.ids]]) for e in examples for b in e.branches]
    expected = torch.cat([network(row).logits[0] for row in rows])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_model_of_trees_is_not_called_without_them(llama: Path) -> None:
    with pytest.raises(TypeError, match="trees="):
        policy(llama).network(torch.tensor([[1, 2, 3]]))


def test_a_network_of_other_attention_does_not_fit(llama: Path) -> None:
    assert not fits(policy(llama, "sdpa").network)
