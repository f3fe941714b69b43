"""Files that are there whole or not at all."""

import os
from contextlib import suppress
from pathlib import Path

from trimtab.training.errors import OutputError


def write_whole(path: Path, content: bytes) -> None:
    """Writes the file with its folder; until all of it is on the disk, what was there before stays.

    Raises OutputError where the disk takes no more or the place is no place for a file.
    """
    temporary = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise OutputError(f"cannot write {path}: {error.strerror}") from error
