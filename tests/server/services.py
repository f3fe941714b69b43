"""Services on the scripted engine, without HTTP."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trimtab.server.engines.scripted import Script, ScriptedAnswer, ScriptedEngine
from trimtab.server.exchange import Inbound, Principal
from trimtab.server.models import Registry, ServedModel
from trimtab.server.service import Service
from trimtab.server.settings import ScriptedConfig, Settings
from trimtab.strategies.core.engine import Params
from trimtab.strategies.core.messages import Conversation

MODEL = "double"


@dataclass
class Spy:
    """A script that remembers every prompt it was given."""

    answers: tuple[str, ...] = ("one two three",)
    prompts: list[str] = field(default_factory=list)

    def answer(self, prompt: Conversation | str, params: Params, index: int) -> ScriptedAnswer:
        text = prompt if isinstance(prompt, str) else json.dumps(prompt.wire())
        self.prompts.append(text)
        return ScriptedAnswer(self.answers[(len(self.prompts) - 1) % len(self.answers)])


def service_of(
    settings: Settings | None = None, *, script: Script | None = None, engine: ScriptedEngine | None = None
) -> Service:
    """A service with one scripted model named `double`."""
    settings = settings or Settings()
    engine = engine or ScriptedEngine(ScriptedConfig(), name=MODEL, script=script)
    registry = Registry({MODEL: ServedModel(MODEL, engine, 1)}, tuple(settings.pipelines))
    return Service(settings, registry)


def asking(
    alignment: Any = None, *, principal: Principal | None = None, header: str | None = None, model: str = MODEL, **fields: Any
) -> Inbound:
    """A chat request."""
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": "hello there"}], **fields}
    if alignment is not None:
        body["alignment"] = alignment if isinstance(alignment, Mapping) else {"strategy": alignment}
    return Inbound("req-test", body, principal or Principal(), header)


def said(body: Mapping[str, Any], index: int = 0) -> str:
    """The text of a choice."""
    return str(body["choices"][index]["message"]["content"])
