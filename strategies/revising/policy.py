"""What revisers share: which drafts are left alone by policy, and why."""

import json
import re
from typing import ClassVar, Literal, Self

from trimtab.strategies.core.config import RoleName, StrategyConfig, Streaming
from trimtab.strategies.core.engine import Params

Policy = Literal["skip", "apply"]

_FENCED = re.compile(r"^(`{3,}|~{3,})[^\n]*\n(.*?)(?:^\1`*~*[ \t]*$|\Z)", re.DOTALL | re.MULTILINE)
CODE_SHARE = 0.5
"""A draft whose fenced part is at least this large is code."""


class ReviserConfig(StrategyConfig):
    """Base of reviser configurations."""

    code: Policy = "skip"
    """Whether drafts that are mostly code are left alone; in a locked pipeline the default is apply."""
    structured: Policy = "skip"
    """Whether drafts in a form that was asked for (JSON, a schema, a grammar) are left alone; locked: apply."""

    role: ClassVar[RoleName] = "reviser"
    streaming: ClassVar[Streaming] = "buffered"

    def locked(self) -> Self:
        """Revises everything: a client could ask for code or JSON to be left alone."""
        open_fields = {"code", "structured"} - self.model_fields_set
        return self.model_copy(update=dict.fromkeys(open_fields, "apply")) if open_fields else self

    def leaves(self, draft: str, params: Params) -> str | None:
        """Why a draft is left alone; None where it is revised."""
        if self.structured == "skip" and is_structured(params):
            return "structured output"
        return "code" if self.code == "skip" and is_code(draft) else None


def is_structured(params: Params) -> bool:
    """Whether a form of the answer was asked for."""
    kind = (params.native.get("response_format") or {}).get("type", "text")
    return kind != "text" or bool(params.native.get("structured_outputs"))


def breaks_form(text: str, params: Params) -> bool:
    """Whether JSON was asked for and the text is none."""
    kind = (params.native.get("response_format") or {}).get("type", "text")
    if kind not in {"json_object", "json_schema"}:
        return False
    try:
        json.loads(text)
    except ValueError:
        return True
    return False


def is_code(text: str) -> bool:
    """Whether at least half of a text stands in code fences."""
    fenced = sum(len(match[2].strip()) for match in _FENCED.finditer(text))
    return fenced > 0 and fenced >= CODE_SHARE * len(text.strip())
