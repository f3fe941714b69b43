"""Files of lines for tests: requests, and what a run makes of them."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from trimtab.server.lines.answer import LineAnswer
from trimtab.server.lines.request import RequestLine


def request(name: str, text: str = "hello", **fields: Any) -> dict[str, Any]:
    """A chat request as a row of a batch file."""
    body = {"messages": [{"role": "user", "content": text}], "max_tokens": 64, **fields}
    return {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body}


def write_lines(path: Path, lines: Iterable[Mapping[str, Any] | str]) -> Path:
    """A file of these lines; texts as they are."""
    texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return path


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of an output."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def content(row: Mapping[str, Any]) -> Any:
    """What a row says, without what is new in each run: ids and times."""
    error = row["error"]
    if error is not None:
        return row["custom_id"], error
    response = row["response"]
    body = {key: value for key, value in response["body"].items() if key not in {"id", "created"}}
    return row["custom_id"], response["status_code"], json.dumps(body, sort_keys=True)


def contents(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """What rows say, in an order of their own."""
    return sorted(str(content(row)) for row in rows)


def answered(number: int, name: str, status: int = 200, body: Mapping[str, Any] | None = None) -> LineAnswer:
    """An answer."""
    return LineAnswer(number, name, status, body or ({} if status == 200 else {"error": {"code": "c", "message": "m"}}))


def line(number: int, name: str) -> RequestLine:
    """A chat request."""
    row = request(name)
    return RequestLine(number, name, row["url"], row["body"])
