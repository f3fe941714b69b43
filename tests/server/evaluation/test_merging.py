"""Several logs as one."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.server.evaluation.logs import JUDGE, LENGTH, REWARD, log_of
from trimtab.server.evaluation.data.rows import hash_of
from trimtab.server.evaluation.log import Log, LogError, read_log
from trimtab.server.evaluation.merging import Merged, Part, check_askable, keep_log, merge_logs
from trimtab.server.evaluation.records import ScorerRecord
from trimtab.server.evaluation.scorers.base import ScorerError
from trimtab.server.evaluation.summary import summarise

BASE, TUNED = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
SIGN = ScorerRecord(
    name="sign_agreement",
    title="Sign",
    better="higher",
    says="Share of pairs.",
    of_preference=True,
    of_policy=True,
    sha256="base",
)


def base(**header: Any) -> Log:
    """The base twice, A against A."""
    values = {("reward", "plain"): BASE, ("reward", "plain#2"): BASE}
    return log_of(values, alignments=("plain", "plain#2"), header={"model": "base", "model_sha256": "b" * 64, **header})


def tuned(scorer: ScorerRecord = REWARD, values: list[float] = TUNED, **header: Any) -> Log:
    """A trained model under one alignment."""
    of = {"model": "tuned", "model_sha256": "c" * 64, "created": 1_700_000_000.0, **header}
    return log_of({(scorer.name, "plain"): values}, alignments=("plain",), scorers=(scorer,), header=of)


def merged(*logs: Log) -> Merged:
    return merge_logs([Part(name, log) for name, log in zip(("base", "tuned", "third"), logs, strict=False)])


def names(log: Log) -> list[str]:
    return [one.name for one in log.header.alignments]


def test_alignments_are_called_by_their_log() -> None:
    found = merged(base(), tuned())
    assert names(found.log) == ["base:plain", "base:plain#2", "tuned"]
    assert found.notes == ()
    assert {name for name, _ in found.log.generations} == set(names(found.log))
    assert len(found.log.generations) == len(found.log.scores) == 24
    assert found.log.generations["tuned", "s3"].answer == "Water it, says plain."
    assert [one.sha256 for one in found.log.header.alignments] == ["sha-plain", "sha-plain#2", "sha-plain"]


def test_models_are_held_against_the_first_logs_first_alignment() -> None:
    summary = summarise(merged(base(), tuned()).log)
    same, other = summary.measure("reward", "base:plain#2").change, summary.measure("reward", "tuned").change
    assert same is not None
    assert other is not None
    assert (same.estimate, same.p, same.verdict) == (0, 1, "none")
    assert (other.estimate, other.verdict) == (1, "better")
    # Eight differences of one sign: two of 2^8 ways to flip signs are as far from zero; two comparisons.
    assert other.adjusted_p == pytest.approx(4 / 256)


def test_the_header_says_what_is_common_and_where_it_comes_from() -> None:
    header = merged(base(), tuned()).log.header
    assert (header.model, header.model_sha256, header.created) == ("base, tuned", "", 1_700_000_000.0)
    assert (header.dataset, header.dataset_sha256, header.samples, header.seed) == ("own prompts", "d1", 8, 7)
    assert header.merged_from == (
        "base: base (bbbbbbbbbbbb), 2026-09-21 14:13:20 UTC",
        "tuned: tuned (cccccccccccc), 2023-11-14 22:13:20 UTC",
    )
    assert merged(base(), base()).log.header.model_sha256 == "b" * 64


def test_what_differs_in_sampling_is_said_and_not_in_the_header() -> None:
    found = merged(base(), tuned(seed=8, sampling={"temperature": 0.7, "top_p": 0.9}, packages={"trimtab": "1"}))
    assert found.log.header.sampling == {"temperature": 0.7}
    assert found.log.header.packages == {"trimtab": "0, 1"}
    assert found.notes == (
        "the seeds differ (base 7, tuned 8); the header has the first",
        "top_p differs (base None, tuned 0.9); the header has none",
    )


def test_only_samples_of_the_same_id_and_content_are_kept() -> None:
    record = REWARD.model_copy(update={"summary": {"plain": {"spread": 2.0}}})
    first, other = log_of({("reward", "plain"): BASE}, alignments=("plain",), scorers=(record,)), tuned(record)
    assert merged(first, other).log.scorers["reward"].summary == {"base": {"spread": 2.0}, "tuned": {"spread": 2.0}}
    changed = {**other.samples, "s0": replace(other.samples["s0"], messages=({"role": "user", "content": "Something else?"},))}
    del changed["s7"]
    found = merged(first, replace(other, samples=changed))
    assert list(found.log.samples) == [f"s{place}" for place in range(1, 7)]
    assert {key[1] for key in found.log.generations} == {key[2] for key in found.log.scores} == set(found.log.samples)
    assert found.log.header.samples == 6
    assert found.log.header.dataset_sha256 == hash_of(found.log.samples.values())
    assert found.log.scorers["reward"].summary == {}
    assert found.notes == (
        "base: 2 of 8 samples are left out: not every log has them",
        "tuned: 1 of 7 samples are left out: not every log has them",
    )


def test_scorers_that_mean_another_thing_in_each_log_are_left_out() -> None:
    values = {("reward", "plain"): BASE, ("judge", "plain"): BASE, ("length", "plain"): BASE}
    first = log_of(values, alignments=("plain",), scorers=(REWARD, JUDGE, LENGTH))
    other = REWARD.model_copy(update={"sha256": "r2"})
    second = log_of({("reward", "plain"): TUNED, ("judge", "plain"): TUNED}, alignments=("plain",), scorers=(other, JUDGE))
    found = merged(first, second)
    assert (found.log.scorers, found.log.scores) == ({}, {})
    assert len(found.log.generations) == 16
    assert found.notes == (
        "reward is left out: it was configured differently (base r1, tuned r2)",
        "judge is left out: it compared with the first alignment of each log; score the merged log with it",
        "length is left out: only base of the logs has it",
    )


def test_a_scorer_that_asks_the_policy_is_kept_with_what_each_model_said() -> None:
    other = SIGN.model_copy(update={"sha256": "tuned"})
    found = merged(tuned(SIGN, BASE, model="base", model_sha256="b" * 64), tuned(other))
    assert found.log.scores["sign_agreement", "tuned", "s1"].value == 2.0
    assert found.log.scorers["sign_agreement"].sha256 not in {"base", "tuned"}
    assert found.notes == ("sign_agreement asked the model of each log; numbers per token compare only under one tokenizer",)


def test_a_scorer_of_the_policy_with_another_configuration_is_left_out() -> None:
    other = SIGN.model_copy(update={"sha256": "tuned"})
    assert "configured differently" in merged(tuned(SIGN), tuned(other)).notes[0]
    told = other.model_copy(update={"says": "Share of pairs, per answer."})
    assert "configured differently" in merged(tuned(SIGN, model_sha256="b" * 64), tuned(told)).notes[0]


def test_scorers_that_would_ask_one_model_for_all_are_refused() -> None:
    header = merged(base(), tuned()).log.header
    check_askable(header, ["judge", "reward", "unknown"])
    check_askable(base().header, ["perplexity"])
    check_askable(merged(base(), base()).log.header, ["perplexity"])
    with pytest.raises(ScorerError, match=r"perplexity, choices ask the model .* of several \(base: base "):
        check_askable(header, ["length", "perplexity", "choices"])


def test_a_merged_log_is_merged_again() -> None:
    found = merge_logs([Part("both", merged(base(), tuned()).log), Part("late", tuned())])
    assert names(found.log) == ["both:base:plain", "both:base:plain#2", "both:tuned", "late"]
    assert found.log.header.model == "base, tuned, tuned"


def test_what_cannot_be_merged_is_refused() -> None:
    with pytest.raises(LogError, match="1 log is nothing to merge"):
        merge_logs([Part("base", base())])
    with pytest.raises(LogError, match="'base' would stand for two"):
        merge_logs([Part("base", base()), Part("base", tuned())])
    with pytest.raises(LogError, match="'base:plain' would stand for two"):
        merge_logs([Part("base", base()), Part("base:plain", tuned())])
    with pytest.raises(LogError, match="name of a log is empty"):
        merge_logs([Part("base", base()), Part(" ", tuned())])
    other = tuned(dataset="others")
    renamed = {f"other {name}": one for name, one in other.samples.items()}
    with pytest.raises(LogError, match=r"share no sample: .* own prompts \(d1\), others \(d1\)"):
        merged(base(), replace(other, samples=renamed))


def test_a_log_is_kept_as_it_is(tmp_path: Path) -> None:
    log = merged(base(), tuned()).log
    keep_log(tmp_path / "out", log)
    assert read_log(tmp_path / "out") == log
    with pytest.raises(LogError, match="holds an evaluation already"):
        keep_log(tmp_path / "out", log)
