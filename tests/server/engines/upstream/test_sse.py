"""Events from bytes: line ends, multi-line data, comments, any cut of the bytes."""

from hypothesis import given
from hypothesis import strategies as st

from trimtab.server.engines.upstream.sse import EventDecoder


def decoded(*chunks: bytes) -> list[str]:
    decoder = EventDecoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)] + decoder.end()


def test_comments_names_and_blank_lines_are_passed_over() -> None:
    assert decoded(b": ping\n\nevent: x\nid: 7\ndata: a\n\n\n\ndata:b\n\n") == ["a", "b"]


def test_line_ends_and_several_data_lines() -> None:
    assert decoded(b"data: a\r\ndata: b\r\n\r\n", b"data: c\r\rdata: d\n\n") == ["a\nb", "c", "d"]


def test_the_last_event_may_lack_its_blank_line() -> None:
    assert decoded(b"data: a\n\ndata: [DONE]") == ["a", "[DONE]"]


@given(st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), min_size=1)), st.integers(1, 7))
def test_where_the_bytes_are_cut_does_not_matter(texts: list[str], size: int) -> None:
    stream = "".join(f"data: {text}\r\n\r\n" for text in texts).encode()
    assert decoded(*(stream[at : at + size] for at in range(0, len(stream), size))) == texts
