"""What corpora and snapshots may be called: names that are safe in a path, a URL and a shell."""

import re

from trimtab.retrieval.errors import InvalidName

MOST = 64

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?")


def check_name(kind: str, name: str) -> None:
    """Raises InvalidName for a name that is not allowed."""
    if not _NAME.fullmatch(name) or len(name) > MOST or ".." in name:
        raise InvalidName(
            f"{name!r} cannot be the name of a {kind}: 1 to {MOST} of a-z, 0-9, '-', '_' and single dots,"
            " a letter or digit first and last"
        )
