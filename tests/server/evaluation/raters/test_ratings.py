"""Ratings outlive the program, can be taken back, and come into the log by name."""

import json
import resource
from pathlib import Path

import pytest

from tests.server.evaluation.logs import log_of
from trimtab.server.evaluation.log import Log
from trimtab.server.evaluation.raters.pairs import Pair, RatersError, blinded, keep_key
from trimtab.server.evaluation.raters.ratings import RATINGS, RatingFile, RatingLine, import_ratings, read_ratings

PAIRS = tuple(Pair(id=name, messages=({"role": "user", "content": "hi"},), a="1", b="2") for name in "xyz")


def lines(path: Path) -> list[tuple[str, str | None]]:
    return [(line["pair"], line["choice"]) for line in map(json.loads, path.read_text().splitlines())]


def test_each_rating_is_in_the_file_when_it_is_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with RatingFile(path, "ann", PAIRS) as ratings:
        ratings.rate("x", "a")
        assert lines(path) == [("x", "a")]
        ratings.rate("y", "tie")
        assert ratings.undo() == "y"
        assert lines(path) == [("x", "a"), ("y", "tie"), ("y", None)]
        assert dict(ratings.done) == {"x": "a"}


def test_it_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with RatingFile(path, "ann", PAIRS) as ratings:
        ratings.rate("x", "a")
        ratings.rate("y", "b")
    with path.open("a") as file:
        file.write('{"pair": "z", "rater": "an')  # the program died while it wrote
    with RatingFile(path, "bob", PAIRS) as other:
        assert not other.done
        other.rate("x", "b")
    with RatingFile(path, "ann", PAIRS) as ratings:
        assert dict(ratings.done) == {"x": "a", "y": "b"}
        assert ratings.undo() == "y"
        assert ratings.undo() == "x"
        assert ratings.undo() is None
    assert lines(path) == [("x", "a"), ("y", "b"), ("x", "b"), ("y", None), ("x", None)]


def test_unknown_pairs_and_places_are_refused(tmp_path: Path) -> None:
    with RatingFile(tmp_path / "r.jsonl", "ann", PAIRS) as ratings, pytest.raises(RatersError, match="no pair 'q'"):
        ratings.rate("q", "a")
    with pytest.raises(RatersError, match="cannot be written"):
        RatingFile(tmp_path / "missing" / "r.jsonl", "ann", PAIRS)


def test_a_full_disk_keeps_no_half_line(tmp_path: Path) -> None:
    """A file that may not grow beyond one and a half lines stands for the disk."""
    path = tmp_path / "r.jsonl"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with RatingFile(path, "ann", PAIRS) as ratings:
        ratings.rate("x", "a")
        size = path.stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + size // 2, hard))
        try:
            with pytest.raises(RatersError, match="cannot be written"):
                ratings.rate("y", "a")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert dict(ratings.done) == {"x": "a"}
        assert path.stat().st_size == size
        ratings.rate("z", "b")
    assert lines(path) == [("x", "a"), ("z", "b")]


def test_what_is_no_file_is_refused() -> None:
    with pytest.raises(RatersError, match="is no file"):
        RatingFile(Path("/dev/null"), "ann", PAIRS)


@pytest.fixture
def log() -> Log:
    answers = {(name, place): {"answer": f"{name} says {place}"} for name in ("plain", "norms") for place in range(6)}
    return log_of({("reward", "plain"): [0.0] * 6}, answers=answers)


def rated(path: Path, *given: tuple[str, str, str | None]) -> Path:
    path.write_text(
        "".join(
            RatingLine.model_validate(dict(zip(("rater", "pair", "choice"), one, strict=True))).model_dump_json() + "\n"
            for one in given
        )
    )
    return path


def test_ratings_are_unblinded_and_replace_earlier_ones(log: Log, tmp_path: Path) -> None:
    found = blinded(log, 4, seed=3)
    keep_key(tmp_path, found.key)
    entries = found.key
    other = {"a": "b", "b": "a"}
    first = rated(
        tmp_path / "one.jsonl",
        ("ann", entries[0].pair, entries[0].side),
        ("ann", entries[1].pair, other[entries[1].side]),
        ("ann", entries[2].pair, "tie"),
        ("bob", entries[0].pair, "tie"),
    )
    imported = import_ratings(tmp_path, log, [first])
    assert (imported.added, imported.replaced) == (4, 0)
    values = {(one.rater, one.sample): one.value for one in read_ratings(tmp_path)}
    assert values == {
        ("ann", entries[0].sample): 1.0,
        ("ann", entries[1].sample): 0.0,
        ("ann", entries[2].sample): 0.5,
        ("bob", entries[0].sample): 0.5,
    }
    assert all(one.alignment == "norms" for one in imported.ratings)
    second = rated(tmp_path / "two.jsonl", ("ann", entries[0].pair, "tie"), ("bob", entries[0].pair, None))
    imported = import_ratings(tmp_path, log, [first, second])
    assert (imported.added, imported.replaced) == (0, 3)
    values = {(one.rater, one.sample): one.value for one in read_ratings(tmp_path)}
    assert values[("ann", entries[0].sample)] == 0.5
    assert ("bob", entries[0].sample) not in values


def test_wrong_files_change_nothing(log: Log, tmp_path: Path) -> None:
    found = blinded(log, 2)
    keep_key(tmp_path, found.key)
    good = rated(tmp_path / "good.jsonl", ("ann", found.key[0].pair, "a"))
    bad = rated(tmp_path / "bad.jsonl", ("ann", found.key[0].pair, "a"), ("ann", "nobody", "a"))
    with pytest.raises(RatersError, match=r"bad.jsonl, rating 2: the pair 'nobody' was not exported"):
        import_ratings(tmp_path, log, [good, bad])
    bad.write_text('{"pair": "x", "rater": "ann", "choice": "left"}\n')
    with pytest.raises(RatersError, match=r"bad.jsonl, line 1: choice"):
        import_ratings(tmp_path, log, [good, bad])
    assert not (tmp_path / RATINGS).exists()


def test_answers_that_changed_since_are_found_out(log: Log, tmp_path: Path) -> None:
    found = blinded(log, 1)
    keep_key(tmp_path, found.key)
    path = rated(tmp_path / "r.jsonl", ("ann", found.key[0].pair, "a"))
    key = ("norms", found.key[0].sample)
    changed = {**log.generations, key: log.generations[key].model_copy(update={"answer": "something else"})}
    with pytest.raises(RatersError, match="other answers than those that were rated"):
        import_ratings(tmp_path, Log(log.header, log.samples, changed), [path])
