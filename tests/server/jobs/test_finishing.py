"""The output of a batch, where two workers write it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.server.jobs.working import batch_of, ids, jobs_in, line, text_of
from trimtab.server.jobs.finishing import Overtaken, write_output
from trimtab.server.jobs.opened import FOLDER
from trimtab.server.jobs.records import FileRecord, LineResult
from trimtab.server.jobs.store import RESULTS_AT_ONCE, Store


class Overtaking(Store):
    """Another worker ends the batch, and its rows go, while they are read here."""

    output: FileRecord

    def results(self, id: str, *, ok: bool) -> Iterator[LineResult]:
        rows = super().results(id, ok=ok)
        yield next(rows)
        assert self.move(id, frozenset({"finalizing"}), "completed", files=[self.output])
        yield from rows


def test_a_worker_that_was_overtaken_leaves_the_whole_file(tmp_path: Path) -> None:
    """One row more than is read in a go, so that the late worker meets an end that is none."""
    jobs = jobs_in(tmp_path)
    names = ids(RESULTS_AT_ONCE + 1)
    batch = batch_of(jobs, text_of(line(name) for name in names))
    record = jobs.store.move(batch.id, frozenset({"validating"}), "finalizing")
    assert record is not None
    jobs.store.add_results(batch.id, [LineResult(number, True, name) for number, name in enumerate(names, 1)])
    output, _ = write_output(jobs, record)
    assert output is not None
    late = Overtaking.open(None, tmp_path / FOLDER)
    late.output = output
    with pytest.raises(Overtaken):
        write_output(replace(jobs, store=late), record)
    with jobs.blobs.open(output.id) as file:
        assert file.read().decode().splitlines() == names
    late.close()
    jobs.close()
