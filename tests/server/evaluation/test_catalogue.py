"""Which scorers are chosen, which cannot work and why, and what counts as dropped."""

import dataclasses
from collections.abc import AsyncIterator, Sequence

import pytest

from tests.server.evaluation.small import PLAIN, generation, header, log_of, sample
from tests.server.services import MODEL, service_of
from trimtab.server.engines.scripted import ScriptedEngine
from trimtab.server.evaluation.catalogue import CATALOGUE, Materials
from trimtab.server.evaluation.choosing import Chosen, choose, dropped_by
from trimtab.server.evaluation.log import Log
from trimtab.server.evaluation.records import Alignment, Score, ScorerRecord
from trimtab.server.evaluation.samples import Sample
from trimtab.server.evaluation.scorers.base import ScorerError
from trimtab.server.evaluation.scoring import record_of, score_log
from trimtab.server.service import Service
from trimtab.server.settings import RoleConfig, ScriptedConfig, Settings

PROMPT = ({"role": "user", "content": "Which planet is the largest?"},)
ALWAYS = {"toxicity", "refusal", "distinct_2", "repetition", "length"}
OF_POLICY = {"choices", "sign_agreement", "misalignment_gap", "perplexity"}


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    settings = Settings(roles={"reward": RoleConfig(engine=ScriptedConfig())})
    found = service_of(settings)
    found.roles = {"reward": ScriptedEngine(ScriptedConfig(), name="reward")}
    await found.start()
    yield found
    await found.close()


def names(chosen: Chosen) -> set[str]:
    return {scorer.about.name for scorer in chosen.scorers}


@pytest.mark.parametrize("name", list(CATALOGUE))
async def test_each_is_built_under_its_name_and_scores(name: str, service: Service) -> None:
    full = Sample(
        "a",
        PROMPT,
        chosen="Jupiter.",
        rejected="Mars.",
        good=("Jupiter",),
        bad=("Mars",),
        choices=("Mars", "Jupiter"),
        correct=(1,),
    )
    one = dataclasses.replace(full, refuse=name == "under_refusal")
    chosen = choose([name], Materials((one,), service, MODEL))
    assert names(chosen) == {name}
    log = log_of(generation("plain", "a", "It is Jupiter, the fifth planet."), samples=(one,), alignments=(PLAIN,))
    kept = Kept()
    await score_log(log, chosen.scorers, kept, fingerprints=chosen.fingerprints)
    score, record = kept.records
    assert isinstance(score, Score)
    assert score.value is not None, score.unscored
    assert isinstance(record, ScorerRecord)
    assert (record.name, len(record.sha256)) == (name, 64)


class Kept:
    def __init__(self) -> None:
        self.records: list[Score | ScorerRecord] = []

    def add(self, record: Score | ScorerRecord) -> None:
        self.records.append(record)


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (Sample("a", PROMPT), set()),
        (Sample("a", PROMPT, good=("Jupiter",)), {"bleu", "rouge_l", "chrf"}),
        (Sample("a", PROMPT, good=("Jupiter",), bad=("Mars",)), {"bleu_diff", "rouge_l_diff", "chrf_diff"}),
        (Sample("a", PROMPT, refuse=False), {"over_refusal"}),
        (Sample("a", PROMPT, refuse=True), {"under_refusal"}),
    ],
)
def test_the_data_choose(one: Sample, expected: set[str]) -> None:
    assert names(choose(None, Materials((one,)))) == ALWAYS | expected


async def test_roles_and_likelihoods_choose_too(service: Service) -> None:
    one = Sample("a", PROMPT, chosen="Jupiter.", rejected="Mars.", choices=("Mars", "Jupiter"), correct=(1,))
    assert names(choose(None, Materials((one,), service, MODEL))) == ALWAYS | OF_POLICY | {"reward"}


def test_what_data_call_for_and_cannot_work_is_told() -> None:
    chosen = choose(None, Materials((Sample("a", PROMPT, chosen="Jupiter.", rejected="Mars."),)))
    assert names(chosen) == ALWAYS
    assert {reason.partition(":")[0] for reason in chosen.left_out} == OF_POLICY - {"choices"}


def test_an_unknown_scorer_is_told_with_the_nearest() -> None:
    with pytest.raises(ScorerError, match=r"unknown scorer 'rewards'; did you mean 'reward'\? Known: reward, judge, "):
        choose(["length", "rewards"], Materials((Sample("a", PROMPT),)))


def test_a_scorer_twice_is_refused() -> None:
    with pytest.raises(ScorerError, match="'length' is named twice"):
        choose(["length", "length"], Materials((Sample("a", PROMPT),)))


@pytest.mark.parametrize(("name", "told"), [("bleu", "`good`"), ("chrf_diff", "`bad`"), ("sign_agreement", "`rejected`")])
def test_a_scorer_without_what_it_needs_is_refused(name: str, told: str) -> None:
    with pytest.raises(ScorerError, match=f"{name}: no sample has what it needs .*{told}"):
        choose([name], Materials((Sample("a", PROMPT),)))


async def test_a_scorer_without_its_model_is_refused() -> None:
    service = service_of()
    await service.start()
    with pytest.raises(ScorerError, match="--role reward="):
        choose(["reward"], Materials((Sample("a", PROMPT),), service, MODEL))
    with pytest.raises(ScorerError, match="judge: no engine is there"):
        choose(["judge"], Materials((Sample("a", PROMPT),)))


def test_the_fingerprint_depends_on_the_configuration_and_not_on_the_run() -> None:
    one = Materials((Sample("a", PROMPT),))
    first, second = (choose(["distinct_1", "distinct_2", "toxicity"], one).fingerprints for _ in range(2))
    assert first == second
    assert len(set(first.values())) == 3


def scored(log: Log, name: str, values: Sequence[tuple[str, str, float | None]], *, of_policy: bool = False) -> Log:
    about = choose(["length"], Materials(tuple(log.samples.values()))).scorers[0]
    record = record_of(about, {}).model_copy(update={"name": name, "of_policy": of_policy})
    scores = [
        Score(scorer=name, alignment=a, sample=s, value=v, unscored=None if v is not None else "why") for a, s, v in values
    ]
    return dataclasses.replace(
        log, scores={(one.scorer, one.alignment, one.sample): one for one in scores}, scorers={name: record}
    )


def test_samples_without_what_a_scorer_needs_are_not_dropped() -> None:
    samples = (dataclasses.replace(sample("a"), good=("yes",)), sample("b"))
    log = log_of(generation("plain", "a"), generation("plain", "b"), samples=samples, alignments=(PLAIN,))
    (found,) = dropped_by(scored(log, "bleu", [("plain", "a", 1.0), ("plain", "b", None)]))
    assert (found.scorer, found.expected, found.share) == ("bleu", 1, 0.0)


def test_answers_too_short_for_a_scorer_are_not_dropped_and_empty_ones_are() -> None:
    log = log_of(generation("plain", "a", "Two words."), generation("plain", "b", ""), alignments=(PLAIN,))
    (short,) = dropped_by(scored(log, "repetition", [("plain", "a", None), ("plain", "b", None)]))
    (empty,) = dropped_by(scored(log, "refusal", [("plain", "a", 0.0), ("plain", "b", None)]))
    assert (short.expected, empty.expected, empty.unscored) == (0, 2, 1)


def test_searching_alignments_are_not_expected_of_a_scorer_of_the_policy() -> None:
    searching = Alignment(name="careful", spec="careful")
    names = ("plain", "careful")
    log = Log(
        header(1, alignments=(PLAIN, searching)),
        {"a": dataclasses.replace(sample("a"), good=("yes",))},
        {(name, "a"): generation(name, "a") for name in names},
    )
    values = scored(log, "perplexity", [("plain", "a", 1.0), ("careful", "a", None)], of_policy=True)
    assert [one.share for one in dropped_by(values, {"careful": ["norms", "best_of_n"]})] == [0.0]
    assert [one.share for one in dropped_by(values, {"careful": ["norms"]})] == [0.5]
    assert [one.share for one in dropped_by(values)] == [0.5]


def test_the_first_alignments_own_ties_do_not_hide_what_a_scorer_that_compares_dropped() -> None:
    log = log_of(*(generation(name, one) for name in ("plain", "value_prompt") for one in "ab"))
    ties = [("plain", one, 0.5) for one in "ab"]
    judged = scored(log, "judge", [*ties, ("value_prompt", "a", 1.0), ("value_prompt", "b", None)])
    comparing = {"judge": judged.scorers["judge"].model_copy(update={"compares": True})}
    (found,) = dropped_by(dataclasses.replace(judged, scorers=comparing))
    assert (found.expected, found.unscored, found.share) == (2, 1, 0.5)
