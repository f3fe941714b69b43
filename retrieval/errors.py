"""What can go wrong with corpora.

RetrievalError
├── InvalidName          a corpus or snapshot cannot be called that
├── InvalidDocument      a document cannot be stored as it is; `index` says which of those given
├── InvalidRecord        a line of an import is no document
├── UnknownCorpus        no corpus of that name
├── UnknownDocument      no document of that id
├── UnknownSnapshot      no snapshot of that label
├── CorpusExists         the name is taken
├── SnapshotExists       the label is taken
├── ReadOnlyCorpus       a built-in corpus is not to be changed
├── EncoderMismatch      the corpus was embedded by another encoder
├── CorpusClosed         the corpus was closed or deleted while it was used
├── LibraryLocked        another process has the library open
└── StoreError           the records on disk cannot be read or written
    └── NewerStore       a later version of Trimtab wrote them
"""

from collections.abc import Iterable
from difflib import get_close_matches


class RetrievalError(Exception):
    """Root of the package's errors."""


class InvalidName(RetrievalError):
    """A corpus or a snapshot cannot be called that."""


class InvalidDocument(RetrievalError):
    """A document cannot be stored as it is; `index` says which of those given, `field` what of it."""

    def __init__(self, reason: str, *, index: int = 0, field: str = "") -> None:
        super().__init__(reason)
        self.index = index
        self.field = field


class InvalidRecord(RetrievalError):
    """A line of an import is no document."""


class UnknownCorpus(RetrievalError):
    """No corpus has this name."""

    def __init__(self, name: str, known: Iterable[str] = ()) -> None:
        super().__init__(f"there is no corpus {name!r}{_nearest(name, known)}")
        self.name = name


class UnknownDocument(RetrievalError):
    """The corpus holds no document of this id."""

    def __init__(self, corpus: str, document: str) -> None:
        super().__init__(f"corpus {corpus!r} holds no document {document!r}")
        self.document = document


class UnknownSnapshot(RetrievalError):
    """The corpus has no snapshot of this label."""

    def __init__(self, corpus: str, label: str, known: Iterable[str] = ()) -> None:
        super().__init__(f"corpus {corpus!r} has no snapshot {label!r}{_nearest(label, known)}")
        self.label = label


class CorpusExists(RetrievalError):
    """The name is taken."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is already a corpus {name!r}")
        self.name = name


class SnapshotExists(RetrievalError):
    """The label is taken."""

    def __init__(self, corpus: str, label: str) -> None:
        super().__init__(f"corpus {corpus!r} already has a snapshot {label!r}")
        self.label = label


class ReadOnlyCorpus(RetrievalError):
    """A built-in corpus is not to be changed."""

    def __init__(self, name: str) -> None:
        super().__init__(f"corpus {name!r} is built in and cannot be changed; create one of your own beside it")
        self.name = name


class EncoderMismatch(RetrievalError):
    """The corpus was embedded by another encoder than the one at hand."""


class CorpusClosed(RetrievalError):
    """The corpus was closed or deleted while it was used."""

    def __init__(self, name: str) -> None:
        super().__init__(f"corpus {name!r} is closed")
        self.name = name


class LibraryLocked(RetrievalError):
    """Another process has the library open."""


class StoreError(RetrievalError):
    """The records on disk cannot be read or written."""


class NewerStore(StoreError):
    """A later version of Trimtab wrote the records."""


def _nearest(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
