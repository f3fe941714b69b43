"""Two logs held against each other."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from tests.server.evaluation.logs import JUDGE, REWARD, log_of
from trimtab.cli.eval_compare import compare
from trimtab.cli.eval_report import report
from trimtab.server.evaluation.comparing import Comparison, compare_logs
from trimtab.server.evaluation.log import Log, LogError, LogWriter
from trimtab.server.evaluation.records import ScorerRecord

BEFORE = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
AFTER = [value + 1 for value in BEFORE]


def of(values: list[float | None] | list[float], name: str = "plain", scorer: ScorerRecord = REWARD, **header: Any) -> Log:
    """A log of one alignment and one scorer."""
    return log_of({(scorer.name, name): list(values)}, alignments=(name,), scorers=(scorer,), header=header)


def keys(comparison: Comparison) -> set[str]:
    return {one.key for one in comparison.differing}


def test_the_difference_is_the_second_less_the_first() -> None:
    (row,) = compare_logs(of(BEFORE), of(AFTER)).rows
    assert (row.mean_first, row.mean_second) == (3.5, 4.5)
    assert row.change.estimate == pytest.approx(1.0)
    # Eight differences of one sign: two of 2^8 ways to flip signs are as far from zero.
    assert row.change.p == pytest.approx(2 / 256)
    assert row.change.verdict == "better"


def test_a_log_against_itself_shows_no_difference() -> None:
    found = compare_logs(of(BEFORE), of(BEFORE))
    assert (found.rows[0].change.estimate, found.rows[0].change.p, found.rows[0].change.verdict) == (0, 1, "none")
    assert (found.differing, found.notes) == ((), ())


def test_only_samples_of_the_same_id_and_content_count() -> None:
    other = of(AFTER)
    samples = {**other.samples, "s0": type(other.samples["s0"])("s0", ({"role": "user", "content": "Something else?"},))}
    del samples["s7"]
    found = compare_logs(of(BEFORE), Log(other.header, samples, other.generations, other.scores, other.scorers))
    assert (found.shared, found.only_first, found.only_second) == (6, 2, 1)
    assert found.rows[0].change.n == 6


def test_what_differs_in_the_headers_is_said() -> None:
    found = compare_logs(of(BEFORE), of(AFTER, model="tuned", seed=8, sampling={"temperature": 0.7, "top_p": 0.9}))
    assert keys(found) == {"model", "seed", "sampling.top_p"}


def test_alignments_of_other_names_are_paired_by_hand() -> None:
    found = compare_logs(of(BEFORE, "plain"), of(AFTER, "urial"), pairs=[("plain", "urial")])
    assert (found.rows[0].first, found.rows[0].second) == ("plain", "urial")
    assert keys(found) == {"alignment plain"}


def test_a_scorer_configured_differently_is_left_out_and_that_is_said() -> None:
    both = (REWARD, JUDGE)
    values = {("reward", "norms"): BEFORE, ("judge", "norms"): [1.0] * 8}
    first = log_of(values, scorers=both)
    second = log_of(values, scorers=(REWARD.model_copy(update={"sha256": "r2"}), JUDGE))
    found = compare_logs(first, second)
    assert {row.scorer for row in found.rows} == {"judge"}
    assert found.notes[0] == "reward is left out: it was configured differently (r1 and r2)"
    assert "two win rates" in found.notes[1]


def test_p_values_are_adjusted_for_all_rows() -> None:
    # p = 2 / 2^8 for each of two rows; Holm doubles the smaller.
    first = log_of({("reward", "plain"): BEFORE, ("reward", "norms"): BEFORE})
    second = log_of({("reward", "plain"): AFTER, ("reward", "norms"): AFTER})
    assert [row.change.adjusted_p for row in compare_logs(first, second).rows] == [pytest.approx(4 / 256)] * 2


def test_nothing_in_common_is_refused_and_says_why() -> None:
    other = of(AFTER)
    renamed = {f"other {name}": one for name, one in other.samples.items()}
    with pytest.raises(LogError, match="share no sample"):
        compare_logs(of(BEFORE), Log(other.header, renamed, {}, {}, other.scorers))
    with pytest.raises(LogError, match="share no alignment: plain and urial"):
        compare_logs(of(BEFORE), of(AFTER, "urial"))
    with pytest.raises(LogError, match="first log has no alignment 'norms'; it has plain"):
        compare_logs(of(BEFORE), of(AFTER), pairs=[("norms", "plain")])
    with pytest.raises(LogError, match="reward is left out: only the first log has it"):
        compare_logs(of(BEFORE), of(AFTER, scorer=JUDGE))
    with pytest.raises(LogError, match="no scorer has two samples scored in both"):
        compare_logs(of(BEFORE), of([1.0] + [None] * 7))


def stored(folder: Path, log: Log) -> Path:
    """The log as files."""
    with LogWriter.create(folder, log.header, log.samples.values()) as writer:
        for record in (*log.generations.values(), *log.scores.values(), *log.scorers.values()):
            writer.add(record)
    return folder


def run(*arguments: object) -> tuple[int, str, str]:
    """Exit status, output and errors of `compare` and `report` as commands."""
    app = typer.Typer()
    app.command("compare")(compare)
    app.command("report")(report)
    result = CliRunner().invoke(app, [str(one) for one in arguments])
    return result.exit_code, result.stdout, result.stderr


def test_the_command_prints_markdown_or_json(tmp_path: Path) -> None:
    first, second = stored(tmp_path / "a", of(BEFORE)), stored(tmp_path / "b", of(AFTER, "tuned", model="tuned"))
    status, text, _ = run("compare", first, second, "--pair", "plain=tuned")
    assert status == 0
    assert "8 samples are in both logs." in text
    assert "| model | double | tuned |" in text
    assert "| Reward | plain<br>3.500 | tuned<br>4.500 | +1.000 | +1.000 to +1.000 | 8 | 0.008 | 0.008 | ▲ better |" in text
    status, text, _ = run("compare", first, second, "--pair", "plain=tuned", "--json")
    assert json.loads(text)["rows"][0]["change"]["verdict"] == "better"


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    first, second = stored(tmp_path / "a", of(BEFORE)), stored(tmp_path / "b", of(AFTER, "tuned"))
    status, _, errors = run("compare", first, second)
    assert (status, "share no alignment" in errors) == (2, True)
    status, _, errors = run("compare", first, tmp_path / "nowhere")
    assert (status, "holds no evaluation" in errors) == (2, True)
    status, _, errors = run("compare", first, second, "--pair", "plain")
    assert (status, "NAME_A=NAME_B" in errors) == (2, True)


def test_a_report_is_made_again_from_the_log(tmp_path: Path) -> None:
    folder = stored(tmp_path / "a", of(BEFORE))
    status, text, _ = run("report", folder)
    assert status == 0
    assert str(folder / "report.html") in text
    assert "double on own prompts" in (folder / "report.md").read_text(encoding="utf-8")
