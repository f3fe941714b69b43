"""A strategy by a stranger: a distribution with an entry point in `trimtab.strategies`, and nothing else."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.services import asking, said, service_of
from trimtab.strategies.config import BUILT_IN, catalogue, kind_of, parse_spec
from trimtab.strategies.core.errors import ConfigError

MODULE = '''
from dataclasses import dataclass
from typing import ClassVar, Literal

from trimtab.strategies.core.config import RoleName, StrategyConfig
from trimtab.strategies.core.messages import Message


class GreetConfig(StrategyConfig):
    """Greets before the question."""

    kind: Literal["{kind}"] = "{kind}"
    words: str = "Good morning."
    """The greeting."""
    role: ClassVar[RoleName] = "shaper"

    def build(self):
        return Greet(self)


@dataclass(frozen=True)
class Greet:
    config: GreetConfig

    async def shape(self, prompt, ctx):
        return prompt.changed((Message("system", self.config.words), *prompt.messages))
'''


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """Puts a distribution on the path, as pip would."""

    def put(kind: str, target: str = "greet_plugin:GreetConfig") -> None:
        (tmp_path / "greet_plugin.py").write_text(MODULE.format(kind=kind))
        info = tmp_path / "greet_plugin-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: greet-plugin\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[trimtab.strategies]\ngreet = {target}\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        catalogue.cache_clear()

    yield put
    sys.modules.pop("greet_plugin", None)
    monkeypatch.undo()
    catalogue.cache_clear()


async def test_it_is_chosen_by_name_and_listed(install) -> None:  # type: ignore[no-untyped-def]
    install("greet")
    service = service_of()
    await service.start()
    body = (await service.chat(asking([{"kind": "greet", "words": "Hello."}]))).body
    assert said(body)
    assert body["alignment"]["strategy"] == ["greet"]
    assert body["alignment"]["changed"] is True
    assert [entry["kind"] for entry in service.catalogue()][-1] == "greet"


def test_it_cannot_take_a_name_in_use(install) -> None:  # type: ignore[no-untyped-def]
    install("value_prompt")
    with pytest.raises(ConfigError, match="in use"):
        parse_spec("value_prompt")


def test_what_is_no_strategy_is_refused(install) -> None:  # type: ignore[no-untyped-def]
    install("greet", "greet_plugin:Greet")
    with pytest.raises(ConfigError, match="no StrategyConfig"):
        parse_spec("greet")


def test_without_plug_ins_the_catalogue_is_the_built_in_one() -> None:
    assert list(catalogue()) == [kind_of(config) for config in BUILT_IN]
