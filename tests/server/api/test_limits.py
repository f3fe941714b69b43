"""Rates, turns and the queue."""

import asyncio

import pytest

from tests.server.api.serving import scripted, serving
from tests.waiting import until
from trimtab.server.api.limits import Admission, Gate, KeyLimits, OverRate
from trimtab.server.errors import Overloaded
from trimtab.server.settings import Limits
from trimtab.strategies.core.errors import EngineUnavailable


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def opened(**limits: float) -> Admission:
    admission = Admission(Limits.model_validate(limits))
    admission.open()
    return admission


async def waiting(admission: Admission, count: int) -> None:
    await until(lambda: admission.waiting >= count)


def test_a_bucket_of_a_minute_refills_evenly() -> None:
    clock = Clock()
    limits = KeyLimits(Limits(requests_per_minute=3), clock=clock)
    heads = [limits.enter("a", counted=True) for _ in range(3)]
    assert [head["x-ratelimit-remaining-requests"] for head in heads] == ["2", "1", "0"]
    with pytest.raises(OverRate) as caught:
        limits.enter("a", counted=True)
    assert caught.value.retry_after_s == pytest.approx(20)
    assert limits.enter("b", counted=True)["x-ratelimit-limit-requests"] == "3"
    clock.now = 20
    assert limits.enter("a", counted=True)["x-ratelimit-reset-requests"] == "60.000s"


def test_one_key_may_not_take_every_turn() -> None:
    limits = KeyLimits(Limits(concurrency_per_key=2))
    for _ in range(2):
        limits.enter("a", counted=True)
    with pytest.raises(OverRate, match="concurrency_per_key"):
        limits.enter("a", counted=True)
    limits.enter("b", counted=True)
    limits.leave("a")
    limits.enter("a", counted=True)


async def test_turns_are_given_in_order() -> None:
    admission, order = opened(concurrency=1), []

    async def turn(name: int) -> None:
        await admission.enter()
        order.append(name)
        admission.leave()

    await admission.enter()
    tasks = []
    for name in range(5):
        tasks.append(asyncio.create_task(turn(name)))
        await waiting(admission, name + 1)
    admission.leave()
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2, 3, 4]
    assert (admission.running, admission.waiting) == (0, 0)


async def test_a_full_queue_refuses_at_once() -> None:
    admission = opened(concurrency=1, queue=1)
    await admission.enter()
    second = asyncio.create_task(admission.enter())
    await waiting(admission, 1)
    with pytest.raises(Overloaded, match="queue is full"):
        await admission.enter()
    admission.leave()
    await second


async def test_waiting_too_long_is_refused() -> None:
    admission = opened(concurrency=1, queue_timeout_s=0.01)
    await admission.enter()
    with pytest.raises(Overloaded, match="queue_timeout_s"):
        await admission.enter()
    admission.leave()
    await admission.enter()


async def test_a_cancelled_wait_loses_no_turn() -> None:
    admission = opened(concurrency=1)
    await admission.enter()
    gone, next_ = asyncio.create_task(admission.enter()), asyncio.create_task(admission.enter())
    await waiting(admission, 2)
    admission.leave()
    gone.cancel()
    await next_
    assert gone.cancelled()
    assert admission.running == 1
    admission.leave()
    await admission.idle()


async def test_before_opening_and_while_draining() -> None:
    admission = Admission(Limits(concurrency=1))
    with pytest.raises(EngineUnavailable):
        await admission.enter()
    admission.open()
    await admission.enter()
    queued = asyncio.create_task(admission.enter())
    await waiting(admission, 1)
    admission.drain()
    for wait in (queued, admission.enter()):
        with pytest.raises(Overloaded, match="shutting down"):
            await wait
    admission.leave()
    await admission.idle()


@pytest.mark.parametrize("end", ["a turn", "given up", "too late"])
async def test_it_is_calm_again_however_a_wait_ends(end: str) -> None:
    admission = Admission(Limits(concurrency=1, queue_timeout_s=0.05 if end == "too late" else 60.0))
    admission.open()
    await admission.enter()
    await admission.calm()
    queued = asyncio.create_task(admission.enter())
    await asyncio.sleep(0)
    calm = asyncio.create_task(admission.calm())
    await asyncio.sleep(0)
    assert not calm.done()
    if end == "a turn":
        admission.leave()
    elif end == "given up":
        queued.cancel()
    assert isinstance((await asyncio.gather(queued, return_exceptions=True))[0], Overloaded) == (end == "too late")
    await calm


async def test_a_turn_gives_everything_back_when_the_work_fails() -> None:
    gate = Gate.of(Limits(concurrency=1, concurrency_per_key=1), keyed=True)
    gate.admission.open()
    for _ in range(3):
        with pytest.raises(ValueError, match="boom"):
            async with gate.turn("a"):
                raise ValueError("boom")
    assert gate.admission.running == 0


HELLO = {"model": "org/test-model", "messages": [{"role": "user", "content": "hi"}]}


async def test_a_key_over_its_rate_gets_a_429_with_headers() -> None:
    async with serving(scripted(limits={"requests_per_minute": 1})) as server:
        first = await server.http.post("/v1/chat/completions", json=HELLO)
        assert (first.status_code, first.headers["x-ratelimit-remaining-requests"]) == (200, "0")
        second = await server.http.post("/v1/chat/completions", json=HELLO)
        assert second.status_code == 429
        assert second.json()["error"]["code"] == "rate_limit_exceeded"
        assert 1 <= int(second.headers["retry-after"]) <= 60


async def test_an_open_server_has_no_per_key_concurrency() -> None:
    async with serving(scripted(limits={"concurrency_per_key": 1})) as server:
        answers = await asyncio.gather(*(server.http.post("/v1/chat/completions", json=HELLO) for _ in range(8)))
        assert {answer.status_code for answer in answers} == {200}
