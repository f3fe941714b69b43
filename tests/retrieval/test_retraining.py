"""The index is made anew beside searches and changes, loses nothing, and is as good as it says."""

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from trimtab.retrieval.documents import Filter
from trimtab.retrieval.encoding import Vectors
from trimtab.retrieval.index import FlatIndex
from trimtab.retrieval.ivf import IvfIndex, Layout
from trimtab.retrieval.layout_file import FILE, load_layout, save_layout
from trimtab.retrieval.plan import IndexPlan
from trimtab.retrieval.records import Change, Row
from trimtab.retrieval.retraining import Retraining
from trimtab.retrieval.view import View

DIMENSION = 24
PLAN = IndexPlan(exact_up_to=3000, recall=0.97)
CHANCE = np.random.default_rng(3)
CENTRES = CHANCE.standard_normal((60, DIMENSION)).astype(np.float32)


def drawn(count: int) -> Vectors:
    points = CENTRES[CHANCE.integers(0, len(CENTRES), count)] + 0.4 * CHANCE.standard_normal((count, DIMENSION)).astype(
        np.float32
    )
    return np.asarray(points / np.linalg.norm(points, axis=1, keepdims=True), dtype=np.float32)


VECTORS = drawn(12_000)


def change(added: Sequence[int] = (), removed: Sequence[int] = ()) -> Change:
    return Change(1, removed, [Row(number, number, str(number), {}) for number in added], VECTORS[list(added)], 0)


def recall(view: View, held: Sequence[int], where: Filter | None = None) -> float:
    """Of the 10 nearest of what is held, over 100 queries that are not stored."""
    known = np.asarray(held)
    hits = 0
    for query in drawn(100):
        true = known[np.argsort(-(VECTORS[known] @ query))[:10]]
        hits += len({match.number for match in view.search(query, 10, where or Filter())} & set(true.tolist()))
    return hits / 1000


def settled(view: View) -> list[Layout]:
    made: list[Layout] = []
    work = Retraining(view, PLAN, made.append)
    work.consider()
    assert work.wait(60)
    return made


def test_a_grown_corpus_is_searched_by_lists() -> None:
    view = View(FlatIndex(DIMENSION), DIMENSION)
    view.apply(change(range(3000)))
    assert settled(view) == []
    assert recall(view, range(3000)) == 1
    view.apply(change(range(3000, 6000)))
    (layout,) = settled(view)
    assert isinstance(view.index, IvfIndex)
    assert layout.numbers.tolist() == list(range(6000))
    assert layout.calibration.probes[0] < len(layout.centroids) / 2
    assert list(layout.calibration.probes) == sorted(layout.calibration.probes)
    assert recall(view, range(6000)) >= 0.95
    assert recall(view, range(0, 6000, 2), Filter(ids=tuple(str(number) for number in range(0, 6000, 2)))) >= 0.95
    assert recall(view, range(0, 6000, 100), Filter(ids=tuple(str(number) for number in range(0, 6000, 100)))) == 1


def test_a_grown_one_is_made_anew_and_a_shrunk_one_is_compared_again() -> None:
    view = View(FlatIndex(DIMENSION), DIMENSION)
    view.apply(change(range(4000)))
    settled(view)
    before = view.index
    view.apply(change(range(4000, 5900)))
    assert settled(view) == []
    assert view.index is before
    view.apply(change(range(5900, 7000)))
    (layout,) = settled(view)
    assert view.index is not before
    assert layout.calibration.size == 7000
    view.apply(change(removed=range(6000)))
    assert recall(view, range(6000, 7000)) >= 0.95
    settled(view)
    assert isinstance(view.index, FlatIndex)
    assert recall(view, range(6000, 7000)) == 1


def test_what_changes_during_the_work_is_there_afterwards() -> None:
    """A writer adds and removes through the whole making of an index, whose copying is held at a gate until it has begun."""
    began, go_on = threading.Event(), threading.Event()

    class Gated(View):
        def held(self, numbers: np.ndarray) -> tuple[np.ndarray, Vectors]:
            began.set()
            assert go_on.wait(60)
            return super().held(numbers)

    gated = Gated(FlatIndex(DIMENSION), DIMENSION)
    gated.apply(change(range(6000)))
    work = Retraining(gated, PLAN, lambda layout: None)
    work.consider()
    assert began.wait(60)
    gated.apply(change(range(6000, 9000), removed=range(1000)))
    go_on.set()
    for number in range(9000, 9500):
        gated.apply(change([number], removed=[number - 8000]))
    assert work.wait(60)
    assert isinstance(gated.index, IvfIndex)
    held = list(range(1500, 9500))
    assert gated.index.numbers().tolist() == held
    assert gated.numbers(-1).tolist() == held
    for number in (1500, 6500, 9499):
        (match,) = gated.search(VECTORS[number], 1, Filter())
        assert match.number == number


def test_searches_and_changes_go_on_meanwhile() -> None:
    view = View(FlatIndex(DIMENSION), DIMENSION)
    view.apply(change(range(8000)))
    work = Retraining(view, PLAN, lambda layout: None)
    work.consider()
    following = 8000
    while not work.wait(0) and following < len(VECTORS):
        view.apply(change([following]))
        (match,) = view.search(VECTORS[following], 1, Filter())
        assert match.number == following
        view.apply(change(removed=[following]))
        assert view.search(VECTORS[following], 1, Filter())[0].number != following
        following += 1
    assert work.wait(60)
    assert view.numbers(-1).tolist() == list(range(8000))


def test_stopped_it_leaves_the_index_there_is() -> None:
    view = View(FlatIndex(DIMENSION), DIMENSION)
    view.apply(change(range(12_000)))
    before = view.index
    work = Retraining(view, PLAN, lambda layout: None)
    work.stop()
    work.consider()
    assert work.wait(0)
    assert view.index is before


def test_a_failure_is_logged_and_searches_go_on(caplog: pytest.LogCaptureFixture) -> None:
    view = View(FlatIndex(DIMENSION), DIMENSION)
    view.apply(change(range(4000)))

    def fails(layout: Layout) -> None:
        raise OSError("no space left")

    work = Retraining(view, PLAN, fails)
    work.consider()
    assert work.wait(60)
    assert "could not be made anew" in caplog.text
    assert len(view.search(VECTORS[0], 3, Filter())) == 3


def test_a_layout_is_kept_and_completed(tmp_path: Path) -> None:
    """Reopened with what was added since and without what was removed since, it holds exactly what is there."""
    view = View(FlatIndex(DIMENSION), DIMENSION)
    view.apply(change(range(5000)))
    (layout,) = settled(view)
    save_layout(tmp_path, "one", layout)
    assert load_layout(tmp_path, "another", DIMENSION) is None
    assert load_layout(tmp_path, "one", DIMENSION + 1) is None
    known = load_layout(tmp_path, "one", DIMENSION)
    assert known is not None
    held = range(500, 5500)
    again = View.of([([Row(n, n, str(n), {}) for n in held], VECTORS[500:5500])], DIMENSION, known)
    assert isinstance(again.index, IvfIndex)
    assert again.index.numbers().tolist() == list(held)
    np.testing.assert_array_equal(again.index.vectors(np.asarray([600, 5400])), VECTORS[[600, 5400]])
    assert recall(again, held) >= 0.95


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"x" * 1000])
def test_a_layout_that_cannot_be_read_is_made_anew(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    assert load_layout(tmp_path, "one", DIMENSION) is None
    (tmp_path / FILE).write_bytes(content)
    assert load_layout(tmp_path, "one", DIMENSION) is None
    assert "made anew" in caplog.text
