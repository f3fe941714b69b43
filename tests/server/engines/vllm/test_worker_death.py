"""Engine processes killed from outside; the last tests of this folder, because they end the engine twice."""

import asyncio
import gc
import signal
from typing import TYPE_CHECKING

import pytest

from tests.server.engines.vllm.requests import body, call, chunks
from trimtab.server.engines.vllm import VllmEngine
from trimtab.strategies.core.engine import Params
from trimtab.strategies.core.errors import EngineUnavailable
from trimtab.strategies.core.messages import Conversation

if TYPE_CHECKING:
    import psutil

pytestmark = [pytest.mark.vllm, pytest.mark.asyncio(loop_scope="session")]


async def until(engine: VllmEngine, state: str) -> None:
    """Wait until the engine says it is in a state."""
    async with asyncio.timeout(250):
        while engine.health().state != state:  # noqa: ASYNC110  # health is something to look at, not to wait for
            await asyncio.sleep(0.05)


def processes() -> dict[str, int]:
    """Processes of this process's own engine: title -> process id. A server that is a child has engines of its own."""
    import psutil

    found = {}
    for child in psutil.Process().children():
        for process in (child, *child.children(recursive=True)) if _title(child).startswith("VLLM::") else ():
            if _title(process).startswith("VLLM::"):
                found[_title(process).split("_")[0].strip()] = process.pid
    return found


def _title(process: "psutil.Process") -> str:
    return " ".join(process.cmdline())


@pytest.mark.parametrize("title", ["VLLM::EngineCore", "VLLM::Worker"])
async def test_a_killed_process_is_survived(engine: VllmEngine, title: str) -> None:
    import psutil

    assert engine.ports.tokens is not None
    before = processes()
    assert title in before
    wire, tokens = engine.wire, engine.ports.tokens
    begun = wire.chat_stream(body(max_tokens=1900, ignore_eos=True), call())
    await anext(begun)
    whole = asyncio.create_task(wire.chat(body(max_tokens=1900, ignore_eos=True), call()))
    ids = tokens.encode_chat(Conversation.from_wire(body()["messages"]))
    raw = tokens.generate(ids, Params(max_tokens=1900, ignore_eos=True), call())
    await anext(raw)

    psutil.Process(before[title]).send_signal(signal.SIGKILL)
    async with asyncio.timeout(30):
        for stream in (begun, raw):
            with pytest.raises(EngineUnavailable) as ended:
                async for _ in stream:
                    pass
            assert ended.value.retry_after_s > 0
        with pytest.raises(EngineUnavailable):
            await whole

    assert engine.health().state == "restarting"
    with pytest.raises(EngineUnavailable):
        await wire.chat(body(), call())
    await until(engine, "ready")
    assert (await wire.chat(body(), call()))["choices"][0]["message"]["content"]
    assert (await chunks(engine, body()))[-1]["choices"][0]["finish_reason"]
    assert [delta async for delta in tokens.generate(ids, Params(max_tokens=2), call())]
    assert not [pid for pid in before.values() if psutil.pid_exists(pid)]
    assert len(processes()) == len(before)


async def test_death_is_noticed_without_a_request(engine: VllmEngine) -> None:
    import psutil

    restarts = engine.metrics()["restarts"]
    psutil.Process(processes()["VLLM::Worker"]).send_signal(signal.SIGKILL)
    await until(engine, "restarting")
    await until(engine, "ready")
    assert engine.metrics()["restarts"] == restarts + 1
    assert (await engine.wire.chat(body(), call()))["choices"]


@pytest.mark.filterwarnings("ignore:Unclosed context:ResourceWarning")  # of vLLM's client whose start was ended
async def test_close_during_a_restart_leaves_nothing(engine: VllmEngine) -> None:
    import psutil

    psutil.Process(processes()["VLLM::EngineCore"]).send_signal(signal.SIGKILL)
    await until(engine, "restarting")
    await asyncio.sleep(3)  # into the middle of loading
    await engine.close()
    gc.collect()
    assert engine.health().state == "closed"
    assert processes() == {}
    with pytest.raises(EngineUnavailable):
        await engine.wire.chat(body(), call())
    await engine.close()
