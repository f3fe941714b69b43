"""What is installed: versions against the ranges this distribution was tested with, and the torchvision that cannot load.

Also how the threads of torch wait, which only the environment says.
"""

import importlib.util
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version

TORCHVISION_REMEDY = "pip uninstall -y torchvision torchaudio torchcodec"
"""The command that mends a torchvision whose build does not fit the installed torch."""


def installed(distribution: str) -> str | None:
    """The installed version, None where there is none."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


@dataclass(frozen=True, slots=True)
class VersionRange:
    """A dependency and the versions it was tested in."""

    name: str
    range: str
    """A version specifier such as `<2.14,>=2.11`."""
    extra: str
    """The extra that brings it, "" for the base install."""

    def allows(self, found: str) -> bool:
        """Whether a version lies in the range; local builds (`+cpu`) count as their public version."""
        from packaging.specifiers import SpecifierSet
        from packaging.version import Version

        return SpecifierSet(self.range).contains(Version(found).public, prereleases=True)


def version_ranges() -> dict[str, VersionRange]:
    """The dependencies of this distribution by name; empty when it runs from a folder without being installed."""
    from packaging.requirements import Requirement

    try:
        lines = requires("trimtab") or []
    except PackageNotFoundError:
        return {}
    found = {}
    for line in lines:
        requirement = Requirement(line)
        extra = str(requirement.marker).partition('extra == "')[2].partition('"')[0] if requirement.marker else ""
        found[requirement.name] = VersionRange(requirement.name, str(requirement.specifier), extra)
    return found


def torchvision_problem() -> str | None:
    """Why the installed torchvision breaks `import transformers`, None where all is well.

    Builds for CUDA and for CPU differ in the local part of their version alone; only where it differs is the import tried
    (in a child process, some seconds).
    """
    vision, torch = installed("torchvision"), installed("torch")
    if vision is None or torch is None or importlib.util.find_spec("torchvision") is None:
        return None
    if vision.partition("+")[2] == torch.partition("+")[2]:
        return None
    done = subprocess.run([sys.executable, "-c", "import torchvision"], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return f"torchvision {vision} cannot load beside torch {torch} ({reason[:200]})"


def let_threads_sleep() -> None:
    """Let the CPU threads of torch sleep while they wait for each other, unless OMP_WAIT_POLICY says something else.

    By default they spin. Where another program wants a core too, each of the hundreds of short loops behind a token then
    waits for a thread that the system has put aside: on two busy cores that was ten times slower. To be called before torch
    is imported, since OpenMP reads its environment once.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
