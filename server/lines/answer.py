"""Answers of lines, as rows of an output file."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trimtab.server.lines.request import BadLine, RequestLine
from trimtab.server.wire import new_id


@dataclass(frozen=True, slots=True)
class LineAnswer:
    """What became of a line."""

    number: int
    """Its line in the input, from 1."""
    custom_id: str | None
    status: int
    """HTTP status; 0 where no request was made."""
    body: Mapping[str, Any] | None
    """The answer, or the error envelope."""
    request_id: str = ""
    error: Mapping[str, Any] | None = None
    """`{"code", "message"}` where no request was made."""
    ms: float = 0.0
    """From the start of the request to its answer."""

    @property
    def ok(self) -> bool:
        """Whether it is an answer and no error."""
        return self.status == 200

    def row(self) -> dict[str, Any]:
        """OpenAI's output line."""
        response = None
        if self.status:
            response = {"status_code": self.status, "request_id": self.request_id, "body": self.body}
        return {"id": new_id("batch_req"), "custom_id": self.custom_id, "response": response, "error": self.error}


def refused(line: BadLine) -> LineAnswer:
    """The answer of a line that is no request."""
    error = {"code": line.code, "message": f"line {line.number}: {line.message}", "line": line.number, "param": line.param}
    return LineAnswer(line.number, line.custom_id, 0, None, error=error)


def not_run(line: RequestLine, code: str, message: str) -> LineAnswer:
    """The answer of a line whose turn never came."""
    return LineAnswer(line.number, line.custom_id, 0, None, error={"code": code, "message": message})
