"""Views: the same engine under other ports; who starts and closes it."""

import pytest

from trimtab.artifacts import FORMATS
from trimtab.server.engines.scripted import ScriptedEngine
from trimtab.server.engines.view import View, ports_of
from trimtab.server.settings import ScriptedConfig
from trimtab.strategies.core.engine import Capabilities, Ports


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine(ScriptedConfig(tokens_per_s=9.0), name="double")


class Adapted(ScriptedEngine):
    """An engine with one adapter."""

    def ports_under(self, adapter: str) -> Ports:
        return Ports(text=self, capabilities=Capabilities(notes=(adapter,)))


async def test_a_lent_engine_is_left_to_its_owner(engine: ScriptedEngine) -> None:
    lent, owned = View(engine, is_lent=True), View(engine)
    await lent.start()
    assert engine.health().state == "starting"
    assert lent.metrics() == {}
    await owned.start()
    assert lent.health().state == owned.health().state == "ready"
    assert owned.metrics() == engine.metrics()
    await lent.close()
    assert engine.health().state == "ready"
    await owned.close()
    assert engine.health().state == "closed"


def test_a_view_shows_how_the_model_is_asked(engine: ScriptedEngine) -> None:
    view = View(engine, correction=FORMATS["edit_pair"])
    assert view.capabilities.correction == FORMATS["edit_pair"]
    assert view.ports.names() == engine.ports.names()
    assert View(engine).ports == engine.ports
    assert engine.capabilities.correction is None
    assert (view.kind, view.wire, view.tokenizer) == (engine.kind, engine.wire, engine.tokenizer)


def test_an_adapter_answers_for_its_base() -> None:
    adapted = Adapted(ScriptedConfig(), name="double")
    view = View(adapted, "polite", FORMATS["edit_pair"], is_lent=True)
    assert view.capabilities.notes == ("polite",)
    assert view.ports.names() == {"text"}


def test_an_engine_without_adapters_has_none(engine: ScriptedEngine) -> None:
    with pytest.raises(TypeError, match="no adapters"):
        ports_of(engine, "polite")
