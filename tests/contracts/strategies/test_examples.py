"""The examples of docs/strategies.md, asked as they stand there."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from tests.contracts.strategies.asking import World, answered
from tests.contracts.strategies.cases import every

pytestmark = pytest.mark.asyncio(loop_scope="session")

FILE = Path(__file__).resolve().parents[3] / "docs" / "strategy_pages.py"


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    spec = importlib.util.spec_from_file_location("strategy_pages", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@every
async def test_an_example_is_answered(world: World, pages: ModuleType, kind: str) -> None:
    example = pages.EXAMPLES[kind]
    strategy, options = example.alignment["strategy"], {k: v for k, v in example.alignment.items() if k != "strategy"}
    messages = [{"role": "user", "content": example.question}]
    reply = answered(await world.client.ask(strategy, messages=messages, options=options, **example.settings))
    assert reply.texts[0]
    assert reply.alignment["strategy"] == [kind]
