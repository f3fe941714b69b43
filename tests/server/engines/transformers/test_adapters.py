"""LoRA adapters beside the base model: the answers are peft's own, and nobody else's are changed by them."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from tests.server.engines.transformers.checkpoints import write_adapter
from tests.server.engines.transformers.conftest import opened, started
from tests.server.engines.transformers.running import call
from tests.strategies.doubles import said
from trimtab.server.engines.transformers import TransformersEngine
from trimtab.strategies.core.engine import Params, Ports
from trimtab.strategies.core.errors import ConfigError, EngineUnavailable, RequestRefused

PROMPT = tuple(range(40, 100))
GREEDY = Params(max_tokens=12, temperature=0.0, ignore_eos=True)
NAMES = ("one", "two")


@pytest.fixture(scope="module")
def adapters(llama_path: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return {name: write_adapter(folder / name, llama_path, seed) for seed, name in enumerate(NAMES)}


@pytest.fixture(scope="module")
def adapted(llama_path: Path, adapters: dict[str, Path]) -> Iterator[TransformersEngine]:
    engine = started(llama_path, max_batch_size=4, lora={name: str(path) for name, path in adapters.items()})
    yield engine
    asyncio.run(engine.close())


async def continued(ports: Ports, prompt: Sequence[int] = PROMPT, params: Params = GREEDY) -> list[int]:
    assert ports.tokens is not None
    async with aclosing(ports.tokens.generate(prompt, params, call())) as deltas:
        return [token async for delta in deltas for token in delta.token_ids]


def by_peft(base: Path, adapter: Path | None) -> list[int]:
    """What peft's own model says, greedily, in float32."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if adapter is not None:
        model = peft.PeftModel.from_pretrained(model, str(adapter))
    with torch.inference_mode():
        how = {"max_new_tokens": 12, "min_new_tokens": 12, "do_sample": False}
        whole = model.eval().generate(input_ids=torch.tensor([PROMPT]), attention_mask=torch.ones(1, len(PROMPT)), **how)
    return [int(token) for token in whole[0, len(PROMPT) :]]


async def test_each_answers_as_peft_has_it_and_the_base_as_it_was(
    adapted: TransformersEngine, llama_path: Path, adapters: dict[str, Path]
) -> None:
    """Asked twice in turn: the second answers would come from the first ones' keys and values, were those shared."""
    expected = {None: by_peft(llama_path, None), **{name: by_peft(llama_path, path) for name, path in adapters.items()}}
    assert len({tuple(ids) for ids in expected.values()}) == 3
    for _ in range(2):
        for name, ids in expected.items():
            assert await continued(adapted.ports if name is None else adapted.ports_under(name)) == ids


async def test_the_wire_answers_by_the_models_name(adapted: TransformersEngine) -> None:
    asked = {"prompt": list(PROMPT), "max_tokens": 12, "temperature": 0.0, "ignore_eos": True, "return_token_ids": True}
    for name in ("tiny", *NAMES):
        ports = adapted.ports if name == "tiny" else adapted.ports_under(name)
        answer = await adapted.wire.completion({**asked, "model": name}, call())
        assert (answer["model"], answer["choices"][0]["token_ids"]) == (name, await continued(ports))
        chunks = [json.loads(chunk) async for chunk in adapted.wire.completion_stream({**asked, "model": name}, call())]
        assert [token for chunk in chunks for token in chunk["choices"][0]["token_ids"]] == await continued(ports)


async def test_messages_and_log_probabilities_are_the_adapters(adapted: TransformersEngine) -> None:
    texts, scores = set(), set()
    for ports in (adapted.ports, *map(adapted.ports_under, NAMES)):
        assert ports.messages is not None
        assert ports.tokens is not None
        texts.add("".join([delta.text async for delta in ports.messages.chat(said("Hello"), GREEDY, call())]))
        scores.add(await ports.tokens.next_logprobs(PROMPT, (10, 20), call()))
    assert (len(texts), len(scores)) == (3, 3)


async def test_work_under_adapters_is_counted_and_ended_with_the_engine(llama_path: Path, adapters: dict[str, Path]) -> None:
    engine = await opened(llama_path, lora={"one": str(adapters["one"])})
    await continued(engine.ports_under("one"))
    assert engine.metrics()["generated_tokens"] == 12
    assert engine.health().state == "ready"
    await engine.close()
    assert engine.health().state == "closed"
    with pytest.raises(EngineUnavailable):
        await continued(engine.ports_under("one"))


async def test_no_weights_are_pushed_under_an_adapter(adapted: TransformersEngine, llama_path: Path) -> None:
    with pytest.raises(RequestRefused, match="adapters"):
        await adapted.push_weights(llama_path)


def _without(name: str) -> Any:
    def spoil(directory: Path) -> None:
        (directory / name).unlink()

    return spoil


def _lacking_a_weight(directory: Path) -> None:
    weights = load_file(directory / "adapter_model.safetensors")
    weights.pop(min(weights))
    save_file(weights, directory / "adapter_model.safetensors")


def _with_a_base_weight(directory: Path) -> None:
    weights = load_file(directory / "adapter_model.safetensors")
    weights["base_model.model.model.norm.weight"] = torch.ones(64)
    save_file(weights, directory / "adapter_model.safetensors")


def _of_another_kind(directory: Path) -> None:
    (directory / "adapter_config.json").write_text(json.dumps({"peft_type": "IA3"}))


def _of_another_shape(directory: Path) -> None:
    weights = load_file(directory / "adapter_model.safetensors")
    save_file(
        {name: torch.cat([w, w], -1).contiguous() for name, w in weights.items()}, directory / "adapter_model.safetensors"
    )


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_without("adapter_config.json"), "is not an adapter directory"),
        (_without("adapter_model.safetensors"), "is not an adapter directory"),
        (_of_another_kind, "holds a IA3 adapter"),
        (_with_a_base_weight, "norm.weight of the base model itself"),
        (_lacking_a_weight, r"does not fit the model|is of another model"),
        (_of_another_shape, "does not fit the model"),
    ],
)
def test_what_is_no_adapter_of_the_model_is_refused(llama_path: Path, tmp_path: Path, spoil: Any, told: str) -> None:
    directory = write_adapter(tmp_path / "spoiled", llama_path, 0)
    spoil(directory)
    with pytest.raises(ConfigError, match=told) as caught:
        started(llama_path, lora={"spoiled": str(directory)})
    assert "spoiled" in str(caught.value)


async def test_modules_saved_whole_are_the_adapters_alone(llama_path: Path, tmp_path: Path) -> None:
    directory = write_adapter(tmp_path / "whole", llama_path, 3, modules_to_save=["lm_head"])
    weights = load_file(directory / "adapter_model.safetensors")
    (head,) = (name for name in weights if "lm_head" in name)
    weights[head] = weights[head] * -1
    save_file(weights, directory / "adapter_model.safetensors")
    engine = await opened(llama_path, lora={"whole": str(directory)})
    assert await continued(engine.ports) == by_peft(llama_path, None)
    assert await continued(engine.ports_under("whole")) == by_peft(llama_path, directory)
    await engine.close()
