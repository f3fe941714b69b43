"""What a dry run shows: an example with its mask in colour, and how much memory the run will take.

It is given tokens, weights and sizes; it knows no tokenizer, model or configuration.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from rich.style import Style
from rich.text import Text

from trimtab.training.errors import DataError

UNCOUNTED = Style(dim=True)
COUNTED = (Style(color="black", bgcolor="green"), Style(color="black", bgcolor="bright_green"))
"""Of a token that counts 1; the two take turns, so that the tokens' borders show."""
OTHERWISE = (Style(color="black", bgcolor="yellow"), Style(color="black", bgcolor="bright_yellow"))
"""Of a token with any other weight."""

VISIBLE = {"\n": "↵\n", "\t": "⇥"}
SHOWN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode categories that are shown as their code points: they would move the cursor, turn the text round or not be seen."""

LOGIT_BYTES = 64 * 2**20
"""Size of one slice of logits in float32, as `trimtab.training.logprobs` cuts them."""
KEPT_HIDDEN, KEPT_INTERMEDIATE = 10, 2
"""Vectors that the backward pass of a decoder layer keeps for a position.

Of the hidden size: the inputs of both norms, their normalised forms and outputs, queries, keys and values before and after the
rotation, what attention mixes. Of the feed-forward size: gate and up, the rest is computed again.
"""


def render_example(tokens: Sequence[str], weights: Sequence[float], *, counted_from: int = 0) -> Text:
    """The example as coloured text: tokens that count 1 on green, of another weight on yellow, the rest dim.

    tokens: the text of each token, prompt first. counted_from: how many of them are prompt, which counts nothing.
    weights: one for each token after that. A last line says how many count. Control and invisible characters are written out.
    """
    if counted_from < 0 or len(tokens) - counted_from != len(weights):
        raise DataError(
            f"{len(tokens)} tokens of which {counted_from} are prompt need a weight for each other, not {len(weights)}"
        )
    text = Text()
    for place, (token, weight) in enumerate(zip(tokens, [0.0] * counted_from + list(weights), strict=True)):
        text.append(visible(token), _style(weight, place))
    counted = sum(weight != 0 for weight in weights)
    text.append("" if text.plain.endswith("\n") else "\n")
    text.append(f"({counted} of {len(tokens)} tokens count; their weights sum to {sum(weights):g})", "italic")
    return text


def visible(token: str) -> str:
    """The token with line ends and tabs marked, and other characters that cannot be seen as their code points."""
    return "".join(VISIBLE.get(char, _code(char) if unicodedata.category(char) in SHOWN else char) for char in token)


def _code(char: str) -> str:
    return f"\\x{ord(char):02x}" if ord(char) < 256 else f"\\u{{{ord(char):x}}}"


def _style(weight: float, place: int) -> Style:
    if weight == 0:
        return UNCOUNTED
    return (COUNTED if weight == 1 else OTHERWISE)[place % 2]


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes that a training step holds at its peak, by what holds them."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    """What the forward pass keeps for the backward pass."""
    head: int
    """Logits of the slice of tokens at hand, with their gradient."""

    @property
    def total(self) -> int:
        """All of it: what a step with accumulated gradients holds at once. The interpreter and its libraries come on top."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.head

    def describe(self) -> tuple[str, ...]:
        """A line for each part and one for the total, in GB of 10^9 bytes."""
        parts = ("weights", "gradients", "optimizer", "activations", "head", "total")
        return tuple(f"{part:<12}{getattr(self, part) / 1e9:8.2f} GB" for part in parts)


def memory_estimate(
    *,
    parameters: int,
    trainable: int,
    positions: int,
    vocabulary: int,
    hidden: int,
    layers: int,
    intermediate: int,
    optimizer_bytes: int = 8,
    value_bytes: int = 4,
) -> MemoryEstimate:
    """Peak memory of a step that keeps its activations.

    parameters, trainable: values in the model, and those of them that learn. positions: tokens in a forward pass, padding
    included. vocabulary: rows of the head, 1 for a scalar head. hidden, layers, intermediate: sizes of the decoder.
    optimizer_bytes: state of the optimizer for each trainable value, 8 = Adam in float32. value_bytes: of a weight, gradient or
    activation. Activations are positions x layers x (10 hidden + 2 intermediate) values.
    """
    kept = layers * _layer(hidden, intermediate)
    return MemoryEstimate(
        weights=parameters * value_bytes,
        gradients=trainable * value_bytes,
        optimizer=trainable * optimizer_bytes,
        activations=positions * kept * value_bytes,
        head=_head(positions, vocabulary),
    )


def checkpointed_memory_estimate(
    *,
    parameters: int,
    trainable: int,
    positions: int,
    vocabulary: int,
    hidden: int,
    layers: int,
    intermediate: int,
    optimizer_bytes: int = 8,
    value_bytes: int = 4,
) -> MemoryEstimate:
    """Peak memory of a step that keeps each layer's input alone and computes the layers again, one at a time.

    Arguments as for `memory_estimate`. Activations are positions x (layers x hidden + 10 hidden + 2 intermediate) values.
    """
    kept = layers * hidden + _layer(hidden, intermediate)
    return MemoryEstimate(
        weights=parameters * value_bytes,
        gradients=trainable * value_bytes,
        optimizer=trainable * optimizer_bytes,
        activations=positions * kept * value_bytes,
        head=_head(positions, vocabulary),
    )


def _layer(hidden: int, intermediate: int) -> int:
    """Values a decoder layer keeps for a position."""
    return KEPT_HIDDEN * hidden + KEPT_INTERMEDIATE * intermediate


def _head(positions: int, vocabulary: int) -> int:
    return 2 * min(positions * vocabulary * 4, LOGIT_BYTES)
