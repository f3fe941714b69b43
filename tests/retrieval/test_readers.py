"""Files become documents; what cannot be read is told by line and costs nothing else."""

import io
from pathlib import Path

import pytest

from trimtab.retrieval.checked import content_id
from trimtab.retrieval.documents import Document
from trimtab.retrieval.errors import InvalidRecord
from trimtab.retrieval.readers import Format, Record, format_of, read_records


def read(content: str | bytes, form: Format) -> list[Record]:
    return list(read_records(io.BytesIO(content if isinstance(content, bytes) else content.encode()), form))


def documents(content: str | bytes, form: Format) -> list[Document | None]:
    return [record.document for record in read(content, form)]


def errors(content: str | bytes, form: Format) -> dict[int, str]:
    return {record.line: record.error for record in read(content, form) if record.error}


def test_jsonl() -> None:
    content = (
        '{"id": "a", "text": "Ring the bell.", "metadata": {"trust": "trusted"}, "tags": ["x"]}\n'
        "\n"
        '{"id": 7, "prompt": "How?", "answer": "So."}\n'
        '{"text": "Feed the cats."}'
    )
    assert documents(content, "jsonl") == [
        Document("a", "Ring the bell.", {"trust": "trusted", "tags": ["x"]}),
        Document("7", "How?", {"answer": "So."}),
        Document(content_id("Feed the cats."), "Feed the cats.", {}),
    ]
    assert [record.line for record in read(content, "jsonl")] == [1, 3, 4]
    assert read(content, "jsonl")[-1].end == len(content)


def test_bad_lines_are_told_and_the_good_ones_go_on() -> None:
    content = "\n".join(
        [
            '{"text": "one"}',
            '{"text": ',
            "[1]",
            '{"prompt": "a", "text": "b"}',
            '{"id": "x"}',
            '{"text": "t", "metadata": 3}',
            '{"text": "t", "metadata": {"tags": "a"}, "tags": "b"}',
            "[" * 100_000,
            '{"text": "two"}',
        ]
    )
    told = errors(content, "jsonl")
    assert sorted(told) == [2, 3, 4, 5, 6, 7, 8]
    assert told[2].startswith("no JSON: Expecting value")
    assert told[3] == "a line must hold a JSON object, not list"
    assert told[4] == "a record needs 'text' or 'prompt', not both"
    assert told[5] == "a record needs 'text' or 'prompt'"
    assert told[6] == "metadata must be an object, not int"
    assert told[7] == "'tags' is given in the metadata and beside it"
    assert "nested too deep" in told[8]
    assert [document.text for document in documents(content, "jsonl") if document] == ["one", "two"]


def test_csv() -> None:
    content = (
        "\ufeffid,text,tags,jurisdiction,valid_from,answer\r\n"
        'a,"Ring, then\nwait.",x; y,north,2026-01-01,\r\n'
        "\r\n"
        ',Feed the cats.,,,,"So ""be"" it"\r\n'
    )
    assert documents(content, "csv") == [
        Document("a", "Ring, then\nwait.", {"tags": ["x", "y"], "jurisdiction": ["north"], "valid_from": "2026-01-01"}),
        Document(content_id("Feed the cats.", 'So "be" it'), "Feed the cats.", {"answer": 'So "be" it'}),
    ]
    assert [record.line for record in read(content, "csv")] == [2, 5]
    assert read(content, "csv")[-1].end == len(content.encode())


def test_tsv() -> None:
    assert documents("prompt\tanswer\nHow, now?\tSo.\n", "tsv")[0] == Document(
        content_id("How, now?", "So."), "How, now?", {"answer": "So."}
    )


def test_bad_rows_are_told() -> None:
    content = 'id,text\na,one\nb\nc,two,3\nd,"x"y\n,\ne,three\n'
    told = errors(content, "csv")
    assert told[3] == "1 values for 2 columns"
    assert told[4] == "3 values for 2 columns"
    assert told[5].startswith("no CSV: ")
    assert told[6] == "a record needs 'text' or 'prompt'"
    assert [document.id for document in documents(content, "csv") if document] == ["a", "e"]


@pytest.mark.parametrize("header", ["", "id,answer\n", "text,text\n", "text,,id\n"])
def test_a_bad_header_ends_the_reading(header: str) -> None:
    with pytest.raises(InvalidRecord, match="the first line must name"):
        read(header + "a,b\n" if header else header, "csv")


def test_text_is_read_by_paragraph() -> None:
    content = "\n  First rule,\nin two lines.\n\n \nSecond rule.\n"
    assert [document.text for document in documents(content, "text") if document] == [
        "First rule,\nin two lines.",
        "Second rule.",
    ]
    assert [record.line for record in read(content, "text")] == [2, 6]


def test_bytes_that_are_no_utf8_are_left_to_the_check() -> None:
    """They become lone surrogates, which no corpus takes: `import_records` tells the line."""
    (bad, good) = documents(b'{"text": "caf\xe9"}\n{"text": "caf\xc3\xa9"}\n', "jsonl")
    assert bad is not None
    assert bad.text == "caf\udce9"
    assert good is not None
    assert good.text == "café"


def test_the_format_follows_from_the_name() -> None:
    assert [format_of(Path(name)) for name in ("a.jsonl", "b.CSV", "c.txt", "d.tsv", "e.md")] == [
        "jsonl",
        "csv",
        "text",
        "tsv",
        "text",
    ]
    with pytest.raises(InvalidRecord, match=r"a.docx: the name tells no format; it may end in .jsonl"):
        format_of(Path("a.docx"))
