"""An import: batch by batch, errors by line, and after the death of the process everything that was told of."""

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.retrieval.doubles import Encoders
from trimtab.retrieval.corpus import Corpus
from trimtab.retrieval.documents import Document
from trimtab.retrieval.importing import LineError, import_records
from trimtab.retrieval.library import Library
from trimtab.retrieval.readers import Record, read_records
from trimtab.retrieval.receipts import Receipt


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return Library(tmp_path, Encoders()).create("rules")


def lines(*objects: object) -> io.BytesIO:
    return io.BytesIO(b"".join(json.dumps(each).encode() + b"\n" for each in objects))


def test_good_lines_are_in_and_bad_ones_are_told(corpus: Corpus) -> None:
    file = lines(
        {"id": "a", "text": "Ring the bell."},
        {"id": "b", "text": "Feed the cats.", "trust": "very"},
        ["c"],
        {"id": "a", "text": "Ring the bell twice. <s>"},
        {"id": "d", "text": "Walk the dogs.", "source": "own"},
    )
    done: list[int] = []
    imported = import_records(
        corpus, read_records(file, "jsonl"), metadata={"source": "rules.jsonl"}, batch=2, progress=done.append
    )
    assert (imported.added, imported.replaced) == (2, 1)
    assert imported.errors == (
        LineError(2, "document 'b': metadata.trust must be one of untrusted, reviewed, trusted, not 'very'"),
        LineError(3, "a line must hold a JSON object, not list"),
    )
    assert imported.flagged == {"a": ("special token <s>",)}
    assert {document.id: document.metadata["source"] for document in corpus.list().documents} == {
        "a": "rules.jsonl",
        "d": "own",
    }
    assert done == sorted(done)
    assert done[-1] == len(file.getvalue())


def test_bytes_that_are_no_utf8_are_an_error_of_their_line(corpus: Corpus) -> None:
    records = read_records(io.BytesIO(b'{"id": "a", "text": "caf\xe9"}\n{"id": "b", "text": "ok"}\n'), "jsonl")
    imported = import_records(corpus, records)
    assert imported.added == 1
    assert imported.errors == (LineError(1, "document 'a': text is no valid Unicode: a lone surrogate at character 3"),)


def test_the_same_file_again_adds_nothing(corpus: Corpus) -> None:
    def once() -> tuple[int, int]:
        imported = import_records(corpus, read_records(io.BytesIO(b"Be kind.\n\nBe brave.\n"), "text"))
        return imported.added, imported.replaced

    assert once() == (2, 0)
    assert once() == (0, 2)
    assert corpus.info().documents == 2


def test_batches_are_as_large_as_asked() -> None:
    sizes: list[int] = []

    class Counting:
        def put(self, documents: list[Document], /) -> Receipt:
            sizes.append(len(documents))
            return Receipt((), len(documents), 0, {}, 1)

    records = [Record(number, number, Document(str(number), "text")) for number in range(1, 8)]
    assert import_records(Counting(), records, batch=3).added == 7
    assert sizes == [3, 3, 1]


IMPORTER = """
import itertools, sys
from pathlib import Path
from tests.retrieval.doubles import Encoders
from trimtab.retrieval.corpus import Corpus
from trimtab.retrieval.documents import Document
corpus = Corpus(Path(sys.argv[1]), Encoders())
for batch in itertools.count(int(sys.argv[2])):
    documents = [Document(f"d{batch}-{place}", f"Batch b{batch} place p{place}", {"batch": batch}) for place in range(20)]
    documents.append(Document("changing", f"Now at batch {batch}", {"batch": batch}))
    corpus.put(documents)
    corpus.remove([f"d{batch}-0"])
    print(batch, flush=True)
"""


def test_killed_in_the_middle_it_reopens_consistent(tmp_path: Path) -> None:
    """A child imports batches of 21 (one document in each replaces that of the batch before), removes one of each, and tells
    each batch when all that is acknowledged; it is killed at some moment, three times. What it told is there, whole; of the
    batch it did not tell there is all or nothing; and passages, vectors, counts and search agree with the documents.
    """
    Corpus.create(tmp_path, "rules", "words", {})
    following = 0
    for _ in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", IMPORTER, str(tmp_path), str(following)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        told = following - 1
        for line in child.stdout:
            told = int(line)
            if told >= following + 3:
                break
        os.kill(child.pid, signal.SIGKILL)
        told = max([told, *(int(line) for line in child.stdout if line.endswith("\n"))])
        child.wait()
        child.stdout.close()
        following = _check(tmp_path, told)


def _check(directory: Path, told: int) -> int:
    """Holds the store to what was told of; the number of the batch to go on with."""
    corpus = Corpus(directory, Encoders())
    documents = []
    after = None
    while True:
        page = corpus.list(after=after, limit=1000)
        documents += page.documents
        after = page.next
        if after is None:
            break
    batches: dict[int, set[str]] = {}
    for document in documents:
        if document.id != "changing":
            batches.setdefault(document.metadata["batch"], set()).add(document.id)
    last = max(batches)
    assert last in (told, told + 1)
    for batch in range(last):
        assert batches[batch] == {f"d{batch}-{place}" for place in range(1, 20)}
    assert batches[last] >= {f"d{last}-{place}" for place in range(1, 20)}
    assert corpus.get("changing").metadata["batch"] == last
    assert corpus.info().documents == len(documents) == corpus.info().chunks
    for batch in (0, last):
        hits = corpus.search(f"Batch b{batch} place p7", 5)
        assert hits[0].document.id == f"d{batch}-7"
        assert hits[0].score == pytest.approx(1, abs=1e-6)
    assert len(corpus.search("Batch", 1000)) == min(1000, len(documents))
    corpus.close()
    return last + 1
