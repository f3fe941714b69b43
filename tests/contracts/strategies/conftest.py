"""One app on scripted engines for the whole contract; each test finds it as new."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.contracts.strategies.asking import World, running


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def app(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with running(tmp_path_factory.mktemp("state")) as world:
        yield world


@pytest.fixture
def world(app: World) -> World:
    app.reset()
    return app
