"""What a run writes is served as it is and does what it learnt: an aligner corrects, a reward model prefers, a policy stops."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.server.services import asking, said
from trimtab.server.assembly import build
from trimtab.server.service import Service
from trimtab.server.settings import RoleConfig, Settings, TransformersConfig, load_settings
from trimtab.strategies.core.engine import Call
from trimtab.strategies.core.messages import Conversation, Message
from trimtab.training.data.readers import read_rows
from trimtab.training.data.rows import Row, conversation_of
from trimtab.training.models import LoraSettings
from trimtab.training.run import train
from trimtab.training.settings import TrainSettings

DRAFT, CORRECTION = "Go away.", "Glad to help."
ENGINE = TransformersConfig(dtype="float32")
DOUBLE = {"engine": {"kind": "scripted", "answers": [DRAFT]}}


def rows(path: Path) -> Path:
    """Drafts and corrections, the same pair under several questions."""
    questions = ["hello there", "hello", "who is there", "are you well", "good day", "is it late"]
    told = [{"prompt": q, "draft": DRAFT, "correction": CORRECTION} for q in questions]
    for row in told:
        row["prompt"] = [{"role": "user", "content": row["prompt"]}]  # type: ignore[assignment]  # JSON
    path.write_text("".join(json.dumps(row) + "\n" for row in told), encoding="utf-8")
    return path


def trained(model: Path, data: Path, output: Path, **more: Any) -> Path:
    given = {"lr": 1e-2, "batch_size": 6, "scheduler": "cosine", "reference_cache": output.parent / "reference"}
    settings = TrainSettings(**{"model": str(model), "data": str(data), "output": output, **given, **more})
    return train(settings, tell=lambda _: None).folder


@asynccontextmanager
async def serving(run: Path, models: dict[str, Any]) -> AsyncIterator[Service]:
    """The manifest's entries in float32 on transformers, beside some models."""
    told = load_settings(run / "trimtab.yaml")
    roles = {
        role: given.model_copy(update={"engine": ENGINE}) if isinstance(given, RoleConfig) else given
        for role, given in told.roles.items()
    }
    own = {
        name: model.model_copy(update={"engine": ENGINE.model_copy(update={"lora": getattr(model.engine, "lora", {})})})
        for name, model in told.models.items()
    }
    service = build(Settings.model_validate({"models": {**models, **own}, "roles": roles}))
    await service.start()
    try:
        yield service
    finally:
        await service.close()


async def test_a_trained_aligner_corrects_what_the_model_says(llama: Path, tmp_path: Path) -> None:
    run = trained(
        llama, rows(tmp_path / "rows.jsonl"), tmp_path / "aligner", method="aligner", max_steps=120,
        parameters={"identity_fraction": 0.0},
    )  # fmt: skip
    async with serving(run, {"double": DOUBLE}) as service:
        plain = (await service.chat(asking("plain"))).body
        body = (await service.chat(asking("aligner", temperature=0.0, max_tokens=32))).body
    assert said(plain) == DRAFT
    assert said(body) == CORRECTION
    assert (body["alignment"]["status"], body["alignment"]["changed"]) == ("applied", True)


async def test_a_trained_reward_model_prefers_what_people_chose(llama: Path, pairs: Path, tmp_path: Path) -> None:
    """Through the engine that serves: the same tokens, read at the same place."""
    run = trained(llama, pairs, tmp_path / "rm", method="reward", max_steps=60)
    told = read_rows(pairs).rows

    def conversation(row: Row, place: int) -> Conversation:
        turns = conversation_of(row.prompt, row.responses[place].content)  # type: ignore[arg-type]  # prompts of turns
        return Conversation(tuple(Message(turn.role, turn.content) for turn in turns))  # type: ignore[arg-type]

    async with serving(run, {"double": DOUBLE}) as service:
        scores = service.roles["reward"].ports.scores
        assert scores is not None
        chosen = await scores.score([conversation(row, 0) for row in told], Call("c"))
        rejected = await scores.score([conversation(row, 1) for row in told], Call("r"))
        best = {"kind": "best_of_n", "n": 2, "value": {"kind": "reward"}}
        assert (await service.chat(asking([best]))).body["alignment"]["status"] == "applied"
    assert all(a > b for a, b in zip(chosen, rejected, strict=True))


async def test_a_trained_policy_answers_and_stops(llama: Path, tmp_path: Path) -> None:
    """It ends its turn by itself: the end token was trained, and the generation config names it."""
    run = trained(llama, rows(tmp_path / "rows.jsonl"), tmp_path / "mine", method="sft", max_steps=150, lr=2e-2)
    async with serving(run, {}) as service:
        body = (await service.chat(asking("plain", model="mine", temperature=0.0, max_tokens=64))).body
    assert said(body) == CORRECTION
    assert body["choices"][0]["finish_reason"] == "stop"


async def test_a_trained_adapter_answers_beside_its_base(llama: Path, tmp_path: Path) -> None:
    """Its base is random and its head frozen: the words are learnt within the steps, the end is not."""
    lora = LoraSettings(r=8)
    run = trained(llama, rows(tmp_path / "rows.jsonl"), tmp_path / "mine", method="sft", max_steps=150, lora=lora, lr=2e-2)
    async with serving(run, {}) as service:
        own, base = [
            said((await service.chat(asking("plain", model=name, temperature=0.0, max_tokens=16))).body)
            for name in ("mine", llama.name)
        ]
    assert own.startswith(CORRECTION)
    assert not base.startswith(CORRECTION[:2])
