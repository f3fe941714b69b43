"""Ids to text and stop strings: laws of the pure parts, then through the engine."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers

from tests.server.engines.transformers.conftest import make_tokenizer
from tests.server.engines.transformers.running import one
from trimtab.server.engines.stops import StopText
from trimtab.server.engines.transformers import TransformersEngine
from trimtab.server.engines.transformers.detokenizer import Detokenizer
from trimtab.server.engines.transformers.pieces import Pieces
from trimtab.server.engines.transformers.runtime import text_of
from trimtab.strategies.core.engine import Params

TOKENIZER = make_tokenizer()
DECODE = text_of(TOKENIZER)
PROMPT = list(range(30, 60))


@given(st.text(max_size=40), st.text(max_size=5))
def test_byte_tokens_give_whole_characters(text: str, before: str) -> None:
    detokenizer = Detokenizer(DECODE, TOKENIZER.encode(before, add_special_tokens=False))
    ids = TOKENIZER.encode(text, add_special_tokens=False)
    pieces = [detokenizer.push(token_id) for token_id in ids]
    if not text.endswith("\ufffd"):
        assert "".join(pieces) == text
    assert all("\ufffd" not in piece for piece in pieces) or "\ufffd" in text


def test_an_unfinished_character_is_left_out_and_a_broken_one_is_shown() -> None:
    euro = TOKENIZER.encode("€", add_special_tokens=False)
    assert len(euro) == 3
    cut = Detokenizer(DECODE, [])
    assert [cut.push(token_id) for token_id in euro[:2]] == ["", ""]
    broken = Detokenizer(DECODE, [])
    assert (
        "".join(broken.push(token_id) for token_id in [euro[0], *TOKENIZER.encode("ab", add_special_tokens=False)])
        == "\ufffdab"
    )


def test_many_control_tokens_cost_nothing() -> None:
    detokenizer = Detokenizer(DECODE, [])
    ids = TOKENIZER.encode("a", add_special_tokens=False) + [2] * 500 + TOKENIZER.encode(" b")
    assert "".join(detokenizer.push(token_id) for token_id in ids) == "a b"


def test_the_space_before_a_first_word_is_kept() -> None:
    """A Metaspace decoder strips the space of a first token; the prompt's last tokens make ours not the first."""
    backend = Tokenizer(models.BPE(vocab={"▁hello": 0, "▁world": 1, "▁": 2}, merges=[], unk_token=None))
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.decoder = decoders.Metaspace()

    def decode(ids: object) -> str:
        return str(backend.decode(list(ids)))  # type: ignore[call-overload]

    assert decode([1]) == "world"
    assert Detokenizer(decode, [0]).push(1) == " world"
    detokenizer = Detokenizer(decode, [])
    assert [detokenizer.push(token_id) for token_id in (0, 1, 1)] == ["hello", " world", " world"]


@given(
    st.lists(st.text("ab", max_size=3), max_size=12), st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3)
)
def test_stop_strings_cut_at_the_earliest(pieces: list[str], stops: list[str]) -> None:
    watch, shown, stopped, fed = StopText(tuple(stops)), "", False, ""
    for piece in pieces:
        fed += piece
        text, stopped = watch.push(piece)
        shown += text
        assert not any(stop in shown for stop in stops)
        if stopped:
            break
    places = [fed.find(stop) for stop in stops if stop in fed]
    assert stopped == bool(places)
    assert shown + ("" if stopped else watch.flush()) == (fed[: min(places)] if places else fed)


def test_only_what_may_start_a_stop_string_is_held_back() -> None:
    watch = StopText(("END",))
    assert watch.push("the E") == ("the ", False)
    assert watch.push("N") == ("", False)
    assert watch.push("O") == ("ENO", False)


async def test_a_stop_string_ends_the_answer(engine: TransformersEngine) -> None:
    whole = await one(engine, PROMPT, Params(temperature=0.0, max_tokens=40, ignore_eos=True))
    stop = whole.text[10:13]
    at = whole.text.find(stop)
    sample = await one(engine, PROMPT, Params(temperature=0.0, max_tokens=40, ignore_eos=True, stop=("\0never", stop)))
    assert (sample.text, sample.finish) == (whole.text[:at], "stop")
    assert whole.ids[: len(sample.ids)] == sample.ids
    assert stop in engine.decode(sample.ids)
    assert stop not in engine.decode(sample.ids[:-1])


async def test_stop_strings_count_from_min_tokens_on(engine: TransformersEngine) -> None:
    whole = await one(engine, PROMPT, Params(temperature=0.0, max_tokens=40, ignore_eos=True))
    stop = whole.text[3:5]
    params = Params(temperature=0.0, max_tokens=40, ignore_eos=True, stop=(stop,), min_tokens=len(whole.ids))
    assert (await one(engine, PROMPT, params)).text == whole.text


@pytest.mark.parametrize(
    ("token_id", "expected"), [(2, b"<|im_end|>"), (TOKENIZER.encode("é", add_special_tokens=False)[0], b"\xc3")]
)
def test_bytes_of_a_token(token_id: int, expected: bytes) -> None:
    assert Pieces(TOKENIZER).bytes_of(token_id) == expected


@given(st.text(max_size=30))
def test_bytes_of_tokens_join_to_the_text(text: str) -> None:
    pieces = Pieces(TOKENIZER)
    assert b"".join(pieces.bytes_of(token_id) for token_id in TOKENIZER.encode(text, add_special_tokens=False)) == text.encode()


def test_strings_of_partial_characters_show_their_bytes() -> None:
    pieces = Pieces(TOKENIZER)
    assert [pieces.string_of(token_id) for token_id in TOKENIZER.encode("aé", add_special_tokens=False)] == [
        "a",
        r"bytes:\xc3",
        r"bytes:\xa9",
    ]
