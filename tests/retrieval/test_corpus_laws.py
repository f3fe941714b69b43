"""A corpus against a dictionary: any run of changes, snapshots and reopenings leaves both with the same documents and hits."""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.retrieval.doubles import Encoders, WordEncoder
from trimtab.retrieval.chunking import Window, passages
from trimtab.retrieval.corpus import Corpus
from trimtab.retrieval.documents import Document, Filter
from trimtab.retrieval.plan import IndexPlan

ENCODER = WordEncoder(window=4)
PLAN = IndexPlan(exact_up_to=6, sample=8)
"""So small that indices are made anew all the time."""
TEXTS = ("red fish", "blue fish", "red bird", "one red fish and two blue birds. three red dogs run home.", "red fish")
WINDOW = Window(ENCODER.window, ENCODER.window // 8)


@dataclass(frozen=True)
class Entry:
    """A document of the model."""

    document: Document
    order: int
    """When it came."""


@dataclass
class Model:
    """What a corpus ought to be."""

    entries: dict[str, Entry] = field(default_factory=dict)
    kept: dict[str, dict[str, Entry]] = field(default_factory=dict)
    following: int = 0

    def enter(self, document: Document) -> None:
        self.entries[document.id] = Entry(document, self.following)
        self.following += 1

    def put(self, documents: list[Document]) -> None:
        for document in {document.id: document for document in documents}.values():
            self.enter(document)

    def restore(self, label: str) -> None:
        """What is unchanged stays as old as it is, what comes back is new."""
        then = self.kept[label]
        back = sorted((entry for name, entry in then.items() if self.entries.get(name) != entry), key=lambda entry: entry.order)
        self.entries = {name: entry for name, entry in self.entries.items() if then.get(name) == entry}
        for entry in back:
            self.enter(entry.document)

    def hits(self, query: str, k: int, where: Filter) -> list[tuple[str, float]]:
        vector = ENCODER.encode([query])[0].astype(np.float64)
        scored = []
        for entry in self.entries.values():
            if where.admits(entry.document):
                text = entry.document.text
                parts = [text[start:stop] for start, stop in passages(text, ENCODER.spans(text), WINDOW)]
                scored.append((-max(float(own @ vector) for own in ENCODER.encode(parts)), entry.order, entry.document.id))
        return [(name, -score) for score, _, name in sorted(scored)][:k]


names = st.integers(0, 9).map(str)
documents = st.builds(
    lambda name, text, tag: Document(name, TEXTS[text], {"tags": [tag]}),
    names,
    st.integers(0, len(TEXTS) - 1),
    st.sampled_from("ab"),
)
steps = st.lists(
    st.one_of(
        st.lists(documents, min_size=1, max_size=8),
        st.sets(names, min_size=1, max_size=4),
        st.sampled_from(["snapshot", "restore", "reopen", "settle"]),
    ),
    max_size=10,
)


@settings(max_examples=25)
@given(steps=steps)
def test_a_corpus_is_what_was_put_and_not_removed(steps: list[list[Document] | set[str] | str]) -> None:
    model = Model()
    with tempfile.TemporaryDirectory() as directory:
        Corpus.create(Path(directory), "rules", ENCODER.name, {})
        corpus = Corpus(Path(directory), Encoders(ENCODER), plan=PLAN)
        for step in steps:
            corpus = _take(step, corpus, model, Path(directory))
            _compare(corpus, model)
        corpus.close()


def _take(step: list[Document] | set[str] | str, corpus: Corpus, model: Model, directory: Path) -> Corpus:
    if isinstance(step, list):
        corpus.put(step)
        model.put(step)
    elif isinstance(step, set):
        assert corpus.remove(sorted(step)) == len(step & set(model.entries))
        model.entries = {name: entry for name, entry in model.entries.items() if name not in step}
    elif step == "snapshot":
        label = f"s{len(model.kept)}"
        assert corpus.snapshot(label).documents == len(model.entries)
        model.kept[label] = dict(model.entries)
    elif step == "restore" and model.kept:
        corpus.restore(next(iter(model.kept)))
        model.restore(next(iter(model.kept)))
    elif step == "settle":
        assert corpus.settle(30)
    elif step == "reopen":
        corpus.close()
        return Corpus(directory, Encoders(ENCODER), plan=PLAN)
    return corpus


def _compare(corpus: Corpus, model: Model) -> None:
    page = corpus.list(limit=100)
    assert list(page.documents) == [model.entries[name].document for name in sorted(model.entries)]
    assert corpus.info().documents == len(model.entries)
    for query, where in (("red fish", Filter()), ("two blue", Filter(tags=("a",))), ("dogs", Filter(ids=("1", "2", "3")))):
        for k in (1, 4):
            found = [(hit.document.id, hit.score) for hit in corpus.search(query, k, where=where)]
            expected = model.hits(query, k, where)
            np.testing.assert_allclose([score for _, score in found], [score for _, score in expected], atol=1e-6)
            assert [name for name, _ in found] == [name for name, _ in expected]
