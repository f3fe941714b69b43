"""`trimtab doctor --judge` measures, tells, keeps the report, and says what belongs to it."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from trimtab.cli.app import app
from trimtab.cli.flags import ServeFlags
from trimtab.cli.judge_check import judge

RUN = CliRunner()


def test_a_judge_near_chance_is_warned_of_and_kept(tmp_path: Path) -> None:
    """The scripted engine's numbers are pseudo-random: no judge at all."""
    arguments = ["doctor", "--judge", "--engine", "scripted", "--data-dir", str(tmp_path), "--port", "0"]
    result = RUN.invoke(app, arguments)
    assert re.search(r"warn  judge: scripted .* is near chance: it is right in \d+\.\d% of 240 labelled cases", result.output)
    assert re.search(r"-> judge with a larger model .* --role judge=SOURCE", result.output)
    assert re.search(r"ok    judge letters: right in .* behind A, .* behind B; says A in", result.output)
    (kept,) = (tmp_path / "judges").iterdir()
    assert str(kept) in result.output.replace("\n", "")
    assert re.search(r"(\nAll well but for \d warnings?\.|checks failed)\n$", result.output)


def test_the_report_is_the_same_each_time(tmp_path: Path) -> None:
    flags = ServeFlags(engine="scripted", data_dir=tmp_path)
    first, second = judge(flags), judge(flags)
    assert [check.detail for check in first[:2]] == [check.detail for check in second[:2]]


@pytest.mark.parametrize("arguments", [["some-model"], ["--engine", "scripted"], ["--data-dir", "somewhere"]])
def test_what_belongs_to_judges_needs_the_flag(arguments: list[str]) -> None:
    result = RUN.invoke(app, ["doctor", *arguments, "--port", "0"])
    assert result.exit_code == 2
    assert "belong to --judge" in result.output


def test_a_model_that_cannot_be_had_is_told(tmp_path: Path) -> None:
    result = RUN.invoke(app, ["doctor", "--judge", str(tmp_path / "nothing"), "--data-dir", str(tmp_path), "--port", "0"])
    assert result.exit_code in (1, 2)
    assert "nothing" in result.output
    assert "Traceback" not in result.output
