"""What answers a line: asked again while the server cannot serve, as the key that made the batch."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.server.services import MODEL, service_of
from trimtab.server.api.auth import Keyring
from trimtab.server.jobs.answerers import Persistent, answerer_of, pauses
from trimtab.server.lines.answer import LineAnswer
from trimtab.server.lines.request import RequestLine
from trimtab.server.settings import KeyConfig, PolicyConfig, Settings

LINE = RequestLine(7, "c", "/v1/chat/completions", {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]})


@dataclass
class Statuses:
    """Answers with these statuses in turn, the last one for ever."""

    statuses: tuple[int, ...]
    code: str = "overloaded"
    asked: int = field(default=0)

    async def answer(self, line: RequestLine) -> LineAnswer:
        status = self.statuses[min(self.asked, len(self.statuses) - 1)]
        self.asked += 1
        return LineAnswer(line.number, line.custom_id, status, {"error": {"code": self.code}} if status != 200 else {})


@pytest.mark.parametrize(
    ("statuses", "code", "answered", "asked"),
    [
        ((200,), "", 200, 1),
        ((503, 429, 502, 504, 200), "engine_unavailable", 200, 5),
        ((503,), "engine_unavailable", 503, 6),
        ((400,), "invalid_value", 400, 1),
        ((500,), "internal_error", 500, 1),
        ((429,), "insufficient_quota", 429, 1),
        ((504,), "alignment_deadline", 504, 1),
    ],
)
async def test_what_passes_is_asked_again(statuses: tuple[int, ...], code: str, answered: int, asked: int) -> None:
    answerer = Statuses(statuses, code)
    answer = await Persistent(answerer, first_pause_s=0.0001, tries=6).answer(LINE)
    assert (answer.status, answerer.asked) == (answered, asked)


def test_pauses_double_up_to_the_longest() -> None:
    """1, 2, 4, 5, 5 seconds, each less up to a quarter."""
    waits = pauses(1.0, 5.0)
    for whole in (1, 2, 4, 5, 5):
        assert 0.75 * whole <= next(waits) <= whole


def keyring(*names: str, **policy: Any) -> Keyring:
    keys = [KeyConfig.model_validate({"name": name, "key": name, "scopes": ["batch"]}) for name in names]
    return Keyring(keys, [PolicyConfig.model_validate(policy)] if policy else [])


async def answered(ring: Keyring, owner: str) -> LineAnswer:
    service = service_of(Settings())
    await service.start()
    answer = await answerer_of(service, ring, owner).answer(LINE)
    await service.close()
    return answer


async def test_a_key_answers_under_its_policy_as_it_is_now() -> None:
    assert (await answered(keyring("app"), "app")).ok
    assert (await answered(keyring(), "anonymous")).ok
    refused = await answered(keyring("app", key="app", models=[]), "app")
    assert (refused.status, (refused.body or {})["error"]["code"]) == (403, "strategy_not_allowed")


@pytest.mark.parametrize(
    ("ring", "owner", "code"),
    [
        (keyring("other"), "app", "key_not_found"),
        (keyring("other"), "anonymous", "key_not_found"),
        (keyring(), "app", "key_not_found"),
        (keyring("app", key="app", scopes=["infer"]), "app", "insufficient_scope"),
    ],
)
async def test_a_key_that_may_not_any_more_answers_nothing(ring: Keyring, owner: str, code: str) -> None:
    refused = await answered(ring, owner)
    assert refused.error is not None
    assert (refused.status, refused.error["code"]) == (0, code)
    assert repr(owner) in refused.error["message"]
