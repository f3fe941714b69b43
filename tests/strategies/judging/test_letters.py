"""The letters' ids come from the tokenizer, and a tokenizer that merges them is found out."""

from collections.abc import Sequence

import pytest

from tests.server.engines.encoding_cases import CASES, encoder
from tests.strategies.doubles import said
from tests.strategies.judging.doubles import LetterJudge, honest
from trimtab.server.engines.transformers.prompts import PromptEncoder
from trimtab.server.engines.transformers.runtime import text_of
from trimtab.strategies.core.engine import TokensPort
from trimtab.strategies.core.errors import MissingCapability
from trimtab.strategies.core.messages import Conversation, Message, Segment, Text
from trimtab.strategies.judging.letters import letters_of
from trimtab.strategies.judging.reading import JudgeLayout, Reader, alphabet_of, letters_in
from trimtab.strategies.judging.value import Judged
from trimtab.strategies.prompts.judge import Question, ask


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


class CatalogueJudge(LetterJudge):
    """Encodes and decodes as the transformers engine does with a catalogue model's tokenizer; the model is not loaded."""

    def __init__(self, name: str) -> None:
        super().__init__(honest("poison"))
        prompts = PromptEncoder(encoder(name), name=name, has_template=True)
        self.encode_chat, self.encode_text, self.decode = prompts.conversation, prompts.text, text_of(CASES[name][0]())


CASE = Judged(said("What may I eat?"), "Bread, and\nno poison.")


def asked_of(port: TokensPort, question: Question, layout: JudgeLayout, letter: str = "") -> tuple[int, ...]:
    """The ids of a judge's whole prompt, begun with a letter."""
    if layout == "chat":
        turn = Message("user", f"{question.prefix}{question.case}{question.options}")
        return port.encode_chat(Conversation((turn,), prefill=f"{question.tail}{letter}"))
    ours = Segment("literal", f"{question.options}{question.tail}{letter}")
    return port.encode_text(Text((Segment("literal", question.prefix), Segment("content", question.case), ours)))


@pytest.mark.parametrize(
    ("name", "layout", "a", "b"),
    [("smollm2", "completion", 49, 50), ("smollm2", "chat", 49, 50), ("gemma3", "completion", 236776, 236799)],
)
def test_the_catalogues_letters_add_one_id_to_the_whole_prompt(name: str, layout: JudgeLayout, a: int, b: int) -> None:
    """Gemma is a base model: it has no chat template, and so no layout for chats."""
    port = CatalogueJudge(name)
    letters = letters_in(port, layout)
    assert (letters.layout.name, letters.a, letters.b) == ("parenthesis", a, b)
    assert (port.decode([a]), port.decode([b])) == ("A", "B")
    reader = Reader(port, alphabet_of(port, "harmlessness", layout), "harmlessness", layout, 1, False)
    for prompt in reader.prompts([CASE]):
        question = ask("harmlessness", CASE.turns(1), CASE.answer, prompt.good, letters.layout)
        assert asked_of(port, question, layout) == prompt.ids
        assert [asked_of(port, question, layout, letter) for letter in "AB"] == [(*prompt.ids, a), (*prompt.ids, b)]
