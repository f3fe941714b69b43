"""The database under the store: what it refuses, what it says and what it does not say."""

import logging
import sqlite3
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from filelock import FileLock
from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import DataError

from tests.server.jobs.postgres import postgres_server
from tests.server.jobs.records import OWNER, a_file
from trimtab.server.config_file import ConfigFileError
from trimtab.server.errors import StorageFull
from trimtab.server.jobs.database import SQLITE_NAME, Database
from trimtab.server.jobs.store import Store
from trimtab.server.jobs.tables import METADATA
from trimtab.strategies.core.errors import EngineUnavailable

PASSWORD = "hunter-two"


def test_sqlite_is_durable(tmp_path: Path) -> None:
    """synchronous=2 is FULL."""
    database = Database.open(None, tmp_path)
    with database.writing() as connection:
        said = [connection.scalar(text(f"PRAGMA {name}")) for name in ("journal_mode", "synchronous", "foreign_keys")]
    database.close()
    assert said == ["wal", 2, 1]


def test_new_databases_are_made_by_one_at_a_time(tmp_path: Path) -> None:
    """Where several change one file to WAL at one moment, SQLite tells some of them that it is locked, and waits for none."""
    openers = 6
    barrier = threading.Barrier(openers)

    def open_one(folder: Path) -> None:
        barrier.wait()
        Database.open(None, folder).close()

    with ThreadPoolExecutor(openers) as threads:
        for number in range(50):
            list(threads.map(open_one, [tmp_path / str(number)] * openers))


def test_a_database_that_another_prepares_for_too_long_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trimtab.server.jobs.database.BUSY_MS", 50)
    with FileLock(tmp_path / f"{SQLITE_NAME}.lock"), pytest.raises(EngineUnavailable, match="another server"):
        Database.open(None, tmp_path)
    Database.open(None, tmp_path).close()


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    Store.open(None, tmp_path).close()
    file = sqlite3.connect(tmp_path / SQLITE_NAME)
    file.execute("UPDATE trimtab_schema SET version = 2")
    file.commit()
    file.close()
    with pytest.raises(ConfigFileError, match=r"schema 2.*works with 1"):
        Store.open(None, tmp_path)


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / SQLITE_NAME).write_text("not a database, and long enough to be looked at" * 50)
    with pytest.raises(EngineUnavailable) as raised:
        Store.open(None, tmp_path)
    assert raised.value.code == "jobs_unavailable"


@pytest.mark.parametrize(
    "url",
    [
        f"mysql://user:{PASSWORD}@host/db",
        f"sqlite:///{PASSWORD}.db",
        f"postgresql+asyncpg://user:{PASSWORD}@host/db",
        f"postgresql:/user:{PASSWORD}",
        f"postgresql://user:{PASSWORD}@host:port/db",
        f"host=h password={PASSWORD}",
        f"postgresql://user:{PASSWORD}@127.0.0.1:1/db?connect_timeout=1",
        f"postgresql://user:{PASSWORD}@/db?host=/nowhere",
    ],
)
def test_a_url_that_does_not_work_is_told_without_its_password(
    tmp_path: Path, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("psycopg", reason="needs the extra postgres")
    with caplog.at_level(logging.DEBUG), pytest.raises((ConfigFileError, EngineUnavailable)) as raised:
        Store.open(url, tmp_path)
    told = "".join(traceback.format_exception(raised.value)) + caplog.text
    assert "database" in str(raised.value)
    assert PASSWORD not in told.replace("".join(traceback.format_tb(raised.tb)), "")


def test_the_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigFileError, match=r'pip install "trimtab\[postgres\]"'):
        Store.open(f"postgresql://user:{PASSWORD}@host/db", tmp_path)


def test_a_full_disk_keeps_nothing(tmp_path: Path) -> None:
    """SQLite's own bound on pages is its full disk: the file may not grow by a page once it has its tables."""
    engine = create_engine(f"sqlite:///{tmp_path}/small.sqlite3", connect_args={"isolation_level": None})
    METADATA.create_all(engine)

    engine.dispose()

    @event.listens_for(engine, "connect")
    def bound(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA max_page_count = 1")

    store = Store(Database(engine))
    with pytest.raises(StorageFull):
        store.add_file(a_file(filename="n" * 20_000))
    assert store.list_files(OWNER, limit=5).items == ()
    store.close()


def test_a_postgres_server_may_go_and_come_back(tmp_path: Path) -> None:
    """What was committed is there, whatever was open is not reused, and each scheme of the URL will do."""
    with postgres_server() as server:
        url = server.fresh().removeprefix("postgresql")
        store = Store.open(f"postgres{url}", tmp_path)
        store.add_file(file := a_file())
        server.stop()
        with pytest.raises(EngineUnavailable):
            store.get_file(OWNER, file.id)
        server.start()
        assert store.get_file(OWNER, file.id) == file
        with pytest.raises(DataError):  # a mistake of ours, which passes by no waiting
            store.add_file(a_file(filename="a\0b"))
        other = Store.open(f"postgresql+psycopg{url}", tmp_path)
        assert other.get_file(OWNER, file.id) == file
        other.close()
        store.close()
    assert list(tmp_path.iterdir()) == []
