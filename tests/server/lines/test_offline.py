"""Files answered to their end: bounded work, errors as rows, outages, patience."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.lines.files import answered, content, contents, line, request, write_lines
from tests.server.services import MODEL
from trimtab.server.lines.answer import LineAnswer
from trimtab.server.lines.errors import Outage
from trimtab.server.lines.local import InProcess
from trimtab.server.lines.offline import OUTAGE_LINES, PATIENCE_S, PatientAnswerer, answer_lines, missing_lines
from trimtab.server.lines.request import BadLine, RequestLine
from trimtab.server.lines.rows import Rows
from trimtab.server.lines.shards import Shard
from trimtab.server.settings import Settings

SCRIPTED = {"models": {MODEL: {"engine": {"kind": "scripted"}}}}


class Gate:
    """Answers in rounds: every line waits until all that may be in work are there."""

    def __init__(self, width: int) -> None:
        self.width, self.running, self.most, self.read = width, 0, 0, 0
        self._full = asyncio.Event()

    async def answer(self, line: RequestLine) -> LineAnswer:
        self.running += 1
        self.most = max(self.most, self.running)
        if self.running == self.width:
            self._full.set()
        await self._full.wait()
        self.running -= 1
        return answered(line.number, line.custom_id)


async def test_so_many_at_once_and_no_line_read_before_its_turn() -> None:
    gate, written = Gate(4), list[int]()

    def lines() -> Iterator[RequestLine]:
        for number in range(1, 21):
            assert number - len(written) <= gate.width
            yield line(number, f"r{number}")

    await answer_lines(lines(), gate, lambda answer: written.append(answer.number), concurrency=4)
    assert gate.most == 4
    assert sorted(written) == list(range(1, 21))


class Fixed:
    """Answers from a list, its last one from then on."""

    def __init__(self, *answers: LineAnswer) -> None:
        self.answers, self.asked = list(answers), 0

    async def answer(self, line: RequestLine) -> LineAnswer:
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


async def test_a_bad_line_is_a_row_and_stops_nothing() -> None:
    written: list[LineAnswer] = []
    lines: list[RequestLine | BadLine] = [line(1, "a"), BadLine(2, None, "invalid_json_line", "no JSON"), line(3, "c")]
    await answer_lines(lines, Fixed(answered(0, "x")), written.append, concurrency=1)
    assert [answer.ok for answer in written] == [True, False, True]
    assert written[1].error == {"code": "invalid_json_line", "message": "line 2: no JSON", "line": 2, "param": None}


async def test_an_outage_ends_the_run_before_the_file_is_burnt() -> None:
    written: list[LineAnswer] = []
    lost = LineAnswer(1, "a", 0, None, error={"code": "no_connection", "message": "nobody there"})
    with pytest.raises(Outage, match="nobody there"):
        await answer_lines((line(n, f"r{n}") for n in range(1000)), Fixed(lost), written.append, concurrency=1)
    assert len(written) == OUTAGE_LINES


async def test_refusals_are_no_outage() -> None:
    written: list[LineAnswer] = []
    count = 2 * OUTAGE_LINES
    await answer_lines((line(n, f"r{n}") for n in range(count)), Fixed(answered(1, "a", 400)), written.append, concurrency=1)
    assert len(written) == count


async def test_what_write_raises_ends_the_run() -> None:
    def full(answer: LineAnswer) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        await answer_lines([line(1, "a"), line(2, "b")], Fixed(answered(1, "a")), full, concurrency=2)


async def test_an_engine_that_starts_again_is_waited_for() -> None:
    waits: list[float] = []

    async def wait(seconds: float) -> None:
        waits.append(seconds)

    inner = Fixed(answered(1, "a", 503), answered(1, "a", 429), answered(1, "a"))
    answer = await PatientAnswerer(inner, wait).answer(line(1, "a"))
    assert answer.ok
    assert len(waits) == 2


async def test_patience_ends_and_a_spent_budget_is_not_waited_for() -> None:
    waits: list[float] = []

    async def wait(seconds: float) -> None:
        waits.append(seconds)

    answer = await PatientAnswerer(Fixed(answered(1, "a", 503)), wait).answer(line(1, "a"))
    assert answer.status == 503
    assert PATIENCE_S - 10 < sum(waits) <= PATIENCE_S
    spent = answered(1, "a", 429, {"error": {"code": "insufficient_quota", "message": "spent"}})
    waits.clear()
    assert (await PatientAnswerer(Fixed(spent), wait).answer(line(1, "a"))).status == 429
    assert not waits


async def run(source: Path, place: InProcess, shard: Shard | None = None) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    async with place.open() as answerer:
        lines = missing_lines(source, shard or Shard(), Rows())
        await answer_lines(lines, answerer, lambda answer: rows.append(answer.row()), concurrency=place.concurrency)
    return rows


def mixed(path: Path, requests: int = 12) -> Path:
    """Requests of every kind, five of the lines with something about them."""
    lines = [request(f"r{number}", f"question {number}") for number in range(requests)]
    raw = {"custom_id": "raw", "method": "POST", "url": "https://api.example.com/v1/completions", "body": {"prompt": "p"}}
    other = request("other", model="nobody")
    return write_lines(path, [*lines, "no json", raw, request("r1", "again"), other, request("bad", temperature="hot")])


async def test_a_service_answers_a_file(tmp_path: Path) -> None:
    place = InProcess(Settings.model_validate(SCRIPTED))
    found = {str(row["custom_id"]): content(row) for row in await run(mixed(tmp_path / "in.jsonl"), place) if row["response"]}
    assert "You said: question 3" in str(found["r3"])
    assert "You said: p" in str(found["raw"])
    assert found["other"][1] == 404
    assert found["bad"][1] == 400


async def test_the_shards_together_are_the_run_of_one_machine(tmp_path: Path) -> None:
    source = mixed(tmp_path / "in.jsonl")
    place = InProcess(Settings.model_validate(SCRIPTED))
    whole = await run(source, place)
    parts = [await run(source, place, Shard(index, 3)) for index in range(3)]
    assert all(parts)
    assert contents(row for part in parts for row in part) == contents(whole)
    assert len(whole) == 17


async def test_alignment_is_that_of_lines_without_one(tmp_path: Path) -> None:
    settings = Settings.model_validate(SCRIPTED)
    source = write_lines(tmp_path / "in.jsonl", [request("a"), request("b", alignment={"strategy": "plain"})])
    rows = await run(source, InProcess(settings, {"strategy": "value_prompt"}))
    bodies = {row["custom_id"]: row["response"]["body"] for row in rows}  # type: ignore[index]
    assert bodies["a"]["alignment"]["strategy"] == ["value_prompt"]
    assert bodies["b"]["alignment"]["strategy"] == ["plain"]


async def test_a_lock_for_everybody_holds_here_too(tmp_path: Path) -> None:
    settings = Settings.model_validate({**SCRIPTED, "policies": [{"key": "*", "lock": "value_prompt"}]})
    source = write_lines(tmp_path / "in.jsonl", [request("a", alignment={"strategy": "plain"})])
    (row,) = await run(source, InProcess(settings))
    assert "value_prompt" in str(row)


@pytest.mark.parametrize(
    ("engine", "lines"),
    [
        ({"kind": "transformers", "max_batch_size": 8}, 10),
        ({"kind": "vllm", "args": {"max_num_seqs": 16}}, 20),
        ({"kind": "upstream", "url": "http://h/v1", "max_connections": 5}, 5),
        ({"kind": "scripted"}, 64),
    ],
)
def test_what_an_engine_computes_together_and_a_quarter_more_is_in_work(engine: dict[str, object], lines: int) -> None:
    assert InProcess(Settings.model_validate({"models": {"m": {"engine": engine}}})).concurrency == lines
