"""What ends a run over a file of lines; what is wrong with one line is a row of its own (`trimtab.server.lines.answer`).

ServerError
├── OutputRefused    the output cannot be written or gone on with as it was asked
└── Outage           nothing has been answered for too long
"""

from trimtab.server.errors import ServerError


class OutputRefused(ServerError):
    """There is an output already, of another run, in use, or that is none; the message says which and what to do."""

    code = "output_refused"


class Outage(ServerError):
    """Many lines in a row met no engine or server; what was answered is in the output."""

    code = "overloaded"
