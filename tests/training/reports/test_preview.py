import pytest
import torch
from transformers import LlamaConfig, LlamaModel

from trimtab.training.errors import DataError
from trimtab.training.lean import keep_less
from trimtab.training.reports.preview import checkpointed_memory_estimate, memory_estimate, render_example, visible

SMALL = {"parameters": 1000, "trainable": 100, "positions": 7, "vocabulary": 50, "hidden": 4, "layers": 3, "intermediate": 6}


def test_the_mask_shows() -> None:
    text = render_example(["Hi", " you", " there", "!"], [1.0, 0.5, 0.0], counted_from=1)
    shown = {text.plain[span.start : span.end]: span.style for span in text.spans}
    assert text.plain.startswith("Hi you there!\n")
    assert "2 of 4 tokens count; their weights sum to 1.5" in text.plain
    assert shown["Hi"] == shown["!"] != shown[" you"]
    assert shown[" there"] not in (shown["Hi"], shown[" you"])


def test_neighbours_that_count_can_be_told_apart() -> None:
    text = render_example(["a", "b", "c"], [1.0, 1.0, 1.0])
    first, second, third, _ = (span.style for span in text.spans if span.start < span.end)
    assert first == third != second


def test_markup_in_a_token_is_text() -> None:
    assert render_example(["[red]x[/red]"], [1.0]).plain.startswith("[red]x[/red]\n")


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        ("\n", "↵\n"),
        ("\t", "⇥"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\u202e", "\\u{202e}"),
        ("\u200b", "\\u{200b}"),
        (" né日", " né日"),
    ],
)
def test_what_cannot_be_seen_is_written_out(token: str, shown: str) -> None:
    assert visible(token) == shown


def test_weights_must_fit_the_tokens() -> None:
    with pytest.raises(DataError, match="3 tokens of which 1 are prompt"):
        render_example(["a", "b", "c"], [1.0], counted_from=1)


def test_memory_by_hand() -> None:
    """Weights 1000 x 4, gradients 100 x 4, Adam 100 x 8.

    A layer keeps 10 x 4 + 2 x 6 = 52 values a position: 7 x 3 x 52 x 4.
    The logits of 7 positions are 7 x 50 x 4 = 1400 bytes, their gradient as many.
    """
    estimate = memory_estimate(**SMALL)
    assert (estimate.weights, estimate.gradients, estimate.optimizer) == (4000, 400, 800)
    assert (estimate.activations, estimate.head) == (4368, 2800)
    assert estimate.total == 12368


def test_checkpointed_memory_by_hand() -> None:
    # each layer's input, 3 x 4 values, and one layer of 52 computed again: 7 x 64 x 4
    assert checkpointed_memory_estimate(**SMALL).activations == 1792


def test_a_large_head_is_sliced() -> None:
    # 2^20 positions x 2^16 words would be 256 GiB; a slice is 64 MiB, twice
    estimate = memory_estimate(**SMALL | {"positions": 2**20, "vocabulary": 2**16})
    assert estimate.head == 2 * 64 * 2**20


def test_the_estimate_reads_well() -> None:
    lines = memory_estimate(**SMALL | {"parameters": 500_000_000}).describe()
    assert lines[0] == "weights         2.00 GB"
    assert lines[-1] == "total           2.00 GB"


def test_activations_are_what_a_decoder_layer_keeps() -> None:
    """Two and four layers of a Llama with as many key heads as query heads, and a mask; the difference is two layers.

    The kept vectors are whole; the masks, rotations and variances of the norms beside them are below a tenth.
    """
    kept = (kept_bytes(layers=4) - kept_bytes(layers=2)) / 2
    estimate = memory_estimate(**SMALL | {"positions": 32, "hidden": 64, "intermediate": 128, "layers": 1})
    assert estimate.activations == pytest.approx(kept, rel=0.1)


def kept_bytes(*, layers: int) -> int:
    """Bytes that autograd keeps of a forward pass of 32 positions, parameters apart."""
    sizes = LlamaConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        vocab_size=10,
        attn_implementation="sdpa",
    )
    network = LlamaModel(sizes)
    keep_less(network)
    own = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    mask = torch.ones(1, 1, 32, 32, dtype=torch.bool).tril()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(torch.zeros(1, 32, dtype=torch.long), attention_mask=mask, use_cache=False)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
