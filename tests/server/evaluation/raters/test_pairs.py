"""Blinded pairs tell nothing, are a random sample, and come back by their key."""

from pathlib import Path

import pytest

from tests.server.evaluation.logs import log_of
from trimtab.server.evaluation.log import Log
from trimtab.server.evaluation.raters.pairs import (
    Pair,
    RatersError,
    blinded,
    comparable,
    identical,
    keep_key,
    read_key,
    read_pairs,
    write_records,
)

NAMES = ("plain", "norms", "urial")


def log(samples: int = 40) -> Log:
    answers: dict[tuple[str, int], dict[str, str | None]] = {
        (name, place): {"answer": f"answer {place} in the way {number}"}
        for number, name in enumerate(NAMES)
        for place in range(samples)
    }
    answers["norms", 0] = answers["plain", 0]
    answers["norms", 1] = {"answer": None, "error": "500 internal_error: it failed"}
    return log_of({("reward", "plain"): [0.0] * samples}, alignments=NAMES, answers=answers)


def test_identical_and_failed_answers_are_no_pairs() -> None:
    assert comparable(log(), "norms") == tuple(f"s{place}" for place in range(2, 40))
    assert (identical(log(), "norms"), identical(log(), "urial"), identical(log(), "plain")) == (1, 0, 0)
    assert comparable(log(), "plain") == ()


def test_pairs_hold_no_name_and_the_key_tells_all() -> None:
    given = log()
    found = blinded(given, 30, seed=4)
    assert len({pair.id for pair in found.pairs}) == 30
    assert sorted({entry.alignment for entry in found.key}) == ["norms", "urial"]
    assert sum(entry.alignment == "norms" for entry in found.key) == 15
    for pair, entry in zip(found.pairs, found.key, strict=True):
        shown = pair.model_dump_json()
        assert not any(name in shown for name in (*NAMES, entry.sample, "reward", "ms"))
        assert getattr(pair, entry.side) == given.generations[entry.alignment, entry.sample].answer
        assert getattr(pair, "b" if entry.side == "a" else "a") == given.generations["plain", entry.sample].answer


def test_sides_and_order_are_drawn_by_the_seed() -> None:
    first, again, other = (blinded(log(), 60, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert {pair.id for pair in first.pairs}.isdisjoint(pair.id for pair in other.pairs)
    sides = [entry.side for entry in first.key]
    # 60 fair sides: 15 of one or fewer have a probability below 1e-4.
    assert 15 < sides.count("a") < 45
    order = [entry.sample for entry in first.key if entry.alignment == "urial"]
    assert order != sorted(order, key=lambda name: int(name[1:]))


def test_no_more_pairs_than_there_are() -> None:
    assert len(blinded(log(), 1000).pairs) == 38 + 40


def test_a_log_without_pairs_is_refused() -> None:
    with pytest.raises(RatersError, match="no pair can be rated"):
        blinded(log_of({("reward", "plain"): [0.0]}, alignments=("plain",)), 5)


def test_keys_of_several_exports_stay(tmp_path: Path) -> None:
    first, second = (blinded(log(), 10, seed=seed) for seed in (1, 2))
    keep_key(tmp_path, first.key)
    keep_key(tmp_path, second.key)
    keep_key(tmp_path, second.key)
    assert read_key(tmp_path) == (*first.key, *second.key)


def test_files_of_pairs_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    with pytest.raises(RatersError, match=r"pairs.jsonl cannot be read"):
        read_pairs(path)
    path.write_text("")
    with pytest.raises(RatersError, match="holds no pairs"):
        read_pairs(path)
    pair = Pair(id="x", messages=({"role": "user", "content": "hi"},), a="1", b="2")
    write_records(path, [pair, pair])
    with pytest.raises(RatersError, match=r"pair 2: the id 'x' comes twice"):
        read_pairs(path)
    path.write_text('{"id": "x", "messages": [], "a": "1"}\n')
    with pytest.raises(RatersError, match=r"line 1: b: Field required"):
        read_pairs(path)
    with pytest.raises(RatersError, match="export pairs of this log first"):
        read_key(tmp_path)
