"""One app on scripted engines for the whole contract; each test finds it as new."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.contracts.strategies.asking import World, running

DEAR = frozenset({"best_of_n", "rain", "critique_refine"})
"""Strategies that take many seconds a question where every judgement reads its whole prompt on a CPU."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """On the transformers engine the dear ones are left to `pytest -m slow`."""
    for item in items:
        given = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        if given.get("server") == "transformers" and given.get("kind") in DEAR:
            item.add_marker(pytest.mark.slow)


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def app(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with running(tmp_path_factory.mktemp("state")) as world:
        yield world


@pytest.fixture
def world(app: World) -> World:
    app.reset()
    return app
