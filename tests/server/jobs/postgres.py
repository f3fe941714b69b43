"""A PostgreSQL server of one's own: Debian's binaries, a folder in the temporary directory, a Unix socket."""

import importlib.util
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

USER = "trimtab"


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A running server."""

    folder: Path
    binaries: Path

    def fresh(self, password: str = "unused") -> str:
        """The URL of a new, empty schema; the server asks for no password."""
        import psycopg

        name = f"t{uuid.uuid4().hex[:12]}"
        with psycopg.connect(host=str(self.folder), user=USER, dbname="postgres") as connection:
            connection.execute(f"CREATE SCHEMA {name}".encode())
        return f"postgresql://{USER}:{password}@/postgres?host={self.folder}&options=-csearch_path%3D{name}"

    def stop(self) -> None:
        """Break off every connection and end."""
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-m", "immediate", "-w", "stop")

    def start(self) -> None:
        """Start; what was committed before `stop` is there."""
        options = f"-k {self.folder} -c listen_addresses='' -c fsync=off"
        log = str(self.folder / "log")
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-w", "-l", log, "-o", options, "start")

    def run(self, name: str, *arguments: str) -> None:
        """Run one of its programs; PostgreSQL refuses to run as root."""
        user = "postgres" if os.geteuid() == 0 else None
        subprocess.run(
            [self.binaries / name, *arguments],
            user=user,
            group=user,
            extra_groups=[] if user else None,
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder)},
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            timeout=60,
        )


def binaries() -> Path | None:
    """The folder of the newest server that is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    path = shutil.which("initdb")
    return Path(path).parent if path else None


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A server that ends with the block. Skips the test where there is none to start, but never in CI."""
    programs = binaries()
    if programs is None or importlib.util.find_spec("psycopg") is None:
        reason = "needs Debian's package postgresql and the extra postgres"
        if os.environ.get("TRIMTAB_REQUIRE_POSTGRES"):
            pytest.fail(reason)
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="pg") as name:  # pytest's own folders are closed to the user postgres
        server = PostgresServer(Path(name), programs)
        if os.geteuid() == 0:
            shutil.chown(name, "postgres", "postgres")
        server.run("initdb", "-D", f"{name}/data", "-U", USER, "--auth=trust", "-E", "UTF8", "--no-locale", "--no-sync")
        server.start()
        try:
            yield server
        finally:
            server.stop()
