"""The bytes of files: whole or not there."""

import errno
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

from trimtab.server.errors import NotFound, StorageFull
from trimtab.server.jobs.blobs import Blobs
from trimtab.strategies.core.errors import EngineUnavailable


class Filling:
    """A file on a disk that has room for five bytes more."""

    def __init__(self, path: Path, code: int) -> None:
        self._file = path.open("xb")
        self._code = code
        self._room = 5

    def write(self, data: bytes) -> int:
        self._file.write(data[: self._room])
        self._room -= len(data)
        if self._room < 0:
            raise OSError(self._code, os.strerror(self._code))
        return len(data)

    def flush(self) -> None:
        self._file.flush()

    def fileno(self) -> int:
        return self._file.fileno()

    def __enter__(self) -> "Filling":
        return self

    def __exit__(self, *_: Any) -> None:
        self._file.close()


def filling(folder: Path, code: int = errno.ENOSPC) -> Blobs:
    return Blobs(folder, new_file=lambda path: cast(BinaryIO, Filling(path, code)))


def put(blobs: Blobs, id: str, data: bytes = b"bytes") -> None:
    with blobs.create(id) as out:
        out.write(data)


def age(folder: Path, name: str, written: float) -> None:
    os.utime(folder / name, (written, written))


def test_bytes_come_back_until_they_are_deleted(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "files")
    put(blobs, "file-a", b"\x00\xff" * 1000)
    assert blobs.size("file-a") == 2000
    with blobs.open("file-a") as reader:
        blobs.delete("file-a")
        assert reader.read() == b"\x00\xff" * 1000
    blobs.delete("file-a")
    with pytest.raises(NotFound):
        blobs.open("file-a")
    with pytest.raises(NotFound):
        blobs.size("file-a")


def test_a_file_has_its_name_when_it_is_whole(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    with blobs.create("file-a") as out:
        out.write(b"half")
        with pytest.raises(NotFound):
            blobs.open("file-a")
    assert [path.name for path in tmp_path.iterdir()] == ["file-a"]


def test_what_is_broken_off_leaves_nothing(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)

    def break_off() -> None:
        with blobs.create("file-a") as out:
            out.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        break_off()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_keeps_nothing(tmp_path: Path, code: int) -> None:
    put(filling(tmp_path, code), "file-small", b"12345")
    with pytest.raises(StorageFull, match="full"):
        put(filling(tmp_path, code), "file-a", b"123456")
    assert [path.name for path in tmp_path.iterdir()] == ["file-small"]


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "files").write_text("in the way")
    with pytest.raises(EngineUnavailable, match=os.strerror(errno.EEXIST)):
        put(Blobs(tmp_path / "files"), "file-a")


def test_a_broken_disk_is_no_full_one(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match=os.strerror(errno.EIO)) as raised:
        put(filling(tmp_path, errno.EIO), "file-a", b"123456")
    assert raised.value.code == "jobs_unavailable"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("id", ["", "..", "../file-a", "a/b", "/etc/passwd", "a\x00b", "file-a.part", "x" * 200])
def test_a_path_is_no_id(tmp_path: Path, id: str) -> None:
    blobs = Blobs(tmp_path)
    for work in (blobs.open, blobs.size, blobs.delete, lambda it: put(blobs, it)):
        with pytest.raises(ValueError, match="id of a file"):
            work(id)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")
def test_nobody_else_may_read(tmp_path: Path) -> None:
    put(Blobs(tmp_path / "files"), "file-a")
    assert stat.S_IMODE((tmp_path / "files").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "files" / "file-a").stat().st_mode) == 0o600


def test_a_sweep_takes_what_is_old_and_unknown_or_half(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    for name in ("file-known", "file-lost", "file-new"):
        put(blobs, name)
    for name in ("file-lost.1.part", "file-new.2.part"):
        (tmp_path / name).write_bytes(b"half")
    for name in ("file-known", "file-lost", "file-lost.1.part"):
        age(tmp_path, name, 99.0)
    asked: list[str] = []

    def known(ids: Any) -> set[str]:
        asked.extend(ids)
        return {"file-known"}

    assert blobs.sweep(known, before=100.0) == 2
    assert sorted(asked) == ["file-known", "file-lost"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file-known", "file-new", "file-new.2.part"]
    assert blobs.sweep(known, before=100.0) == 0


def test_a_sweep_where_nothing_was_ever_kept(tmp_path: Path) -> None:
    assert Blobs(tmp_path / "nothing").sweep(lambda ids: set(), before=1e12) == 0
    assert not (tmp_path / "nothing").exists()
