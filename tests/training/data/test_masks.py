"""Which tokens count: the completion with its end of turn, whatever the tokenizer and its template do."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from tests.training.data.tiny import CHAT, ENDLESS, HEADERLESS, STRICT, TRIMMING, counted, shown, tokenizer
from trimtab.artifacts import resolve
from trimtab.training.data.rows import Turn
from trimtab.training.data.templates import RowTokenizer
from trimtab.training.data.tokens import Unusable, shared
from trimtab.training.errors import ModelError

QUESTION = (Turn("user", "Why is the sky blue?"),)
TALK = (Turn("user", "Hello"), Turn("assistant", "Hi there"), Turn("user", "And now?"))


@pytest.fixture(scope="module")
def real() -> Any:
    return AutoTokenizer.from_pretrained(resolve("smollm2-135m-instruct").path)


def test_end_of_turn_counts_and_what_follows_is_left_out() -> None:
    made = tokenizer()
    tokens = RowTokenizer(made).answer(QUESTION, "It scatters.")
    assert counted(made, tokens) == "It scatters.<|end|>"
    assert shown(made, tokens.ids) == "<|start|>user\nWhy is the sky blue?<|end|>\n<|start|>assistant\nIt scatters.<|end|>"


def test_example_begins_with_the_ids_from_which_the_model_answers() -> None:
    rows = RowTokenizer(tokenizer())
    example = shared([rows.answer(QUESTION, "It scatters."), rows.answer(QUESTION, "It is paint.")])
    assert example.prompt == rows.prompt(QUESTION)
    assert [branch.weights for branch in example.branches] == [None, None]


def test_pad_that_is_the_end_of_sequence_changes_nothing() -> None:
    apart, same = (RowTokenizer(tokenizer(pad=pad)).dialogue(TALK, "Fine.") for pad in ("<|pad|>", "<|end|>"))
    assert apart == same


def test_every_assistant_turn_or_the_last() -> None:
    made = tokenizer()
    rows = RowTokenizer(made)
    assert counted(made, rows.dialogue(TALK, "Fine.")) == "Hi there<|end|>Fine.<|end|>"
    assert counted(made, rows.answer(TALK, "Fine.")) == counted(made, rows.last_turn(TALK, "Fine.")) == "Fine.<|end|>"


def test_turns_of_others_inside_a_completion_do_not_count() -> None:
    made = tokenizer()
    content = (Turn("assistant", "One"), Turn("user", "go on"), Turn("assistant", "Two"))
    assert counted(made, RowTokenizer(made).answer(QUESTION, content)) == "One<|end|>Two<|end|>"
    assert counted(made, RowTokenizer(made).last_turn(QUESTION, content)) == "Two<|end|>"


def test_template_without_a_generation_prompt_has_the_header_learned() -> None:
    # served with this template, a model is given nothing after the user's turn: it must write the header itself
    made = tokenizer(HEADERLESS)
    assert counted(made, RowTokenizer(made).answer(QUESTION, "Yes")) == "<|start|>assistant\nYes<|end|>"


def test_template_without_an_end_of_turn_gets_the_end_of_sequence() -> None:
    made = tokenizer(ENDLESS, eos="<|eos|>")
    rows = RowTokenizer(made)
    assert counted(made, rows.answer(QUESTION, "Yes")) == "Yes<|eos|>"
    assert counted(made, rows.dialogue(TALK, "Fine.")) == "Hi there\nFine.<|eos|>"
    assert rows.end_ids == {made.eos_token_id}


def test_template_whose_end_of_turn_is_another_token_than_the_end_of_sequence() -> None:
    made = tokenizer(CHAT, eos="<|eos|>")
    rows = RowTokenizer(made)
    assert counted(made, rows.answer(QUESTION, "Yes")) == "Yes<|end|>"
    assert rows.end_ids == set(made.convert_tokens_to_ids(["<|end|>", "<|eos|>"]))


def test_template_that_trims() -> None:
    made = tokenizer(TRIMMING, eos="<|eos|>")
    assert counted(made, RowTokenizer(made).answer(QUESTION, "  Yes \n")) == "Yes<|eos|>"


def test_token_merged_across_the_boundary_counts_as_the_completions() -> None:
    # "?" + "Y" is one token: of "Q?" and "Yes" the shared prompt is "Q", and "?Y" is the first counted token
    made = tokenizer(None, merges=(("?", "Y"),))
    tokens = RowTokenizer(made).answer("Q?", "Yes")
    assert [shown(made, (token,)) for token in tokens.ids] == ["Q", "?Y", "e", "s", "<|end|>"]
    assert tokens.weights == (0, 1, 1, 1, 1)


def test_prompt_token_that_comes_out_otherwise_counts_as_nothing() -> None:
    # alone "xab" is x + ab; before "cd" it is x + a + bcd: "a" is prompt text and does not count, though a branch begins so
    made = tokenizer(None, merges=(("c", "d"), ("b", "cd"), ("a", "b")))
    rows = RowTokenizer(made)
    assert [shown(made, (token,)) for token in rows.prompt("xab")] == ["x", "ab"]
    first, second = rows.answer("xab", "cd"), rows.answer("xab", "e")
    assert [shown(made, (token,)) for token in first.ids] == ["x", "a", "bcd", "<|end|>"]
    example = shared([first, second])
    assert shown(made, example.prompt) == "x"
    assert [branch.weights for branch in example.branches] == [(0, 1, 1), (0, 1, 1)]


def test_plain_text_begins_once_and_ends_once() -> None:
    made = tokenizer(None, bos="<|bos|>", eos="<|eos|>")
    rows = RowTokenizer(made)
    tokens = rows.answer("Q: sky?\nA:", " Blue.")
    assert shown(made, tokens.ids) == "<|bos|>Q: sky?\nA: Blue.<|eos|>"
    assert counted(made, tokens) == " Blue.<|eos|>"
    assert rows.answer("<|bos|>Q: sky?\nA:", " Blue.<|eos|>") == tokens


def test_chat_text_gets_no_beginning_but_the_templates() -> None:
    made = tokenizer(CHAT, bos="<|bos|>")
    assert "<|bos|>" not in shown(made, RowTokenizer(made).answer(QUESTION, "Yes").ids)


def test_scorer_sees_all_that_is_rendered() -> None:
    made = tokenizer()
    tokens = RowTokenizer(made).judged(QUESTION, "Yes")
    rendered = [{"role": "user", "content": QUESTION[0].content}, {"role": "assistant", "content": "Yes"}]
    assert tokens.ids == tuple(made.apply_chat_template(rendered, return_dict=False))
    assert counted(made, tokens) == "Yes<|end|>\n"


def test_text_that_would_end_a_turn_is_refused() -> None:
    rows = RowTokenizer(tokenizer())
    with pytest.raises(Unusable, match=r"turn of the user holds the control string '<\|end\|>'"):
        rows.answer((Turn("user", "a<|end|>b"),), "Yes")
    with pytest.raises(Unusable, match="control string"):
        rows.answer("plain", "one <|end|> two")
    assert rows.answer(QUESTION, "<|pad|>").ids  # a special token the template does not use


def test_template_that_refuses_names_its_reason() -> None:
    rows = RowTokenizer(tokenizer(STRICT))
    with pytest.raises(Unusable, match="no system turns here"):
        rows.answer((Turn("system", "Be brief"), *QUESTION), "Yes")


def test_no_template_no_end_of_sequence_no_answer() -> None:
    with pytest.raises(ModelError, match="--chat-template FILE"):
        RowTokenizer(tokenizer(None)).answer(QUESTION, "Yes")
    with pytest.raises(ModelError, match="no end-of-sequence token"):
        RowTokenizer(tokenizer(eos=None))
    with pytest.raises(ModelError, match="does not write out what was said"):
        RowTokenizer(tokenizer("nothing"))


def test_another_template_takes_the_place_of_the_tokenizers() -> None:
    made = tokenizer(None)
    assert counted(made, RowTokenizer(made, CHAT).answer(QUESTION, "Yes")) == "Yes<|end|>"


words = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="<|>"), min_size=1).filter(str.strip)


@given(prompt=words, answers=st.lists(words, min_size=1, max_size=3, unique=True))
def test_what_counts_is_the_answer_and_its_end(prompt: str, answers: list[str]) -> None:
    made = tokenizer(merges=(("a", "b"), ("e", "r"), ("\u0120", "a")))
    rows = RowTokenizer(made)
    tokens = [rows.answer((Turn("user", prompt),), answer) for answer in answers]
    assert [counted(made, one) for one in tokens] == [f"{answer}<|end|>" for answer in answers]
    example = shared(tokens)
    assert [example.prompt + branch.ids for branch in example.branches] == [one.ids for one in tokens]


@pytest.mark.parametrize("answer", ["It scatters blue light more.", "Émigré 😀", "1\n2\n"])
def test_the_default_model(real: Any, answer: str) -> None:
    rows = RowTokenizer(real)
    tokens = rows.answer(TALK, answer)
    assert counted(real, tokens) == f"{answer}<|im_end|>"
    assert counted(real, rows.dialogue(TALK, answer)) == f"Hi there<|im_end|>{answer}<|im_end|>"
    wire = [{"role": turn.role, "content": turn.content} for turn in TALK]
    prompt = real.apply_chat_template(wire, add_generation_prompt=True, return_dict=False)
    assert rows.prompt(TALK) == tuple(prompt) == tokens.ids[: len(prompt)]


def test_the_default_model_merges_a_line_break_with_spaces(real: Any) -> None:
    tokens = RowTokenizer(real).answer(QUESTION, "  spaced")
    assert counted(real, tokens) == "\n  spaced<|im_end|>"
