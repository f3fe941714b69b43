"""The cache of models: where it lies, what is in it, and how a model gets into it whole or not at all.

A finished model is `models/<key>/` with a manifest in it, and it appears there by one rename. Work in progress lies in
`staging/<key>/` beside it, under a lock file that the operating system releases when its holder dies: whoever holds the
lock may therefore remove what it finds there.
"""

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout
from platformdirs import user_cache_path
from pydantic import BaseModel, ConfigDict, ValidationError

from trimtab.artifacts.catalogue import ModelKind
from trimtab.artifacts.errors import DiskFull, StorageFailed
from trimtab.artifacts.progress import Progress

MANIFEST = "trimtab-artifact.json"
"""Name of the manifest in a finished model directory."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class CacheManifest(BaseModel):
    """What a finished model directory is, written into it as its last file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    source: str
    """What it was asked for by: an alias or the path of a GGUF file."""
    kind: ModelKind
    licence: str | None
    quantised: bool
    """Whether the weights were quantised before the conversion."""
    created: datetime
    """When it was finished, UTC."""


class CachedModel(BaseModel):
    """A line of the listing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    """Name of its directory."""
    path: Path
    size: int
    """Bytes on disk."""
    manifest: CacheManifest


def cache_root(cache_dir: Path | None = None) -> Path:
    """The cache directory: the given one, `TRIMTAB_CACHE_DIR`, or the platform's user cache folder."""
    if cache_dir is not None:
        return cache_dir.expanduser().absolute()
    named = os.environ.get("TRIMTAB_CACHE_DIR")
    return Path(named).expanduser().absolute() if named else user_cache_path("trimtab")


def model_path(root: Path, key: str) -> Path:
    """Where the finished model `key` lies, whether it is there or not."""
    return root / "models" / key


def read_manifest(directory: Path) -> CacheManifest | None:
    """The manifest of a finished model, None where `directory` is not one."""
    try:
        return CacheManifest.model_validate_json((directory / MANIFEST).read_bytes())
    except (OSError, ValidationError):
        return None


def list_cached(cache_dir: Path | None = None) -> tuple[CachedModel, ...]:
    """The finished models in the cache, by key."""
    models = cache_root(cache_dir) / "models"
    found = []
    for directory in sorted(models.iterdir()) if models.is_dir() else []:
        manifest = read_manifest(directory)
        if manifest is not None:
            size = sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())
            found.append(CachedModel(key=directory.name, path=directory, size=size, manifest=manifest))
    return tuple(found)


def remove_cached(model_id: str, cache_dir: Path | None = None) -> int:
    """Remove every cached copy of the model with that id; returns the bytes freed, 0 where there is none."""
    root = cache_root(cache_dir)
    freed = 0
    for model in list_cached(root):
        if model_id in {model.manifest.id, model.key}:
            with locked(root, model.key), storage_errors(root):
                staging = _fresh_staging(root, model.key)
                os.replace(model.path, staging / "removed")
                shutil.rmtree(staging)
            freed += model.size
    return freed


@contextlib.contextmanager
def storage_errors(root: Path) -> Iterator[None]:
    """Turn an OSError of writing below `root` into StorageFailed, or DiskFull where space is what lacks."""
    try:
        yield
    except OSError as error:
        raise storage_error(root, error.errno or 0, error.strerror or str(error)) from error


def storage_error(root: Path, number: int, text: str) -> StorageFailed:
    """The error for errno `number` met while writing below `root`."""
    way = "free some space, or name another directory in TRIMTAB_CACHE_DIR"
    if number in _FULL:
        return DiskFull(f"no space left in the model cache {root} ({text}); {way}")
    return StorageFailed(f"cannot write the model cache {root}: {text}; name a writable directory in TRIMTAB_CACHE_DIR")


def require_space(root: Path, needed: int) -> None:
    """Raise DiskFull unless `needed` bytes are free in `root`."""
    free = shutil.disk_usage(root).free
    if free < needed:
        raise DiskFull(
            f"the model cache {root} needs about {needed / 2**20:.0f} MiB free and has {free / 2**20:.0f} MiB; "
            "free some space, or name another directory in TRIMTAB_CACHE_DIR"
        )


@contextlib.contextmanager
def locked(root: Path, key: str, progress: Progress | None = None) -> Iterator[None]:
    """Hold the lock of `key` across processes and threads, waiting as long as another one works on it."""
    with storage_errors(root):
        (root / "locks").mkdir(parents=True, exist_ok=True)
        lock = FileLock(root / "locks" / f"{key}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if progress is not None:
                progress.update("waiting for another process", 0, None)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def publish(root: Path, key: str, build: Callable[[Path, Path], CacheManifest], progress: Progress) -> Path:
    """The directory of the finished model `key`, built first if it is not there.

    build(work, model): fills the directory `model` and may use `work` for what is needed on the way, both on the file
    system of the cache. When it raises or the process dies, nothing of it is left, at the latest after the next run.
    Raises StorageFailed or DiskFull, and whatever `build` raises.
    """
    final = model_path(root, key)
    sweep(root)
    if read_manifest(final) is not None:
        return final
    with locked(root, key, progress):
        if read_manifest(final) is not None:
            return final
        with storage_errors(root):
            staging = _fresh_staging(root, key)
        try:
            with storage_errors(root):
                work, model = staging / "work", staging / "model"
                work.mkdir()
                model.mkdir()
            manifest = build(work, model)
            with storage_errors(root):
                (model / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
                _settle(model)
                final.parent.mkdir(parents=True, exist_ok=True)
                if final.exists():
                    os.replace(final, staging / "broken")
                os.replace(model, final)
                _fsync(final.parent)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return final


def sweep(root: Path) -> None:
    """Remove what processes that died have left in `staging`; what a live one works on is locked and stays."""
    staging = root / "staging"
    for directory in list(staging.iterdir()) if staging.is_dir() else []:
        with contextlib.suppress(OSError, Timeout), FileLock(root / "locks" / f"{directory.name}.lock", timeout=0):
            shutil.rmtree(directory)


def now() -> datetime:
    """The time for a manifest."""
    return datetime.now(UTC).replace(microsecond=0)


def _fresh_staging(root: Path, key: str) -> Path:
    """An empty staging directory; what a dead process left there is removed first. The lock must be held."""
    staging = root / "staging" / key
    if staging.exists():
        shutil.rmtree(staging)
    staging.mkdir(parents=True)
    return staging


def _settle(directory: Path) -> None:
    """Make a finished tree durable and readable by whom the umask allows."""
    mask = os.umask(0)
    os.umask(mask)
    for path in sorted(directory.rglob("*"), reverse=True):
        if path.is_file():
            path.chmod(0o666 & ~mask)
        _fsync(path)
    _fsync(directory)


def _fsync(path: Path) -> None:
    """Flush a file or directory to the disk."""
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
