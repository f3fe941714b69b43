"""vLLM's processes sleep soon after a step instead of looking for the next one."""

import asyncio
import sys
from importlib.metadata import entry_points
from types import ModuleType, SimpleNamespace

import psutil
import pytest

from tests.server.engines.vllm.test_ports import ids_of, tokens
from trimtab.server.engines import vllm_waiting
from trimtab.server.engines.vllm import VllmEngine
from trimtab.strategies.core.engine import Params

MODULE = "vllm.distributed.device_communicators.shm_broadcast"


class Condition:
    """As vLLM's: reads with a second of busy waiting unless told otherwise."""

    def __init__(self, is_reader: bool, address: str, busy_loop_s: float = 1) -> None:
        self.given = (is_reader, address)
        self.busy_loop_s = busy_loop_s
        self.waited: list[int | None] = []

    def wait(self, timeout_ms: int | None = None) -> None:
        self.waited.append(timeout_ms)


class Other:
    """One that knows nothing of that."""

    def __init__(self, is_reader: bool) -> None: ...


@pytest.fixture
def broadcast(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stands for vLLM's module."""
    module = SimpleNamespace(SpinCondition=Condition)
    package, _, name = MODULE.rpartition(".")
    parts = package.split(".")
    for depth in range(1, len(parts) + 1):
        monkeypatch.setitem(sys.modules, ".".join(parts[:depth]), ModuleType(parts[depth - 1]))
    monkeypatch.setattr(sys.modules[package], name, module, raising=False)
    monkeypatch.setitem(sys.modules, MODULE, module)
    return module


def test_conditions_wait_as_long_as_the_variable_says(broadcast: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(vllm_waiting.VARIABLE, "0.25")
    vllm_waiting.register()
    made = broadcast.SpinCondition(True, address="ipc")
    assert (made.given, made.busy_loop_s) == ((True, "ipc"), 0.25)
    assert broadcast.SpinCondition(True, "ipc", busy_loop_s=2).busy_loop_s == 2
    assert isinstance(made, Condition)


def test_a_message_that_is_lost_delays_nothing_for_long(broadcast: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(vllm_waiting.VARIABLE, "0.25")
    vllm_waiting.register()
    made = broadcast.SpinCondition(True, "ipc")
    for timeout_ms in (None, 60_000, 7):
        made.wait(timeout_ms)
    assert made.waited == [vllm_waiting.LOOK_MS, vllm_waiting.LOOK_MS, 7]


def test_without_the_variable_nothing_is_changed(broadcast: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(vllm_waiting.VARIABLE, raising=False)
    vllm_waiting.register()
    assert broadcast.SpinCondition is Condition


def test_what_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(vllm_waiting.VARIABLE, "soon")
    with pytest.raises(ValueError, match="must be a number of seconds, not 'soon'"):
        vllm_waiting.register()


def test_a_condition_without_such_a_time_is_left_alone(
    broadcast: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broadcast.SpinCondition = Other
    monkeypatch.setenv(vllm_waiting.VARIABLE, "0.25")
    vllm_waiting.register()
    assert broadcast.SpinCondition is Other
    assert "has no effect" in caplog.text


def test_vllm_finds_the_plugin() -> None:
    (found,) = entry_points(group="vllm.general_plugins", name="trimtab_waiting")
    assert found.load() is vllm_waiting.register


@pytest.mark.vllm
@pytest.mark.asyncio(loop_scope="session")
async def test_an_engine_with_nothing_to_do_takes_no_processor_time(engine: VllmEngine) -> None:
    """By vLLM's own wont a worker looks for work for a whole second after a step."""
    await tokens(engine, ids_of(engine), Params(max_tokens=2, temperature=0.0))
    family = [child for child in psutil.Process().children(recursive=True) if "VLLM" in "".join(child.cmdline()) + child.name()]
    assert family

    def spent() -> float:
        return sum(sum(one.cpu_times()[:2]) for one in family)

    before = spent()
    await asyncio.sleep(0.6)
    assert spent() - before < 0.3
