"""A run's directory is served as it is: a policy, an adapter beside its base, a reward model, an aligner; also after a move."""

import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.server.engines.transformers.checkpoints import write_adapter, write_llama, write_reward
from tests.server.services import asking, said
from trimtab.artifacts import DEFAULT_MODEL, FORMATS, Manifest, TrainingFacts, write_correction, write_manifest
from trimtab.cli.flags import ServeFlags, load
from trimtab.server.assembly import build
from trimtab.server.service import Service
from trimtab.server.settings import Settings, TransformersConfig
from trimtab.strategies.core.engine import Call
from trimtab.strategies.core.messages import Conversation, Message

FACTS = TrainingFacts(method="sft", base="tiny")
ANSWERED = Conversation((Message("user", "hello"), Message("assistant", "good day")))
SCRIPTED = "models: {double: {engine: {kind: scripted, answers: [Good day.]}}}"


def loaded(run: Path, config: Path | None = None) -> Settings:
    """The settings of `trimtab serve RUN`, alone or beside a configuration, on transformers in float32."""
    flags = ServeFlags(model=str(run), **({} if config else {"engine": "transformers", "dtype": "float32"}))  # type: ignore[arg-type]
    settings = load(flags, config)
    engine = TransformersConfig(dtype="float32")
    roles = {
        role: given if isinstance(given, str) else given.model_copy(update={"engine": engine})
        for role, given in settings.roles.items()
    }
    return settings.model_copy(update={"roles": roles})


@asynccontextmanager
async def serving(run: Path, config: Path | None = None) -> AsyncIterator[Service]:
    service = build(loaded(run, config))
    await service.start()
    try:
        yield service
    finally:
        await service.close()


async def answers(service: Service, model: str) -> str:
    return said((await service.chat(asking("plain", model=model, max_tokens=8, temperature=0.0))).body)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(tmp_path_factory.mktemp("bases") / "tiny", 0)


async def test_a_policy(tmp_path: Path) -> None:
    write_manifest(write_llama(tmp_path / "run", 0), Manifest.of_policy("mine"), FACTS)
    (tmp_path / "run").rename(tmp_path / "moved")
    async with serving(tmp_path / "moved") as service:
        assert list(service.registry.models) == ["mine"]
        assert await answers(service, "mine")


async def test_an_adapter_answers_by_its_name_beside_its_base(base: Path, tmp_path: Path) -> None:
    """The run holds its base and is moved as a whole; the adapter's answer is not the base's."""
    run = tmp_path / "run"
    shutil.copytree(base, run / "tiny")
    write_manifest(write_adapter(run, base, 0), Manifest.of_adapter("mine", base=str(run / "tiny")), FACTS)
    run.rename(tmp_path / "moved")
    async with serving(tmp_path / "moved") as service:
        assert list(service.registry.models) == ["tiny", "mine"]
        assert await answers(service, "tiny") != await answers(service, "mine")
        body = (
            await service.chat(asking([{"kind": "value_prompt", "principles": ["Be kind."]}], model="mine", max_tokens=4))
        ).body
        assert body["alignment"]["status"] == "applied"


async def test_a_reward_model_scores_beside_the_models_of_a_file(tmp_path: Path) -> None:
    run = write_reward(tmp_path / "run")
    write_manifest(run, Manifest.of_role("reward"), FACTS)
    config = tmp_path / "server.yaml"
    config.write_text(SCRIPTED)
    async with serving(run, config) as service:
        assert list(service.registry.models) == ["double"]
        scores = service.roles["reward"].ports.scores
        assert scores is not None
        assert len(await scores.score([ANSWERED], Call("r"))) == 1
        best = [{"kind": "best_of_n", "n": 2, "value": {"kind": "reward"}}]
        assert (await service.chat(asking(best, max_tokens=4))).body["alignment"]["status"] == "applied"


def test_a_run_that_fills_a_role_stands_beside_the_default_model(tmp_path: Path) -> None:
    run = write_reward(tmp_path / "run")
    write_manifest(run, Manifest.of_role("reward"), FACTS)
    service = build(loaded(run))
    assert list(service.registry.models) == [DEFAULT_MODEL]
    assert list(service.roles) == ["reward"]


async def test_an_aligner_is_asked_in_the_format_that_lies_beside_it(tmp_path: Path) -> None:
    run = write_llama(tmp_path / "run", 0)
    write_correction(run, "edit_pair")
    write_manifest(run, Manifest.of_role("aligner"), FACTS)
    config = tmp_path / "server.yaml"
    config.write_text(SCRIPTED)
    async with serving(run, config) as service:
        assert service.roles["aligner"].capabilities.correction == FORMATS["edit_pair"]
        account = (await service.chat(asking("aligner", max_tokens=8))).body["alignment"]
        assert (account["status"], account["usage"]["calls"]) == ("applied", 2)


async def test_an_adapter_corrects_what_its_base_says(base: Path, tmp_path: Path) -> None:
    run = write_adapter(tmp_path / "run", base, 0)
    write_correction(run, "question_answer")
    write_manifest(run, Manifest.of_role_adapter("aligner", "mine", base=str(base)), FACTS)
    async with serving(run) as service:
        assert list(service.registry.models) == ["tiny", "mine"]
        assert service.roles["aligner"].capabilities.correction == FORMATS["question_answer"]
        account = (await service.chat(asking("aligner", model="tiny", max_tokens=8))).body["alignment"]
        assert json.dumps(account["usage"]["by_role"]).count("calls") == 2
