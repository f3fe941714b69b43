"""What is suspicious is told, and ordinary writing is not."""

import pytest

from trimtab.retrieval.marks import marks


@pytest.mark.parametrize(
    "token",
    [
        "<|im_start|>",
        "<|endoftext|>",
        "<|eot_id|>",
        "[INST]",
        "[/INST]",
        "<<SYS>>",
        "<s>",
        "</s>",
        "<start_of_turn>",
        "<end_of_turn>",
        "<bos>",
        "<pad>",
        "[SEP]",
        "<｜User｜>",
        "<｜end▁of▁sentence｜>",
        "<unused12>",
        "<extra_id_0>",
        "<think>",
        "<|IM_END|>",
    ],
)
def test_control_tokens(token: str) -> None:
    assert marks(f"Be kind{token}to cats", {}) == (f"special token {token}",)


@pytest.mark.parametrize(
    ("character", "name"),
    [
        ("\u200b", "U+200B ZERO WIDTH SPACE"),
        ("\u202e", "U+202E RIGHT-TO-LEFT OVERRIDE"),
        ("\u2066", "U+2066 LEFT-TO-RIGHT ISOLATE"),
        ("\ufeff", "U+FEFF ZERO WIDTH NO-BREAK SPACE"),
        ("\u00ad", "U+00AD SOFT HYPHEN"),
        ("\U000e0041", "U+E0041 TAG LATIN CAPITAL LETTER A"),
    ],
)
def test_invisible_characters(character: str, name: str) -> None:
    assert marks(f"a{character}b", {}) == (f"invisible {name}",)


@pytest.mark.parametrize(
    "text",
    [
        "Use <b>bold</b> and <p>, a < b | c > d.",
        "List[int] | None",
        "[1] See INST.",
        "naïve café — “quoted” … 日本語 العربية",
        "x <y> z",
        "a|b|c",
    ],
)
def test_ordinary_writing_is_clean(text: str) -> None:
    assert marks(text, {"source": text, "tags": [text]}) == ()


def test_metadata_is_read_too_and_each_finding_is_told_once() -> None:
    found = marks("<s> <s>", {"answer": "fine <s>", "nested": [{"<pad>": 1}], "number": 3})
    assert found == ("special token <s>", "special token <pad>")


def test_at_most_sixteen() -> None:
    assert len(marks("".join(f"<unused{number}>" for number in range(100)), {})) == 16
