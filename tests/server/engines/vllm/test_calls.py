"""The register of running calls."""

from trimtab.server.engines.vllm.calls import RunningCalls
from trimtab.strategies.core.engine import Call


def test_a_call_is_known_while_it_runs() -> None:
    calls = RunningCalls()
    with calls.enter(Call("a"), "chatcmpl-") as running:
        assert running.name == "a"
        assert calls.engine_ids("a") == ["chatcmpl-a"]
    assert calls.engine_ids("a") == calls.all_engine_ids() == []


def test_calls_of_one_request_have_different_names() -> None:
    calls = RunningCalls()
    with calls.enter(Call("a")) as first, calls.enter(Call("a")) as second, calls.enter(Call("b")):
        assert first.name != second.name
        assert set(calls.engine_ids("a")) == {first.name, second.name}
        assert len(calls.all_engine_ids()) == 3
    with calls.enter(Call("a")) as again:
        assert again.name == "a"


def test_parts_are_numbered() -> None:
    calls = RunningCalls()
    with calls.enter(Call("a"), "cmpl-", 2) as running:
        assert running.engine_ids == ("cmpl-a-0", "cmpl-a-1")
