"""`trimtab eval merge` on the scripted engine, and what is scored across models afterwards."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from trimtab.cli.app import app
from trimtab.server.evaluation.log import read_log

RUN = CliRunner()
PROMPTS = ("Which planet is the largest?", "How do I fold a shirt?", "Name a mammal that flies.")


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two evaluations of the same data: `base`, twice plain, and `tuned`, of another model's name."""
    folder = tmp_path_factory.mktemp("logs")
    data = folder / "prompts.jsonl"
    data.write_text("".join(json.dumps({"prompt": prompt, "id": f"s{n}"}) + "\n" for n, prompt in enumerate(PROMPTS)))
    config = folder / "tuned.yaml"
    config.write_text(json.dumps({"models": {"tuned": {"engine": {"kind": "scripted"}}}}))
    flags = ("eval", "--data", str(data), "--no-report", "--scorers", "length")
    twice = ("--align", "plain", "--align", "plain", "--engine", "scripted", "--output", str(folder / "base"))
    assert RUN.invoke(app, [*flags, *twice]).exit_code == 0
    assert RUN.invoke(app, [*flags, "--config", str(config), "--output", str(folder / "tuned")]).exit_code == 0
    return folder


def ran(*words: object) -> Result:
    return RUN.invoke(app, ["eval", *map(str, words)], env={"COLUMNS": "200"})


def test_models_stand_side_by_side_and_are_judged(logs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = ran("merge", logs / "base", logs / "tuned", "-o", out, "--name", f"{logs / 'tuned'}=lora")
    assert result.exit_code == 0, result.output
    assert "lora" in result.stdout
    assert {path.name for path in out.glob("report.*")} == {"report.html", "report.md", "report.json"}
    log = read_log(out)
    assert [one.name for one in log.header.alignments] == ["base:plain", "base:plain#2", "lora"]
    assert (len(log.generations), len(log.scores), len(log.header.merged_from)) == (9, 9, 2)

    result = ran("score", out, "--scorers", "judge,distinct_2", "--engine", "scripted", "--model", "double")
    assert result.exit_code == 0, result.output
    log = read_log(out)
    assert list(log.scorers) == ["length", "judge", "distinct_2"]
    # The scripted engine says the same to the same prompt, whatever it is called: identical answers tie unasked.
    assert {log.scores["judge", "lora", f"s{n}"].value for n in range(3)} == {0.5}


def test_a_merged_log_is_scored_by_roles(logs: Path, tmp_path: Path) -> None:
    out, config = tmp_path / "out", tmp_path / "roles.yaml"
    assert ran("merge", logs / "base", logs / "tuned", "-o", out, "--no-report").exit_code == 0
    assert not (out / "report.html").exists()
    config.write_text(json.dumps({"roles": {role: {"engine": {"kind": "scripted"}} for role in ("reward", "judge")}}))
    result = ran("score", out, "--scorers", "reward,judge", "--config", config, "--no-report")
    assert result.exit_code == 0, result.output
    log = read_log(out)
    assert [one.name for one in log.header.alignments] == ["base:plain", "base:plain#2", "tuned"]
    assert len(log.scores) == 27


def test_what_was_left_out_is_told(logs: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    assert ran("score", logs / "tuned", "--scorers", "refusal", "--no-report").exit_code == 0
    result = ran("merge", logs / "base", logs / "tuned", "-o", other, "--no-report")
    assert "refusal is left out: only tuned of the logs has it" in result.stderr


def test_what_makes_no_sense_is_refused_and_nothing_written(logs: Path, tmp_path: Path) -> None:
    out, base, tuned = tmp_path / "out", logs / "base", logs / "tuned"
    for words, told in (
        ((base,), "1 log is nothing to merge"),
        ((base, tmp_path / "nowhere"), "holds no evaluation"),
        ((base, base), "'base' would stand for two"),
        ((base, tuned, "--name", "lora"), "--name must be FOLDER=NAME"),
        ((base, tuned, "--name", f"{base}="), "--name must be FOLDER=NAME"),
        ((base, tuned, "--name", "elsewhere=lora"), "no folder that is merged"),
        ((base, tuned, "--name", f"{base}=one", "--name", f"{base}=two"), "already"),
    ):
        result = ran("merge", *words, "-o", out)
        assert result.exit_code == 2, result.output
        assert told in " ".join(result.output.split())
        assert not out.exists()
    assert "holds an evaluation already" in ran("merge", base, tuned, "-o", base).stderr
