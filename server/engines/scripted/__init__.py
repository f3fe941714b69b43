"""A deterministic engine without a model: a shipped test double with every port."""

from trimtab.server.engines.scripted.engine import ScriptedEngine
from trimtab.server.engines.scripted.script import Script, ScriptedAnswer

__all__ = ["Script", "ScriptedAnswer", "ScriptedEngine"]
