"""What a request asks of sampling is honoured, refused by name, or its lack is told."""

import asyncio
from typing import Any

import pytest

from tests.contracts.strategies.asking import World, answered, settled
from tests.contracts.strategies.cases import STATUSES, every, every_form
from tests.contracts.strategies.doubles import Always

pytestmark = pytest.mark.asyncio(loop_scope="session")


@every_form
async def test_every_choice_is_given(world: World, kind: str) -> None:
    reply = answered(await world.ask(kind, n=3))
    assert [choice["index"] for choice in reply.body["choices"]] == [0, 1, 2]
    assert all(reply.texts)


@every_form
async def test_the_same_seed_gives_the_same_answer_and_trace(world: World, kind: str) -> None:
    for n in (1, 2):
        first, second = [answered(await world.ask(kind, seed=3, n=n, options={"trace": "full"})) for _ in range(2)]
        assert first.texts == second.texts
        assert n > 1 or settled(first.alignment) == settled(second.alignment)  # choices that run at once share caches and logs


@every_form
async def test_another_seed_may_answer_otherwise(world: World, kind: str) -> None:
    texts = {answered(await world.ask(kind, seed=seed, temperature=1)).texts[0] for seed in range(6)}
    assert len(texts) > 1


@every_form
async def test_requests_at_once_do_not_touch_each_other(world: World, kind: str) -> None:
    alone = [answered(await world.ask(kind, seed=seed)) for seed in range(4)]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(world.ask(kind, seed=seed)) for seed in range(4)]
    for task, one in zip(tasks, alone, strict=True):
        assert answered(task.result()).texts == one.texts
        assert settled(task.result().alignment) == settled(one.alignment)


@every_form
async def test_stop_strings_end_the_answer(world: World, kind: str) -> None:
    world.says(Always("alpha beta gamma delta."))
    reply = answered(await world.ask(kind, stop=["gamma"], max_tokens=60, n=2))
    assert [text.strip()[-10:] for text in reply.texts] == ["alpha beta"] * 2
    assert reply.finishes == ["stop"] * 2
    stream = await world.stream(kind, stop=["gamma"], max_tokens=60, n=2)
    assert stream.texts == reply.texts


@every_form
async def test_the_answer_is_no_longer_than_was_asked_for(world: World, kind: str) -> None:
    world.says(Always("alpha beta gamma delta epsilon zeta eta theta iota kappa lambda."))
    reply = answered(await world.ask(kind, max_tokens=13))
    assert len(reply.texts[0].encode()) <= 13
    assert reply.finishes == ["length"]
    assert reply.alignment["status"] in STATUSES


@every
async def test_logprobs_are_given_or_their_lack_is_told(world: World, kind: str) -> None:
    reply = answered(await world.ask(kind, logprobs=True, top_logprobs=2))
    (choice,) = reply.body["choices"]
    if choice["logprobs"] is None:
        assert any("logprobs" in warning for warning in reply.alignment["warnings"])
    else:
        said = b"".join(bytes(entry["bytes"] or ()) for entry in choice["logprobs"]["content"])
        assert said.decode().startswith(reply.texts[0])


@every
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("top_p", 0.5),
        ("top_k", 7),
        ("min_p", 0.2),
        ("presence_penalty", 0.5),
        ("frequency_penalty", 0.5),
        ("repetition_penalty", 1.2),
        ("min_tokens", 3),
        ("logit_bias", {"65": -3}),
    ],
)
async def test_a_sampling_field_reaches_the_engine_or_its_lack_is_told(world: World, kind: str, field: str, value: Any) -> None:
    reply = await world.ask(kind, **{field: value})
    if reply.status == 400:
        assert reply.error["param"] == field
        assert kind in reply.error["message"]
        return
    wanted = {65: -3} if field == "logit_bias" else value
    heard = any(getattr(asked.params, field) == wanted for asked in world.policy.asked)
    assert heard or any(field in warning for warning in answered(reply).alignment["warnings"])
