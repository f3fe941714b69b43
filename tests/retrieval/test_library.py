"""A library: corpora by name, one process at a time, built-in ones beside them."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.retrieval.doubles import Encoders, WordEncoder
from trimtab.retrieval.built_in import BuiltIn
from trimtab.retrieval.documents import Document
from trimtab.retrieval.errors import (
    CorpusClosed,
    CorpusExists,
    InvalidDocument,
    InvalidName,
    LibraryLocked,
    NewerStore,
    ReadOnlyCorpus,
    StoreError,
    UnknownCorpus,
)
from trimtab.retrieval.library import Library

BELL = Document("bell", "Ring the bell twice.")
RULES = {"rules": BuiltIn(lambda: [BELL], {"origin": "built in"})}


def test_corpora_by_name(tmp_path: Path) -> None:
    library = Library(tmp_path / "corpora", Encoders())
    assert library.names() == []
    library.create("ward-7", metadata={"owner": "hospital"}).put([BELL])
    library.create("lab")
    assert [info.name for info in library.names()] == ["lab", "ward-7"]
    assert library.open("ward-7") is library.open("ward-7")
    library.close()
    again = Library(tmp_path / "corpora", Encoders())
    assert [(info.name, info.documents, info.metadata) for info in again.names()] == [
        ("lab", 0, {}),
        ("ward-7", 1, {"owner": "hospital"}),
    ]
    assert again.open("ward-7").search("bell", 1)[0].document == BELL


def test_unknown_names_name_the_nearest(tmp_path: Path) -> None:
    library = Library(tmp_path, Encoders(), RULES)
    library.create("hospital")
    for call in (library.open, library.delete):
        with pytest.raises(UnknownCorpus, match="no corpus 'hospitl'; did you mean 'hospital'"):
            call("hospitl")
    with pytest.raises(UnknownCorpus, match="did you mean 'rules'"):
        library.open("rule")


@pytest.mark.parametrize("name", ["", "Upper", "..", "a/b", "a..b", ".a", "a-", "ä", "x" * 65, "a b", "a\n"])
def test_bad_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidName, match="cannot be the name of a corpus"):
        Library(tmp_path, Encoders()).create(name)


def test_a_name_is_taken_once(tmp_path: Path) -> None:
    library = Library(tmp_path, Encoders(), RULES)
    library.create("a")
    for name in ("a", "rules"):
        with pytest.raises(CorpusExists):
            library.create(name)
    with pytest.raises(InvalidDocument, match=r"metadata.x must be a JSON value"):
        library.create("b", metadata={"x": {1, 2}})


def test_deleted_it_is_gone_at_once_and_for_good(tmp_path: Path) -> None:
    library = Library(tmp_path, Encoders())
    corpus = library.create("a")
    corpus.put([BELL])
    library.delete("a")
    with pytest.raises(CorpusClosed):
        corpus.search("bell", 1)
    assert library.names() == []
    assert library.create("a").info().documents == 0


def test_each_corpus_has_the_encoder_it_was_made_with(tmp_path: Path) -> None:
    words, other = WordEncoder(), WordEncoder("other", dimension=8, salt="other")
    library = Library(tmp_path, Encoders(words, other))
    library.create("a").put([BELL])
    library.create("b", encoder="other").put([BELL])
    assert [(info.encoder, info.dimension) for info in library.names()] == [("words", 32), ("other", 8)]


def test_an_encoder_that_nobody_has_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    library = Library(tmp_path, Encoders())
    with pytest.raises(KeyError, match="nobody"):
        library.create("a", encoder="nobody")
    assert library.names() == []


def test_one_process_at_a_time(tmp_path: Path) -> None:
    library = Library(tmp_path, Encoders())
    library.create("a")
    with pytest.raises(LibraryLocked, match="another process has the corpora in"):
        Library(tmp_path, Encoders()).names()
    program = (
        "import sys; from pathlib import Path; from tests.retrieval.doubles import Encoders;"
        "from trimtab.retrieval.library import Library; Library(Path(sys.argv[1]), Encoders()).open('a')"
    )
    other = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False)
    assert "LibraryLocked" in other.stderr
    library.close()
    assert len(Library(tmp_path, Encoders()).names()) == 1


def test_built_in_corpora_are_read_only_and_shared(tmp_path: Path) -> None:
    encoder = WordEncoder()
    library = Library(tmp_path, Encoders(encoder), RULES)
    (info,) = library.names()
    assert (info.name, info.documents, info.read_only, info.metadata) == ("rules", 1, True, {"origin": "built in"})
    assert encoder.texts == []
    assert library.open("rules").search("bell", 1)[0].document == BELL
    with pytest.raises(ReadOnlyCorpus):
        library.open("rules").put([BELL])
    with pytest.raises(ReadOnlyCorpus):
        library.delete("rules")
    beside = Library(tmp_path, Encoders(encoder), RULES)
    encoder.texts.clear()
    assert beside.open("rules").search("bell", 1)[0].document == BELL
    assert BELL.text not in encoder.texts


def test_built_in_corpora_follow_their_documents(tmp_path: Path) -> None:
    Library(tmp_path, Encoders(), RULES).open("rules")
    changed = {"rules": BuiltIn(lambda: [Document("bell", "Ring it once.")])}
    assert Library(tmp_path, Encoders(), changed).open("rules").get("bell").text == "Ring it once."


def test_what_a_killed_process_left_half_made_is_swept(tmp_path: Path) -> None:
    left = tmp_path / ".passing-1"
    left.mkdir()
    (left / "corpus.db").touch()
    assert Library(tmp_path, Encoders()).names() == []
    assert not left.exists()


def test_a_newer_format_and_a_foreign_file_are_refused(tmp_path: Path) -> None:
    library = Library(tmp_path, Encoders())
    library.create("a")
    library.close()
    import sqlite3

    with sqlite3.connect(tmp_path / "a" / "corpus.db") as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(NewerStore, match="has format 99; this version of Trimtab reads up to 1"):
        Library(tmp_path, Encoders()).open("a")
    (tmp_path / "a" / "corpus.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreError, match="file is not a database"):
        library.open("a")
