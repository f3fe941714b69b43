"""Reports on judges are kept with the server's state, found again by what the judge is, and heeded in answers."""

from pathlib import Path
from typing import Any

import pytest

from tests.server.api.serving import scripted, serving
from trimtab.server.judges import judge_of, keep, kept
from trimtab.server.settings import Settings
from trimtab.strategies.judging.labelled import labelled_cases
from trimtab.strategies.judging.measure import JudgeReport
from trimtab.strategies.prompts.judge import fingerprint

MODEL = "org/test-model"
BEST = {"kind": "best_of_n", "n": 2}


def report(accuracy: float, low: float, **given: Any) -> JudgeReport:
    known = {"cases_sha256": labelled_cases().sha256, "prompt_sha256": fingerprint("harmlessness"), **given}
    shares = {"accuracy_a": accuracy, "accuracy_b": accuracy, "says_a": 0.5, "undecided": 0.0}
    return JudgeReport(cases=240, scored=240, accuracy=accuracy, low=low, high=1.0, seconds=1.0, **shares, **known)


def test_a_report_is_found_again(tmp_path: Path) -> None:
    assert kept(tmp_path, "m") is None
    for accuracy in (0.6, 0.8):
        keep(tmp_path, "m", report(accuracy, 0.55))
    assert kept(tmp_path, "m") == report(0.8, 0.55)
    assert kept(tmp_path, "another") is None
    assert len(list(tmp_path.rglob("*.*"))) == 1


@pytest.mark.parametrize("stale", [{"cases_sha256": "0"}, {"prompt_sha256": "0"}])
def test_a_report_on_other_cases_or_another_prompt_counts_for_nothing(tmp_path: Path, stale: dict[str, str]) -> None:
    keep(tmp_path, "m", report(0.9, 0.85, **stale))
    assert kept(tmp_path, "m") is None


def test_a_broken_report_counts_for_nothing(tmp_path: Path) -> None:
    keep(tmp_path, "m", report(0.9, 0.85)).write_text("{", encoding="utf-8")
    assert kept(tmp_path, "m") is None


@pytest.mark.parametrize(
    ("roles", "judge"),
    [
        ({}, "weights/a"),
        ({"judge": "b"}, "b"),
        ({"judge": "a"}, "weights/a"),
        ({"judge": "weights/c"}, "weights/c"),
        ({"judge": {"source": "weights/d"}}, "weights/d"),
        ({"judge": {"engine": {"kind": "upstream", "url": "http://x/v1", "model": "m"}}}, "http://x/v1 m"),
    ],
)
def test_a_judge_is_named_by_its_weights(roles: dict[str, Any], judge: str) -> None:
    settings = Settings.model_validate({"models": {"a": {"source": "weights/a"}, "b": {}}, "roles": roles})
    assert judge_of(settings, "a") == judge


def test_a_directory_has_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights").mkdir()
    monkeypatch.chdir(tmp_path)
    named = {judge_of(Settings(roles={"judge": source}), "a") for source in ("weights", "./weights", str(tmp_path / "weights"))}
    assert named == {str(tmp_path / "weights")}


@pytest.mark.parametrize(
    ("found", "warning"),
    [
        (None, "best_of_n: the judge scripted org/test-model was never measured: `trimtab doctor --judge` tells"),
        (report(0.52, 0.46), "is near chance: it is right in 52.0% of 240 labelled cases"),
        (report(0.7, 0.64), "is near chance: it is right in 70.0%"),
        (report(0.9, 0.86), None),
    ],
)
async def test_answers_say_when_their_judge_is_near_chance(
    tmp_path: Path, found: JudgeReport | None, warning: str | None
) -> None:
    settings = scripted("one", "two", data_dir=tmp_path)
    if found:
        keep(tmp_path, judge_of(settings, MODEL), found)
    async with serving(settings) as server:
        answer = await ask(server, BEST)
        rewarded = await ask(server, {**BEST, "value": "fixed"})
    warnings = answer["alignment"]["warnings"]
    assert [warning in one for one in warnings] == [True] if warning else warnings == []
    assert answer["alignment"]["status"] == "applied"
    assert rewarded["alignment"]["warnings"] == []


async def ask(server: Any, strategy: Any, **fields: Any) -> dict[str, Any]:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello?"}], "alignment": {"strategy": strategy}, **fields}
    response = await server.http.post("/v1/chat/completions", json=body)
    assert response.status_code == 200, response.text
    return dict(response.json())


async def test_best_of_n_over_http_whole_and_streamed(tmp_path: Path) -> None:
    """The scripted engine's numbers are fixed for a text: the same of two answers wins, whole and streamed."""
    async with serving(scripted("bread and cheese", "soup", data_dir=tmp_path)) as server:
        whole = await ask(server, BEST)
        messages: Any = [{"role": "user", "content": "Hello?"}]
        stream = await server.openai.chat.completions.create(
            model=MODEL, messages=messages, stream=True, extra_body={"alignment": {"strategy": BEST, "trace": "full"}}
        )
        chunks = [chunk async for chunk in stream]
    step = whole["alignment"]["steps"][0]
    assert (step["strategy"], step["calls"], step["value"], step["drawn"]) == ("best_of_n", 5, "self_evaluation", 2)
    said = whole["choices"][0]["message"]["content"]
    assert said == ["bread and cheese", "soup"][step["chosen"]]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == said
    explained: Any = chunks[-1]
    assert [one["text"] for one in explained.alignment["steps"][0]["candidates"][0]] == ["bread and cheese", "soup"]
    usage = whole["alignment"]["usage"]
    assert usage["by_role"]["judge"]["calls"] == 4
    assert usage["final"]["completion_tokens"] == len(said) + 1
    assert usage["discarded_tokens"] == sum(map(len, ["bread and cheese", "soup"])) - len(said) + 1 + 4


async def test_a_missing_reward_engine_is_a_bad_request(tmp_path: Path) -> None:
    async with serving(scripted("one", data_dir=tmp_path)) as server:
        body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello?"}]}
        strategy = {"kind": "best_of_n", "value": "reward"}
        response = await server.http.post("/v1/chat/completions", json={**body, "alignment": {"strategy": strategy}})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "missing_role")
