"""A reward model in vLLM's pooling runner scores as transformers does. Starts an engine of its own."""

import warnings
from pathlib import Path

import pytest

from tests.server.engines.vllm.checkpoints import write_reward_model
from tests.server.engines.vllm.requests import body, call
from trimtab.server.engines.vllm import VllmEngine
from trimtab.server.settings import VllmConfig
from trimtab.strategies.core.errors import RequestRefused
from trimtab.strategies.core.messages import Conversation

pytestmark = [pytest.mark.vllm, pytest.mark.slow]

ANSWERS = ("Paris.", "I do not know.", "The capital of France is Paris, on the river Seine.")


async def test_scores_are_the_logits_of_transformers(needs_vllm: None, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from trimtab.artifacts import resolve

    path = write_reward_model(tmp_path / "reward", resolve("smollm2-135m-instruct").path)
    asked = {"role": "user", "content": "What is the capital of France?"}
    conversations = [Conversation.from_wire([asked, {"role": "assistant", "content": answer}]) for answer in ANSWERS]
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForSequenceClassification.from_pretrained(path, dtype=torch.float32).eval()
    prompts = [tokenizer.apply_chat_template(c.wire(), return_dict=False) for c in conversations]
    with torch.no_grad():
        expected = [float(model(torch.tensor([prompt])).logits) for prompt in prompts]
    config = VllmConfig(max_model_len=512, dtype="float32", kv_cache_gib=0.25)
    engine = VllmEngine(path, config, name="reward")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # vLLM's own imports
        await engine.start()
    try:
        assert engine.ports.names() == {"scores"}
        assert engine.ports.scores is not None
        assert await engine.ports.scores.score(conversations, call()) == pytest.approx(expected, abs=1e-4)
        with pytest.raises(RequestRefused, match="generates none"):
            await engine.wire.chat(body(), call())
    finally:
        await engine.close()
