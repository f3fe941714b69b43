"""The letters' ids come from the tokenizer, and a tokenizer that merges them is found out."""

from collections.abc import Sequence

import pytest

from trimtab.strategies.core.errors import MissingCapability
from trimtab.strategies.judging.letters import letters_of


def merging(*pairs: str) -> "Merging":
    return Merging(pairs)


class Merging:
    """Characters are tokens, but for the pairs, which are one token each (above 1000)."""

    def __init__(self, pairs: Sequence[str]) -> None:
        self._pairs = {pair: 1000 + number for number, pair in enumerate(pairs)}

    def __call__(self, text: str) -> list[int]:
        ids: list[int] = []
        while text:
            taken = text[:2] if text[:2] in self._pairs else text[:1]
            ids.append(self._pairs.get(taken, ord(taken[0])))
            text = text[len(taken) :]
        return ids


def test_letters_behind_a_parenthesis() -> None:
    letters = letters_of(merging())
    assert (letters.layout.name, letters.a, letters.b) == ("parenthesis", 65, 66)
    assert (letters.of("A"), letters.of("B")) == (65, 66)


def test_a_merged_parenthesis_leads_to_the_bare_layout() -> None:
    """`(A` as one token: no id follows the prompt's. Behind "is:" the letter's token is the one with its space."""
    letters = letters_of(merging("(A", "(B", " A", " B"))
    assert (letters.layout.name, letters.a, letters.b) == ("bare", 1002, 1003)


def test_one_merged_letter_is_enough_to_leave_a_layout() -> None:
    assert letters_of(merging("(B", " A", " B")).layout.name == "bare"


def test_no_layout_is_an_error_that_shows_the_ids() -> None:
    """Characters and `(A`: with the bare layout a letter would be two ids, the space and itself."""
    with pytest.raises(MissingCapability, match=r"(?s)merges the letters.*1000.*Configure another engine"):
        letters_of(merging("(A"))


def test_letters_that_are_one_token_cannot_be_told_apart() -> None:
    with pytest.raises(MissingCapability):
        letters_of(lambda text: [0] * len(text))


def test_the_default_models_letters() -> None:
    """49 and 50 in SmolLM2's vocabulary, behind a parenthesis; in its chat template too."""
    from transformers import AutoTokenizer

    from trimtab.artifacts import DEFAULT_MODEL, resolve

    tokenizer = AutoTokenizer.from_pretrained(resolve(DEFAULT_MODEL).path)
    letters = letters_of(lambda tail: tokenizer.encode(tail, add_special_tokens=False))
    assert (letters.layout.name, letters.a, letters.b) == ("parenthesis", 49, 50)
