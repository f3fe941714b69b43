"""Rows and bytes together, and their opening."""

import asyncio
import io
import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from tests.server.jobs.records import OWNER, a_batch, a_file
from trimtab.server.config_file import ConfigFileError
from trimtab.server.errors import BodyTooLarge, NotFound
from trimtab.server.jobs.opened import SWEEP_GRACE_S, Jobs, ServedJobs, open_jobs
from trimtab.server.jobs.records import WORKED
from trimtab.server.settings import JobsConfig
from trimtab.strategies.core.errors import EngineUnavailable

HOUR, DAY = 3600, 86_400


def jobs_of(folder: Path, **config: Any) -> Jobs:
    return open_jobs(JobsConfig(**config), folder)


def bytes_in(folder: Path) -> set[str]:
    return {path.name for path in (folder / "jobs" / "files").glob("*")}


@pytest.mark.parametrize(
    ("retention", "asked", "wanted"),
    [(10 * DAY, None, 10 * DAY), (10 * DAY, HOUR, HOUR), (DAY, 2 * DAY, DAY), (None, HOUR, HOUR), (None, None, None)],
)
def test_a_file_goes_when_its_owner_or_the_server_says_whichever_is_first(
    tmp_path: Path, retention: float | None, asked: int | None, wanted: int | None
) -> None:
    jobs = jobs_of(tmp_path, retention_s=retention)
    file = jobs.new_file(OWNER, "in.jsonl", "batch", 5, expires_after_s=asked)
    assert (None if file.expires_at is None else file.expires_at - file.created_at) == wanted
    jobs.close()


def test_retention_without_end(tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path, retention_s=float("inf"))
    assert jobs.expiry(5) is None
    jobs.close()


def test_what_is_over_age_goes_with_its_bytes(tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path)
    old, used, young = (a_file(expires_at=at) for at in (10, 10, 11))
    for file in (old, used, young):
        jobs.add_file(file, io.BytesIO(b"0123456789"))
    jobs.store.add_batch(batch := a_batch(used))
    assert jobs.expire(10.0) == 1
    assert bytes_in(tmp_path) == {used.id, young.id}
    with pytest.raises(NotFound):
        jobs.store.get_file(OWNER, old.id)
    jobs.store.move(batch.id, WORKED, "completed", {})
    assert jobs.expire(10.0) == 1
    assert bytes_in(tmp_path) == {young.id}
    assert jobs.expire(10.0) == 0
    jobs.close()


def test_beyond_the_quota_no_bytes_stay(tmp_path: Path) -> None:
    """Ten bytes are 10 / 1024**3 GiB; the quota has room for fifteen."""
    jobs = jobs_of(tmp_path, key_gib=15.5 / 1024**3)
    jobs.add_file(first := a_file(), io.BytesIO(b"0123456789"))
    with pytest.raises(BodyTooLarge, match="key_gib"):
        jobs.add_file(a_file(), io.BytesIO(b"0123456789"))
    assert bytes_in(tmp_path) == {first.id}
    jobs.close()


def test_a_sweep_takes_what_a_dead_server_left_an_hour_ago(tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path)
    jobs.add_file(kept := a_file(), io.BytesIO(b"0123456789"))
    with jobs.blobs.create("file-lost") as out:
        out.write(b"0123456789")
    left = tmp_path / "jobs" / "files"
    for name in (kept.id, "file-lost"):
        os.utime(left / name, (1000.0, 1000.0))
    assert jobs.sweep(1000.0 + SWEEP_GRACE_S) == 0
    assert jobs.sweep(1001.0 + SWEEP_GRACE_S) == 1
    assert bytes_in(tmp_path) == {kept.id}
    jobs.close()


async def test_it_is_opened_once_and_at_the_first_use(tmp_path: Path) -> None:
    served = ServedJobs(JobsConfig(), tmp_path / "data")
    assert not served.in_use
    waiting = asyncio.ensure_future(served.wait())
    await asyncio.sleep(0)
    assert not (tmp_path / "data").exists()
    first, *others = await asyncio.gather(*(served.get() for _ in range(4)))
    assert all(other is first for other in [*others, await waiting])
    await served.close()
    await served.close()
    with pytest.raises(EngineUnavailable, match="shutting down"):
        await served.get()
    assert ServedJobs(JobsConfig(), tmp_path / "data").in_use


async def test_what_cannot_be_opened_is_told_to_each_and_tried_again(tmp_path: Path) -> None:
    (tmp_path / "jobs").write_text("in the way")
    served = ServedJobs(JobsConfig(), tmp_path)
    for _ in range(2):
        with pytest.raises(EngineUnavailable) as raised:
            await served.get()
        assert raised.value.code == "jobs_unavailable"
    (tmp_path / "jobs").unlink()
    assert (await served.get()).store.known_files([]) == set()
    await served.close()


async def test_a_database_by_url_is_in_use_from_the_start(tmp_path: Path) -> None:
    served = ServedJobs(JobsConfig(database=SecretStr("mysql://u:secret@h/db")), tmp_path)
    assert served.in_use
    with pytest.raises(ConfigFileError, match=r"jobs\.database: 'mysql'") as raised:
        await served.get()
    assert "secret" not in str(raised.value)
