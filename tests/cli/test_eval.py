"""`trimtab eval` on the scripted engine: from data to log and report, killed and taken up again, and how it refuses."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from tests.cli.serving import environment, serving
from tests.waiting import until
from trimtab.cli.app import app
from trimtab.cli.eval import columns_of, names_of
from trimtab.cli.eval_place import trained
from trimtab.server.evaluation.log import Log, read_log

RUN = CliRunner()
PROMPTS = ("Which planet is the largest?", "How do I fold a shirt?", "Name a mammal that flies.")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return rows(tmp_path / "prompts.jsonl", [{"prompt": prompt, "id": f"s{n}"} for n, prompt in enumerate(PROMPTS)])


def rows(path: Path, records: Sequence[object]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def evaluated(*words: object) -> Result:
    """`trimtab eval WORDS --engine scripted`, scored by length unless words say otherwise."""
    given = [str(word) for word in words]
    scorers = [] if "--scorers" in given else ["--scorers", "length"]
    engine = [] if {"--url", "--engine", "--config"} & set(given) else ["--engine", "scripted"]
    return RUN.invoke(app, ["eval", *given, *scorers, *engine], env={"COLUMNS": "200"})


def done(*words: object) -> Result:
    result = evaluated(*words)
    assert result.exit_code == 0, result.output
    return result


def failed(status: int, *words: object) -> str:
    result = evaluated(*words)
    assert result.exit_code == status, result.output
    return " ".join(result.output.split())


def configured(folder: Path, **engine: object) -> Path:
    path = folder / f"config-{len(list(folder.glob('config-*')))}.yaml"
    path.write_text(yaml.safe_dump({"models": {"double": {"engine": {"kind": "scripted", **engine}}}}))
    return path


def answers(log: Log) -> dict[tuple[str, str], str | None]:
    return {key: one.answer for key, one in log.generations.items()}


@contextmanager
def started(*words: str) -> Iterator[subprocess.Popen[str]]:
    """`trimtab WORDS` as a child whose engine has begun to start."""
    process = subprocess.Popen(
        [sys.executable, "-m", "trimtab", *words],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        assert any("starting the" in line for line in process.stderr)
        yield process
    finally:
        process.kill()
        process.communicate()


def test_from_data_to_log_report_and_table(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    aligns = ("--align", "plain", "--align", '["value_prompt", "critique_refine"]')
    result = done("--data", data, *aligns, "--output", out, "--seed", 5, "--temperature", 0.5, "--max-tokens", 99)
    assert "Words · no better side\n  plain" in result.stdout
    assert "<br>" not in result.stdout
    log = read_log(out)
    header = log.header
    assert [one.name for one in header.alignments] == ["plain", "value_prompt+critique_refine"]
    assert (header.dataset, header.samples, header.seed, header.engine) == ("prompts.jsonl", 3, 5, "scripted")
    assert header.sampling == {"max_tokens": 99, "temperature": 0.5}
    assert len({one.sha256 for one in header.alignments} | {header.dataset_sha256, header.model_sha256}) == 4
    assert header.packages["trimtab"]
    assert log.generations["plain", "s1"].answer == f"You said: {PROMPTS[1]}"
    assert len(log.generations) == len(log.scores) == 6
    assert log.generations["value_prompt+critique_refine", "s0"].cost.calls == 3
    assert {path.name for path in out.glob("report.*")} == {"report.html", "report.md", "report.json"}


def test_the_same_alignment_twice_shows_no_difference(data: Path, tmp_path: Path) -> None:
    done("--data", data, "--align", "plain", "--align", "plain", "--output", tmp_path / "out", "--no-report")
    log = read_log(tmp_path / "out")
    assert [one.name for one in log.header.alignments] == ["plain", "plain#2"]
    for sample in log.samples:
        first, second = (log.generations[name, sample] for name in ("plain", "plain#2"))
        assert (first.answer, first.seed) == (second.answer, second.seed)
        assert len({log.scores["length", name, sample].value for name in ("plain", "plain#2")}) == 1
    assert not (tmp_path / "out" / "report.html").exists()


def test_other_parameters_are_another_name(data: Path, tmp_path: Path) -> None:
    other = '[{"kind": "value_prompt", "principles": ["Be brief."]}]'
    done("--data", data, "--align", "value_prompt", "--align", other, "--output", tmp_path / "out", "--no-report", "--limit", 1)
    first, second = read_log(tmp_path / "out").header.alignments
    assert (first.name, second.name) == ("value_prompt", "value_prompt#2")
    assert first.sha256 != second.sha256


def test_a_killed_run_goes_on_to_the_same_answers(data: Path, tmp_path: Path) -> None:
    """Bytes are the scripted engine's tokens: at 40 a second, two at once, 24 answers of 30 bytes take nine seconds."""
    rows(data, [{"prompt": f"Tell me about number {n}.", "id": f"s{n}"} for n in range(12)])
    slow, fast = configured(tmp_path, tokens_per_s=40), configured(tmp_path)
    aligns = ("--align", "plain", "--align", "value_prompt", "--concurrency", "2")
    flags = ("--data", str(data), *aligns, "--no-report", "--scorers", "length")
    with started("eval", *flags, "--config", str(slow), "--output", str(tmp_path / "killed")) as process:
        log = tmp_path / "killed" / "generations.jsonl"
        asyncio.run(until(lambda: log.exists() and log.read_bytes().count(b"\n") >= 3))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    kept = read_log(tmp_path / "killed")
    assert 3 <= len(kept.generations) < 24
    assert "--resume" in failed(2, *flags, "--config", fast, "--output", tmp_path / "killed")

    done(*flags, "--config", fast, "--output", tmp_path / "killed", "--resume")
    done(*flags, "--config", fast, "--output", tmp_path / "whole")
    resumed, whole = read_log(tmp_path / "killed"), read_log(tmp_path / "whole")
    assert answers(resumed) == answers(whole)
    assert len(whole.generations) == 24
    assert {k: v.value for k, v in resumed.scores.items()} == {k: v.value for k, v in whole.scores.items()}
    for key, one in kept.generations.items():
        assert resumed.generations[key] == one


def test_resuming_twice_changes_nothing(data: Path, tmp_path: Path) -> None:
    flags = ("--data", data, "--output", tmp_path / "out", "--no-report", "--resume")
    done(*flags)
    files = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.json*")}
    done(*flags)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.json*")} == files


def test_resuming_with_another_configuration_is_refused(data: Path, tmp_path: Path) -> None:
    flags = ("--data", data, "--output", tmp_path / "out", "--no-report")
    done(*flags)
    told = failed(2, *flags, "--resume", "--max-tokens", 8, "--align", "value_prompt")
    assert "starting the" not in told
    assert "sampling.max_tokens: 256 in the log, 8 now" in told
    assert 'alignments[0].name: "plain" in the log, "value_prompt" now' in told


def test_errors_are_asked_again_and_too_many_fail_the_run(data: Path, tmp_path: Path) -> None:
    """The context window is too small for one of three prompts, in bytes: a third of the answers is an error."""
    rows(data, [{"prompt": "short", "id": "a"}, {"prompt": "brief", "id": "b"}, {"prompt": "long " * 100, "id": "c"}])
    flags = ("--data", data, "--output", tmp_path / "out", "--no-report", "--max-tokens", 50)
    small = configured(tmp_path, max_model_len=300)
    told = failed(1, *flags, "--config", small)
    assert "more was dropped than --max-dropped 0.05 allows" in told
    assert "length 1 errored and 0 unscored of 3 (33.3%): 400 context_length_exceeded" in told
    done(*flags, "--config", small, "--resume", "--max-dropped", 0.5)
    assert len((tmp_path / "out" / "generations.jsonl").read_text().splitlines()) == 4
    done(*flags, "--config", configured(tmp_path), "--resume")
    log = read_log(tmp_path / "out")
    assert [one.error for one in log.generations.values()] == [None] * 3
    assert len(log.scores) == 3


def test_a_server_answers_under_its_own_default(data: Path, tmp_path: Path) -> None:
    with serving("--engine", "scripted", "--port", "0", "--align", "value_prompt", "--served-model-name", "double") as served:
        aligns = ("--align", "plain", "--align", "value_prompt")
        done("--data", data, "--url", served.url, *aligns, "--output", tmp_path / "out", "--no-report")
        told = failed(1, "--data", data, "--url", served.url, "--align", "aligner", "--output", tmp_path / "other")
    assert "aligner: 400 missing_role" in told
    log = read_log(tmp_path / "out")
    assert (log.header.model, log.header.engine, log.header.model_sha256) == ("double", "remote", "")
    plain, aligned = log.generations["plain", "s0"], log.generations["value_prompt", "s0"]
    assert (plain.answer, plain.trace and plain.trace["strategy"]) == (f"You said: {PROMPTS[0]}", ["plain"])
    assert aligned.cost.prompt_tokens > plain.cost.prompt_tokens


def test_a_log_is_scored_again_without_answering(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done("--data", data, "--output", out, "--no-report")
    before = (out / "generations.jsonl").read_bytes()
    result = RUN.invoke(app, ["eval", "score", str(out), "--scorers", "refusal,distinct_2"])
    assert result.exit_code == 0, result.output
    log = read_log(out)
    assert list(log.scorers) == ["length", "refusal", "distinct_2"]
    assert len(log.scores) == 9
    assert (out / "generations.jsonl").read_bytes() == before
    assert "Refusals" in result.stdout


def test_a_scorer_that_no_sample_serves_is_refused_before_the_model_is_loaded(data: Path, tmp_path: Path) -> None:
    done("--data", data, "--output", tmp_path / "out", "--no-report")
    result = RUN.invoke(app, ["eval", "score", str(tmp_path / "out"), "--scorers", "perplexity", "--engine", "scripted"])
    assert result.exit_code == 2
    assert "perplexity: no sample has what it needs" in result.output
    assert "starting the" not in result.output


def test_other_weights_than_those_that_answered_are_told_with_both_engines(data: Path, tmp_path: Path) -> None:
    rows(data, [{"prompt": prompt, "good": ["Jupiter"]} for prompt in PROMPTS])
    out = tmp_path / "out"
    done("--data", data, "--output", out, "--no-report", "--config", configured(tmp_path))
    header = json.loads((out / "header.json").read_text())
    (out / "header.json").write_text(json.dumps({**header, "model_sha256": "other", "engine": "transformers"}))
    result = RUN.invoke(app, ["eval", "score", str(out), "--scorers", "perplexity", "--config", str(configured(tmp_path))])
    assert result.exit_code == 2
    told = " ".join(result.output.split())
    assert "'double' on the engine scripted has not the weights that answered ('double' on transformers)" in told


def test_a_log_is_scored_by_a_role(data: Path, tmp_path: Path) -> None:
    out, config = tmp_path / "out", tmp_path / "roles.yaml"
    done("--data", data, "--output", out, "--no-report")
    config.write_text(yaml.safe_dump({"roles": {"reward": {"engine": {"kind": "scripted"}}}}))
    result = RUN.invoke(app, ["eval", "score", str(out), "--scorers", "reward", "--config", str(config), "--no-report"])
    assert result.exit_code == 0, result.output
    assert {key[0] for key in read_log(out).scores} == {"length", "reward"}
    refused = RUN.invoke(app, ["eval", "score", str(out), "--scorers", "reward", "--no-report"])
    assert refused.exit_code == 2
    assert "--role reward=" in refused.output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--scorers", "lenght"), "unknown scorer 'lenght'; did you mean 'length'?"),
        (("--scorers", ","), "write names with commas"),
        (("--scorers", "bleu"), "bleu: no sample has what it needs"),
        (("--align", "urail"), "unknown strategy 'urail'; did you mean 'urial'?"),
        (("--align", "aligner"), "aligner needs an engine for the role 'aligner'; give one: --role aligner=SOURCE"),
        (("--align", '{"kind": "best_of_n", "n": "many"}'), "best_of_n.n: Input should be a valid integer"),
        (("--columns", "prompt"), "write FIELD=COLUMN"),
        (("--columns", "prompt=question"), "question"),
        (("--url", "http://127.0.0.1:9", "--engine", "scripted"), "--engine: with --url the server has its own"),
        (("--max-dropped", "1.5"), "--max-dropped"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_written(
    words: Sequence[str], told: str, data: Path, tmp_path: Path
) -> None:
    said = failed(2, "--data", data, "--output", tmp_path / "out", *words)
    assert told in said
    assert "starting the" not in said
    assert not (tmp_path / "out").exists()


def test_rows_that_make_no_sample_are_told_and_too_many_end_it(data: Path, tmp_path: Path) -> None:
    rows(data, [{"prompt": "one"}, {"prompt": ""}, {"prompt": "three"}])
    told = failed(2, "--data", data, "--output", tmp_path / "out")
    assert "1 of 3 rows of prompts.jsonl make no sample: line 2:" in told
    assert "--max-dropped 0.05 allows fewer" in told
    assert "1 of 3 rows" in done("--data", data, "--output", tmp_path / "out", "--max-dropped", 0.5, "--no-report").output


def test_the_bare_form_is_run_and_subcommands_are_themselves() -> None:
    shown = RUN.invoke(app, ["eval", "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    for name in ("run", "score", "compare", "report"):
        assert name in shown.stdout
    assert "--max-dropped" in RUN.invoke(app, ["eval", "run", "--help"], env={"COLUMNS": "200"}).stdout
    missing = RUN.invoke(app, ["eval", "--output", "x"], env={"COLUMNS": "200"})
    assert missing.exit_code == 2
    assert "--data" in missing.output


def test_lists_on_the_command_line() -> None:
    assert names_of("a, b,") == ("a", "b")
    assert names_of(None) is None
    assert columns_of("prompt=question, good=answers") == {"prompt": "question", "good": "answers"}
    assert columns_of(None) == {}


def test_the_model_of_a_run_is_what_it_trained(tmp_path: Path) -> None:
    (tmp_path / "trimtab.yaml").write_text(
        yaml.safe_dump({"models": {"base": {"engine": {"kind": "auto", "lora": {"mine": "."}}}}})
    )
    assert trained(str(tmp_path)) == "mine"
    assert trained("smollm2-135m-instruct") is None
    assert trained(None) is None
