"""The sharding settings that ship, as far as a machine without GPUs and DeepSpeed goes; sharded runs: not run here."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from accelerate.utils.deepspeed import HfDeepSpeedConfig
from transformers import TrainingArguments
from transformers.integrations.deepspeed import HfTrainerDeepSpeedConfig

from trimtab.training.arguments import training_arguments
from trimtab.training.errors import ConfigInvalid
from trimtab.training.settings import TrainSettings
from trimtab.training.sharding import CONFIGS, sharding_arguments

DEEPSPEED = ("deepspeed_zero2.json", "deepspeed_zero3.json")


@pytest.fixture(autouse=True)
def _environment_stays() -> Iterator[None]:
    """Arguments of a sharded run tell accelerate about it through the environment."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def settings(tmp_path: Path, **more: Any) -> TrainSettings:
    return TrainSettings(method="dpo", data="d", output=tmp_path / "out", batch_size=3, grad_accum=2, max_grad_norm=0.5, **more)


def arguments(tmp_path: Path) -> TrainingArguments:
    return training_arguments(settings(tmp_path, dtype="float32"))


def test_these_ship() -> None:
    assert {path.name for path in CONFIGS.glob("*.json")} == {"fsdp.json", *DEEPSPEED}


def test_fsdp_becomes_the_plugin_of_its_second_version(tmp_path: Path) -> None:
    made = training_arguments(settings(tmp_path, accelerate_config=CONFIGS / "fsdp.json"))
    assert made.fsdp is True
    assert made.fsdp_plugin_args == {
        "fsdp_version": 2,
        "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "cpu_ram_efficient_loading": False,
        "state_dict_type": "FULL_STATE_DICT",
        "activation_checkpointing": False,
        "reshard_after_forward": True,
    }
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", DEEPSPEED)
def test_deepspeed_takes_what_it_leaves_open_from_the_settings(name: str, tmp_path: Path) -> None:
    filled = _Filled(sharding_arguments(CONFIGS / name)["deepspeed"])
    filled.trainer_config_process(arguments(tmp_path))
    assert filled.mismatches == []
    told = filled.config
    # 3 examples x 2 micro-batches x 1 process
    assert (told["train_micro_batch_size_per_gpu"], told["gradient_accumulation_steps"], told["train_batch_size"]) == (3, 2, 6)
    assert (told["gradient_clipping"], told["bf16"]["enabled"]) == (0.5, False)
    assert "auto" not in json.dumps(told)


@pytest.mark.parametrize(("name", "stage"), [(DEEPSPEED[0], 2), (DEEPSPEED[1], 3)])
def test_deepspeed_knows_its_stage_and_saves_whole_weights(name: str, stage: int) -> None:
    parsed = HfDeepSpeedConfig(sharding_arguments(CONFIGS / name)["deepspeed"])
    assert parsed.get_value("zero_optimization.stage") == stage
    assert parsed.is_zero3() == (stage == 3)
    assert parsed.get_value("zero_optimization.stage3_gather_16bit_weights_on_model_save") == (True if stage == 3 else None)


class _Filled(HfTrainerDeepSpeedConfig, HfDeepSpeedConfig):  # type: ignore[misc]
    """The trainer's own reading of a file, without its check that DeepSpeed is installed."""

    def __init__(self, told: dict[str, Any]) -> None:
        HfDeepSpeedConfig.__init__(self, told)
        self._dtype = None
        self.mismatches = []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "cannot be read"),
        ("[]", "must hold an object, not list"),
        ('{"fsdp": true}', "neither FSDP's"),
        ('{"fsdp_config": {}, "more": 1}', "neither FSDP's"),
    ],
)
def test_other_files_are_refused(text: str, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "sharding.json"
    file.write_text(text)
    with pytest.raises(ConfigInvalid, match=reason):
        sharding_arguments(file)


def test_a_sharded_adapter_of_a_scoring_model_could_not_be_merged(tmp_path: Path) -> None:
    told = TrainSettings(method="reward", data="d", output=tmp_path / "out", lora={}, accelerate_config=CONFIGS / "fsdp.json")
    with pytest.raises(ConfigInvalid, match="leave one of the two out"):
        training_arguments(told)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"nowhere\.json.*cannot be read"):
        sharding_arguments(tmp_path / "nowhere.json")
