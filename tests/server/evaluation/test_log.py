"""The log on disk: what was added is read again; a torn line is cut; another run is refused and told what differs."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.server.evaluation.small import generation, header, sample
from trimtab.server.evaluation.log import LogError, LogWriter, read_header, read_log
from trimtab.server.evaluation.records import Alignment, Score, ScorerRecord
from trimtab.server.evaluation.samples import Sample

FULL = Sample(
    "full",
    ({"role": "system", "content": "Be kind."}, {"role": "user", "content": "Täglich?"}),
    category="greetings",
    chosen="yes",
    rejected="no",
    good=("yes",),
    bad=("no", "never"),
    choices=("yes", "no"),
    correct=(0,),
    refuse=False,
    extra={"prompt_toxicity": 0.25},
)
SAMPLES = (FULL, sample("b"))
SCORE = Score(scorer="length", alignment="plain", sample="b", value=5.0, details={"words": 1})
RECORD = ScorerRecord(name="length", title="Length", better="neither", says="Characters.", summary={"plain": {"sd": 0.5}})


def test_what_was_added_is_read_again(tmp_path: Path) -> None:
    with LogWriter.create(tmp_path / "log", header(), SAMPLES) as writer:
        for record in (generation("plain", "b"), SCORE, RECORD):
            writer.add(record)
    log = read_log(tmp_path / "log")
    assert log.header == header()
    assert tuple(log.samples.values()) == SAMPLES
    assert log.generations == {("plain", "b"): generation("plain", "b")}
    assert log.scores == {("length", "plain", "b"): SCORE}
    assert log.scorers == {"length": RECORD}


def test_a_record_is_there_as_soon_as_it_was_added(tmp_path: Path) -> None:
    with LogWriter.create(tmp_path, header(), SAMPLES) as writer:
        writer.add(generation("plain", "b"))
        assert ("plain", "b") in read_log(tmp_path).generations


def test_the_later_line_counts(tmp_path: Path) -> None:
    with LogWriter.create(tmp_path, header(), SAMPLES) as writer:
        writer.add(generation("plain", "b", error="500 internal_error: no"))
        writer.add(generation("plain", "b", "then words"))
        assert writer.answered() == {("plain", "b")}
    assert read_log(tmp_path).generations["plain", "b"].answer == "then words"


def test_errors_are_no_answers(tmp_path: Path) -> None:
    with LogWriter.create(tmp_path, header(), SAMPLES) as writer:
        writer.add(generation("plain", "full"))
        writer.add(generation("plain", "b", error="503 overloaded: later"))
        assert writer.answered() == {("plain", "full")}


@given(cut=st.integers(min_value=1, max_value=40))
def test_a_line_that_was_cut_short_is_dropped(cut: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("log")
    with LogWriter.create(folder, header(), SAMPLES) as writer:
        writer.add(generation("plain", "full"))
        writer.add(generation("plain", "b"))
    path = folder / "generations.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    assert set(read_log(folder).generations) == {("plain", "full")}
    with LogWriter.resume(folder, header(), SAMPLES) as writer:
        assert writer.answered() == {("plain", "full")}
        writer.add(generation("plain", "b", "anew"))
    assert read_log(folder).generations["plain", "b"].answer == "anew"


def test_a_long_line_that_was_cut_short_is_dropped_too(tmp_path: Path) -> None:
    with LogWriter.create(tmp_path, header(), SAMPLES) as writer:
        writer.add(generation("plain", "full"))
    whole = (tmp_path / "generations.jsonl").read_bytes()
    (tmp_path / "generations.jsonl").write_bytes(whole + b"x" * 200_000)
    LogWriter.reopen(tmp_path).close()
    assert (tmp_path / "generations.jsonl").read_bytes() == whole


def test_a_file_of_one_torn_line_is_empty_afterwards(tmp_path: Path) -> None:
    LogWriter.create(tmp_path, header(), SAMPLES).close()
    (tmp_path / "scores.jsonl").write_bytes(b'{"scorer": "le')
    LogWriter.reopen(tmp_path).close()
    assert (tmp_path / "scores.jsonl").read_bytes() == b""


def test_a_broken_line_in_the_middle_is_an_error_that_names_it(tmp_path: Path) -> None:
    with LogWriter.create(tmp_path, header(), SAMPLES) as writer:
        writer.add(generation("plain", "full"))
    with (tmp_path / "generations.jsonl").open("ab") as file:
        file.write(b"not json\n")
    with pytest.raises(LogError, match=r"generations\.jsonl, line 2: "):
        read_log(tmp_path)


def test_a_run_that_differs_is_told_in_what(tmp_path: Path) -> None:
    LogWriter.create(tmp_path, header(), SAMPLES).close()
    other = Alignment(name="value_prompt", spec="value_prompt", sha256="1")
    given = header(seed=7, sampling={"max_tokens": 32, "temperature": 0.5}, alignments=(header().alignments[0], other))
    with pytest.raises(LogError) as caught:
        LogWriter.resume(tmp_path, given, SAMPLES)
    told = str(caught.value)
    assert "seed: 0 in the log, 7 now" in told
    assert "sampling.max_tokens: 16 in the log, 32 now" in told
    assert "sampling.temperature: null in the log, 0.5 now" in told
    assert 'alignments[1].sha256: "" in the log, "1" now' in told
    assert len(told.splitlines()) == 5


def test_other_packages_are_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    LogWriter.create(tmp_path, header(packages={"torch": "2.1"}), SAMPLES).close()
    LogWriter.resume(tmp_path, header(packages={"torch": "2.2", "vllm": "1.0"}, created=2.0), SAMPLES).close()
    assert "torch 2.1 -> 2.2, vllm none -> 1.0" in caplog.text


def test_other_samples_are_refused(tmp_path: Path) -> None:
    LogWriter.create(tmp_path, header(), SAMPLES).close()
    with pytest.raises(LogError, match="other samples"):
        LogWriter.resume(tmp_path, header(), (replace(FULL, chosen="maybe"), SAMPLES[1]))
    LogWriter.resume(tmp_path, header(), SAMPLES).close()


def test_a_folder_with_answers_is_not_begun_again(tmp_path: Path) -> None:
    with LogWriter.create(tmp_path, header(), SAMPLES) as writer:
        writer.add(generation("plain", "b"))
    with pytest.raises(LogError, match="--resume"):
        LogWriter.create(tmp_path, header(), SAMPLES)


def test_a_log_without_an_answer_is_begun_anew(tmp_path: Path) -> None:
    with LogWriter.create(tmp_path, header(), SAMPLES) as writer:
        writer.add(generation("plain", "b", error="400 unknown_strategy: no such thing"))
    LogWriter.create(tmp_path, header(seed=5), SAMPLES).close()
    assert (read_log(tmp_path).header.seed, read_log(tmp_path).generations) == (5, {})


def test_a_beginning_that_was_cut_short_is_no_log(tmp_path: Path) -> None:
    (tmp_path / "samples.jsonl").write_text("{}\n")
    (tmp_path / "generations.jsonl").write_text("{}\n")
    with pytest.raises(LogError, match=r"no header\.json"):
        read_log(tmp_path)
    LogWriter.create(tmp_path, header(), SAMPLES).close()
    assert read_log(tmp_path).generations == {}


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    with LogWriter.create(tmp_path, header(), SAMPLES):
        for opening in (lambda: LogWriter.reopen(tmp_path), lambda: LogWriter.resume(tmp_path, header(), SAMPLES)):
            with pytest.raises(LogError, match="being written by another evaluation"):
                opening()
    LogWriter.reopen(tmp_path).close()


def test_an_unknown_version_is_refused(tmp_path: Path) -> None:
    LogWriter.create(tmp_path, header(), SAMPLES).close()
    wire = json.loads((tmp_path / "header.json").read_text())
    (tmp_path / "header.json").write_text(json.dumps({**wire, "version": 2}))
    with pytest.raises(LogError, match="version 2; this Trimtab reads version 1"):
        read_header(tmp_path)


def test_a_header_that_is_no_header_is_told(tmp_path: Path) -> None:
    (tmp_path / "header.json").write_text('{"version": 1, "created": "soon"}')
    with pytest.raises(LogError, match="created"):
        read_header(tmp_path)
    (tmp_path / "header.json").write_text("{")
    with pytest.raises(LogError, match="cannot be read"):
        read_header(tmp_path)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LogError, match="cannot be written"):
        LogWriter.create(tmp_path / "file" / "log", header(), SAMPLES)
