"""Whole runs of every method that samples, from settings to a served directory, with an engine in memory."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, TrainerCallback

from tests.training.online.scripted import TextScores, TorchPolicy, evens, write_prompts
from trimtab.artifacts import read_manifest
from trimtab.training.errors import ConfigInvalid, ModelError
from trimtab.training.models import LoraSettings
from trimtab.training.online.parts import OnlineParts
from trimtab.training.reports.metrics import read_metrics, series
from trimtab.training.run import Result, train
from trimtab.training.settings import TrainSettings

SMALL: dict[str, dict[str, Any]] = {
    "ppo": {"prompts": 4, "max_new_tokens": 4},
    "rloo": {"prompts": 4, "samples": 3, "max_new_tokens": 4},
    "grpo": {"prompts": 4, "samples": 3, "max_new_tokens": 4},
    "rest": {"prompts": 4, "samples": 3, "max_new_tokens": 4, "improve_steps": 2},
}


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prompts(tmp_path_factory.mktemp("prompts") / "prompts.jsonl", repeat=2)


def settings(model: Path, data: Path, output: Path, method: str, **more: Any) -> TrainSettings:
    given: dict[str, Any] = {"batch_size": 2, "lr": 1e-3, "warmup_ratio": 0.0, "scheduler": "constant", "max_steps": 4}
    parameters = {**SMALL[method], **more.pop("parameters", {})}
    whole: dict[str, Any] = {
        "model": str(model),
        "data": str(data),
        "output": output,
        "method": method,
        "parameters": parameters,
    }
    return TrainSettings(**{**whole, **given, **more})


def parts_for(model: Path) -> OnlineParts:
    engine = TorchPolicy(AutoModelForCausalLM.from_pretrained(model), frozenset({2}))
    return OnlineParts(engine, TextScores(evens), engine)


def run(model: Path, given: TrainSettings, parts: OnlineParts | None = None, **more: Any) -> Result:
    return train(given, parts=parts or parts_for(model), **{"tell": lambda _: None, **more})


def values(folder: Path, name: str) -> list[float]:
    return series(read_metrics(folder / "metrics.jsonl"), name)[1]


@pytest.mark.parametrize("kind", SMALL)
def test_every_method_trains_and_writes_what_is_served(kind: str, llama: Path, asked: Path, tmp_path: Path) -> None:
    parts = parts_for(llama)
    result = run(llama, settings(llama, asked, tmp_path / "run", kind, eval_data=str(asked)), parts)
    assert result.steps == 4
    assert len(values(result.folder, "loss")) == 4
    for name in ("reward", "length", "eos_rate", "staleness"):
        assert values(result.folder, name)
    assert (len(values(result.folder, "kl")) > 0) == (kind != "rest")
    assert result.figures["eval_reward_low"] <= result.figures["eval_reward"] <= result.figures["eval_reward_high"]  # type: ignore[operator]
    assert "eval_reward_gain" in result.figures
    assert read_manifest(result.folder) is not None
    served = AutoModelForCausalLM.from_pretrained(result.folder).state_dict()
    assert isinstance(parts.rollouts, TorchPolicy)
    for name, tensor in parts.rollouts.network.state_dict().items():  # pushed last for the evaluation at the end
        assert torch.equal(tensor, served[name]), name
    assert [path.name for path in (result.folder / ".weights").iterdir()] == [parts.rollouts.pushed[-1].name]


def test_a_scorer_sees_the_conversation(llama: Path, asked: Path, tmp_path: Path) -> None:
    parts = parts_for(llama)
    run(llama, settings(llama, asked, tmp_path / "run", "rloo"), parts)
    assert isinstance(parts.scores, TextScores)
    turns = parts.scores.seen[0]
    assert [role for role, _ in turns] == ["user", "assistant"]
    assert turns[0][1].rstrip() in {"Name a fruit.", "Is tea warm?", "Say hello.", "Name a colour."}
    assert not any("<|im_end|>" in turns[-1][1] for turns in parts.scores.seen)


@pytest.mark.parametrize(
    ("kind", "parameters"), [("rloo", {}), ("ppo", {"value": "adapter", "rollout_epochs": 2}), ("ppo", {"rollout_epochs": 2})]
)
def test_adapters_are_merged_for_the_engine(
    kind: str, parameters: dict[str, Any], llama: Path, asked: Path, tmp_path: Path
) -> None:
    """What the engine was pushed last computes what the served adapter on its base computes; the base itself stays."""
    from peft import PeftModel

    parts = parts_for(llama)
    lora = LoraSettings(r=4)
    given = settings(
        llama, asked, tmp_path / "run", kind, lora=lora, lr=3e-2, max_steps=8, eval_data=str(asked), parameters=parameters
    )
    result = run(llama, given, parts)
    assert values(result.folder, "kl")[0] == pytest.approx(0.0, abs=1e-5)
    assert values(result.folder, "kl")[-1] != pytest.approx(0.0, abs=1e-5)
    if kind == "ppo":
        assert values(result.folder, "value_loss")[-1] > 0
    assert not (result.folder / "value").exists()
    served = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(llama), result.folder)
    assert isinstance(parts.rollouts, TorchPolicy)
    ids = torch.tensor([[5, 9, 40, 7]])
    with torch.no_grad():
        assert_close(parts.rollouts.network(ids).logits, served(ids).logits, rtol=1e-4, atol=1e-4)


class _Killed(BaseException):
    """What nothing catches."""


class _KillsAt(TrainerCallback):  # type: ignore[misc]  # transformers is not followed
    def __init__(self, step: int) -> None:
        self._step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self._step:
            raise _Killed


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("ppo", {"lora": LoraSettings(r=4), "parameters": {"value": "adapter", "rollout_epochs": 2, "kl_target": 0.1}}),
        ("rest", {}),
    ],
)
def test_killed_and_resumed_equals_uninterrupted(
    kind: str, more: dict[str, Any], llama: Path, asked: Path, tmp_path: Path
) -> None:
    """Killed within the second or third rollout; the first one's checkpoint is taken up."""
    given = {"max_steps": 12, "save_steps": 3, "lr": 1e-2, "scheduler": "linear", **more}
    whole = run(llama, settings(llama, asked, tmp_path / "whole", kind, **dict(given)))
    cut = settings(llama, asked, tmp_path / "cut", kind, **dict(given))
    with pytest.raises(_Killed):
        run(llama, cut, callbacks=[_KillsAt(9)])
    resumed = run(llama, cut, resume=True)
    for name in ("loss", "reward", "kl", "beta"):
        assert values(resumed.folder, name) == pytest.approx(values(whole.folder, name), rel=1e-6, abs=1e-9), name


def test_a_reward_model_is_where_values_start(llama: Path, pairs: Path, asked: Path, tmp_path: Path) -> None:
    """Unless it reads other tokens: then the policy is."""
    given: dict[str, Any] = {"model": str(llama), "data": str(pairs), "batch_size": 2, "max_steps": 1}
    judge = train(TrainSettings(method="reward", output=tmp_path / "judge", **given), tell=lambda _: None)
    told: list[str] = []
    ppo = settings(llama, asked, tmp_path / "run", "ppo", max_steps=1, parameters={"reward": str(judge.folder)})
    run(llama, ppo, tell=told.append)
    assert f"value model: from {judge.folder}" in told
    run(llama, ppo.model_copy(update={"output": tmp_path / "other", "parameters": SMALL["ppo"]}), tell=told.append)
    assert f"value model: from {llama}" in told


def test_demonstrations_are_learnt_along(llama: Path, asked: Path, tmp_path: Path) -> None:
    """One answer of each prompt's samples and the row's own: the loss of those alone tells that they are there."""
    both, alone = (
        run(
            llama,
            settings(
                llama, asked, tmp_path / str(on), "rest", lr=1e-9, max_steps=2, batch_size=8,
                parameters={"select": "per_prompt_best", "demonstrations": on},
            ),
        )
        for on in (True, False)
    )  # fmt: skip
    assert values(both.folder, "loss")[0] != pytest.approx(values(alone.folder, "loss")[0], rel=1e-4)


class TestBadInput:
    def test_a_method_that_samples_needs_an_engine(self, llama: Path, asked: Path, tmp_path: Path) -> None:
        with pytest.raises(ConfigInvalid, match="ppo: methods that sample need an engine and a scorer"):
            train(settings(llama, asked, tmp_path / "run", "ppo"))
        with pytest.raises(ConfigInvalid, match="only they do"):
            train(TrainSettings(method="sft", model=str(llama), data=str(asked), output=tmp_path / "x"), parts=parts_for(llama))

    @pytest.mark.parametrize(
        ("more", "told"),
        [
            ({"parameters": {"value": "adapter"}}, "value adapter: needs a LoRA policy"),
            ({"early_stopping_patience": 1, "eval_steps": 1, "save_steps": 1}, "early_stopping_patience"),
            ({"batch_size": 3}, "prompts 4 is no multiple of the 3"),
        ],
    )
    def test_settings_that_cannot_be_honoured(
        self, more: dict[str, Any], told: str, llama: Path, asked: Path, tmp_path: Path
    ) -> None:
        with pytest.raises(ConfigInvalid, match=told):
            run(llama, settings(llama, asked, tmp_path / "run", "ppo", eval_data=str(asked), **more))

    def test_a_value_model_of_another_vocabulary(self, llama: Path, gemma: Path, asked: Path, tmp_path: Path) -> None:
        from transformers import AutoTokenizer

        other = tmp_path / "other"
        AutoModelForCausalLM.from_pretrained(llama).save_pretrained(other)
        tokenizer = AutoTokenizer.from_pretrained(llama)
        tokenizer.add_tokens(["<|new|>"])
        tokenizer.save_pretrained(other)
        with pytest.raises(ModelError, match="has another vocabulary than the policy"):
            run(llama, settings(llama, asked, tmp_path / "run", "ppo", parameters={"value_model": str(other)}))
