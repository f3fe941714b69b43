"""`trimtab eval export-pairs`, `rate`, `import-ratings`, `to-alpaca`, `from-alpaca`: from a log to what others say of it."""

import json
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from typer.testing import CliRunner, Result

from tests.cli.serving import environment
from tests.server.evaluation.logs import JUDGE, log_of
from trimtab.cli.app import app
from trimtab.server.evaluation.log import LogWriter, read_log
from trimtab.server.evaluation.raters.pairs import read_key, read_pairs
from trimtab.server.evaluation.raters.ratings import read_ratings

RUN = CliRunner()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A log of twelve samples; a judge finds every answer under norms better."""
    answers = {(name, place): {"answer": f"the {name} way, {place}"} for name in ("plain", "norms") for place in range(12)}
    log = log_of({("judge", "norms"): [1.0] * 12}, scorers=[JUDGE], answers=answers)
    with LogWriter.create(tmp_path / "log", log.header, log.samples.values()) as writer:
        for generation in log.generations.values():
            writer.add(generation)
        for score in log.scores.values():
            writer.add(score)
        writer.add(JUDGE)
    return tmp_path / "log"


def run(*words: object) -> Result:
    return RUN.invoke(app, ["eval", *map(str, words)], env={"COLUMNS": "200"})


def done(*words: object) -> str:
    result = run(*words)
    assert result.exit_code == 0, result.output
    return result.stdout


def failed(*words: object) -> str:
    result = run(*words)
    assert result.exit_code == 2, result.output
    return " ".join(result.output.split())


def test_from_pairs_to_agreement(folder: Path, tmp_path: Path) -> None:
    """Both raters prefer norms in eight pairs and plain in two; one also ties twice, where the other prefers norms."""
    pairs = tmp_path / "pairs.jsonl"
    assert "12 pairs" in done("export-pairs", folder, "--pairs", 20, "--seed", 1, "-o", pairs)
    key = read_key(folder)
    assert [pair.id for pair in read_pairs(pairs)] == [entry.pair for entry in key]
    other = {"a": "b", "b": "a"}
    files = []
    for rater, last in (("ann", "norms"), ("bob", "tie")):
        lines = [
            {"pair": one.pair, "rater": rater, "choice": one.side if n < 8 else other[one.side] if n < 10 else last, "at": 1.0}
            for n, one in enumerate(key)
        ]
        for line, entry in zip(lines, key, strict=True):
            line["choice"] = entry.side if line["choice"] == "norms" else line["choice"]
        files.append(tmp_path / f"{rater}.jsonl")
        files[-1].write_text("".join(json.dumps(line) + "\n" for line in lines))
    said = done("import-ratings", folder, *files)
    assert "Raters: ann, bob" in said
    assert "same rating 83.3%; Cohen's kappa" in said
    # (8 + 2 * 0.75) / 12 by people, 1 by the judge; a judge that says the same of all changes nothing.
    assert "norms: 0.792 [" in said
    assert re.search(r"norms, judge: 1\.000 \[.*\(n=12\); 0\.792 \[.*\(n=12\); 0\.792 \[", said)
    assert len(read_ratings(folder)) == 24
    told = json.loads(done("import-ratings", folder, *files, "--json"))
    assert told["raters"]["raters"] == ["ann", "bob"]
    assert len(read_ratings(folder)) == 24
    assert read_log(folder).scorers.keys() == {"judge"}


def test_wrong_calls_are_refused(folder: Path, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.jsonl"
    ratings = tmp_path / "r.jsonl"
    ratings.write_text("")
    assert "export pairs of this log first" in failed("import-ratings", folder, ratings)
    done("export-pairs", folder, "-o", pairs)
    assert "--overwrite replaces it" in failed("export-pairs", folder, "-o", pairs)
    assert "hold no rating" in failed("import-ratings", folder, ratings)
    assert "holds no evaluation" in failed("export-pairs", tmp_path, "-o", tmp_path / "more.jsonl")
    assert "cannot be read" in failed("rate", tmp_path / "missing.jsonl", "--rater", "ann", "-o", ratings)
    assert "--rater" in failed("rate", pairs, "--rater", "  ", "-o", ratings)


def test_rating_goes_on_after_a_kill(folder: Path, tmp_path: Path) -> None:
    """What is acknowledged is in the file when the program is killed; Ctrl-C ends it well."""
    pairs, ratings = tmp_path / "pairs.jsonl", tmp_path / "r.jsonl"
    done("export-pairs", folder, "-o", pairs)
    first, second, *_ = (pair.id for pair in read_pairs(pairs))
    for pair, how, status in ((first, signal.SIGKILL, -9), (second, signal.SIGINT, 0)):
        process = started("rate", str(pairs), "--rater", "ann", "-o", str(ratings), "--no-open")
        with httpx2.Client(base_url=address(process)) as http:
            assert http.get("state").json()["pair"]["id"] == pair
            assert http.post("rate", json={"pair": pair, "choice": "a"}).status_code == 200
        process.send_signal(how)
        said, _ = process.communicate(timeout=60)
        assert process.returncode == status, said
    assert [json.loads(line)["pair"] for line in ratings.read_text().splitlines()] == [first, second]
    assert "2 of 12 rated by ann" in said


def started(*words: str) -> subprocess.Popen[str]:
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from trimtab.cli import main; main()"
    return subprocess.Popen([sys.executable, "-c", code, "eval", *words], stdout=subprocess.PIPE, text=True, env=environment())


def address(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    found = re.search(r"http://127\.0\.0\.1:\d+/\S+/", process.stdout.readline())
    assert found
    return found[0]


def test_out_to_alpaca_eval_and_back(folder: Path, tmp_path: Path) -> None:
    plain, norms, back = tmp_path / "plain.json", tmp_path / "norms.json", tmp_path / "back"
    for name, path in (("plain", plain), ("norms", norms)):
        assert "12 answers" in done("to-alpaca", folder, "--alignment", name, "-o", path)
    assert "12 samples of double:plain and double:norms" in done("from-alpaca", norms, plain, "-o", back)
    ours, theirs = read_log(folder), read_log(back)
    assert [one.answer for one in ours.generations.values()][:12] == [
        theirs.generations["double:plain", name].answer for name in theirs.samples
    ]
    annotations = tmp_path / "annotations.json"
    rows = [
        {"instruction": mine["instruction"], "output_1": other["output"], "output_2": mine["output"], "preference": 2.0}
        for mine, other in zip(json.loads(norms.read_text()), json.loads(plain.read_text()), strict=True)
    ]
    annotations.write_text(json.dumps(rows))
    for log, name in ((back, "double:norms"), (folder, "norms")):
        done("from-alpaca", "-o", log, "--annotations", annotations)
        scores = read_log(log).scores
        assert all(scores["alpaca_eval", name, sample].value == 1.0 for sample in read_log(log).samples)
    done("score", back, "--scorers", "length", "--no-report", "--engine", "scripted")
    done("report", back)
    assert "AlpacaEval" in (back / "report.md").read_text()


def test_wrong_calls_of_alpaca_eval_are_refused(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.json"
    assert "it has: plain, norms" in failed("to-alpaca", folder, "--alignment", "rain", "-o", out)
    done("to-alpaca", folder, "--alignment", "plain", "-o", out)
    assert "--overwrite replaces it" in failed("to-alpaca", folder, "--alignment", "plain", "-o", out)
    assert "OUTPUTS and REFERENCE" in failed("from-alpaca", out, "-o", tmp_path / "new")
    assert "OUTPUTS and REFERENCE" in failed("from-alpaca", "-o", tmp_path / "new")
    assert "holds an evaluation already" in failed("from-alpaca", out, out, "-o", folder)


def test_the_recipes_use_flags_that_there_are() -> None:
    recipes = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
    lines = re.findall(r"^trimtab (.*)$", recipes, re.MULTILINE)
    assert len(lines) >= 12
    for line in lines:
        words = shlex.split(line)
        names = [word for word in words[: 2 if words[0] == "eval" else 1] if not word.startswith("-")]
        names = [*names, "run"] if names == ["eval"] else names
        said = RUN.invoke(app, [*names, "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).stdout
        for flag in (word for word in words if word.startswith("--")):
            assert re.search(rf"{flag}\b", said), (line, flag)
