"""The numbers of a report as JSON, for programs."""

import json
import math
from dataclasses import asdict
from typing import Any

from trimtab.server.evaluation.log import Log
from trimtab.server.evaluation.summary import Summary

VERSION = 1
"""Of the schema: `version`, `header` (the log's), `scorers` (the log's, by name), `summary` (the fields of `Summary`)."""


def render_json(log: Log, summary: Summary) -> str:
    """All numbers with what they are of; a number that is not finite is null."""
    wire = {
        "version": VERSION,
        "header": log.header.model_dump(mode="json"),
        "scorers": {name: one.model_dump(mode="json", exclude={"summary"}) for name, one in log.scorers.items()},
        "summary": asdict(summary),
    }
    return json.dumps(finite(wire), indent=1, allow_nan=False) + "\n"


def finite(value: Any) -> Any:
    """The value with null for every number that JSON cannot say, however deep."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return value
