"""The aligner's prompt in training is the one it is served with."""

import pytest

from tests.training.data.tiny import shown, tokenizer
from trimtab.artifacts.correction import FORMATS, CorrectionTemplate
from trimtab.strategies.core.messages import Conversation, Message
from trimtab.strategies.revising.correction import Correction
from trimtab.strategies.revising.correction import question_of as served_question
from trimtab.training.data.editing import Edited, Identity, question_of
from trimtab.training.data.rows import Preference, Response, Row, Turn
from trimtab.training.data.templates import RowTokenizer
from trimtab.training.data.tokens import Unusable

MADE = tokenizer(bos="<|bos|>", eos="<|eos|>")
TOKENIZER = RowTokenizer(MADE)
ASK = (Turn("user", "How {answer} is it?"),)
TALK = (Turn("system", "Be brief"), Turn("user", "Hello"), Turn("assistant", "Hi"), *ASK)
EDIT = Row("", ASK, (Response("draft", kind="original"), Response("better", kind="revision")), line=4)


@pytest.mark.parametrize("prompt", [ASK, TALK])
def test_question_is_told_as_serving_tells_it(prompt: tuple[Turn, ...]) -> None:
    asked = Conversation(tuple(Message(turn.role, turn.content) for turn in prompt))
    assert question_of(prompt) == served_question(asked)


@pytest.mark.parametrize("template", FORMATS.values(), ids=FORMATS)
def test_raw_prompt_is_the_served_one(template: CorrectionTemplate) -> None:
    example = Edited(template)(Row("", TALK, EDIT.responses), TOKENIZER)[0]
    served = Correction(template).raw(question_of(TALK), "draft")
    assert shown(MADE, example.prompt) == "<|bos|>" + "".join(segment.text for segment in served.segments)
    assert shown(MADE, example.branches[0].ids) == "better<|eos|>"
    assert example.branches[0].weights is None


def test_correction_is_tokenised_apart_from_the_prompt() -> None:
    # " y" would be one token, but serving sends the prompt with its last space, and the model goes on from there
    made = tokenizer(None, merges=(("\u0120", "y"),), eos="<|eos|>")
    template = CorrectionTemplate(message="{question}|{answer}: ")
    row = Row("", "q", (Response("n", kind="original"), Response("y", kind="revision")))
    example = Edited(template)(row, RowTokenizer(made))[0]
    assert (shown(made, example.prompt), shown(made, example.branches[0].ids)) == ("q|n: ", "y<|eos|>")


def test_format_without_a_wrapper_is_a_message_to_a_chat_model() -> None:
    template = CorrectionTemplate(message="Mend: {question} -> {answer}")
    example = Edited(template)(EDIT, TOKENIZER)[0]
    wanted = "<|start|>user\nMend: How {answer} is it? -> draft<|end|>\n<|start|>assistant\n"
    assert shown(MADE, example.prompt) == wanted
    assert shown(MADE, example.branches[0].ids) == "better<|end|>"


def test_pair_is_rejected_to_chosen() -> None:
    row = Row("", ASK, (Response("good", kind="chosen"), Response("bad", kind="rejected")), (Preference(0, 1),))
    example = Edited()(row, TOKENIZER)[0]
    assert "##Answer: bad\n" in shown(MADE, example.prompt)
    assert shown(MADE, example.branches[0].ids) == "good<|eos|>"


def test_every_revision_corrects_the_draft_and_the_identity_copies_it_once() -> None:
    row = Row("", ASK, (*EDIT.responses, Response("best", kind="revision")))
    assert [shown(MADE, e.branches[0].ids) for e in Edited()(row, TOKENIZER)] == ["better<|eos|>", "best<|eos|>"]
    assert [shown(MADE, e.branches[0].ids) for e in Identity()(row, TOKENIZER)] == ["draft<|eos|>"]
    alone = Row("", ASK, (Response("as it is", kind="gold"),))
    assert [shown(MADE, e.branches[0].ids) for e in Identity()(alone, TOKENIZER)] == ["as it is<|eos|>"]


@pytest.mark.parametrize("text", ["a ##Answer: b", "a ##Answer  : b", "x <|end|> y", "USER: me"])
def test_text_that_parts_the_fields_is_left_out(text: str) -> None:
    with pytest.raises(Unusable, match="a text holds"):
        Edited()(Row("", ASK, (Response(text, kind="original"), Response("better", kind="revision"))), TOKENIZER)


def test_nothing_to_correct() -> None:
    with pytest.raises(Unusable, match="has no draft with its correction"):
        Edited()(Row("", ASK, (Response("x"),)), TOKENIZER)
