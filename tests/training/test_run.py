"""Whole runs on a tiny model: every method, exact resume, exact normalisation, and what a result holds."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, TrainerCallback

from tests.training.tiny import write_pairs
from trimtab.artifacts import read_correction
from trimtab.server.settings import RoleConfig, load_settings
from trimtab.training.errors import DataError, Diverged, ModelError, OutputError
from trimtab.training.methods.catalogue import configs
from trimtab.training.models import LoraSettings
from trimtab.training.reports.metrics import read_metrics
from trimtab.training.run import Result, train
from trimtab.training.settings import TrainSettings
from trimtab.training.trainer import last_checkpoint

LISTS = {"rrhf", "pro", "pl", "stable", "choice", "value", "reward_weighted"}
"""Methods whose rows need scores."""


def quiet(line: str) -> None:
    del line


def settings(model: Path, data: Path, output: Path, **more: Any) -> TrainSettings:
    given = {"method": "dpo", "max_steps": 2, "batch_size": 2, "lr": 1e-3, "warmup_ratio": 0.0, "scheduler": "constant"}
    cache = output.parent / "reference"
    return TrainSettings(
        **{"model": str(model), "data": str(data), "output": output, "reference_cache": cache, **given, **more}
    )


def run(model: Path, data: Path, output: Path, *, resume: bool = False, **more: Any) -> Result:
    return train(settings(model, data, output, **more), resume=resume, tell=quiet)


def number(value: object) -> float:
    assert isinstance(value, int | float)
    return float(value)


def losses(folder: Path) -> list[float]:
    return [number(row["loss"]) for row in read_metrics(folder / "metrics.jsonl") if "loss" in row]


class _Killed(BaseException):
    """What nothing catches."""


class _KillsAt(TrainerCallback):  # type: ignore[misc]  # transformers is not followed
    def __init__(self, step: int) -> None:
        self._step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self._step:
            raise _Killed


@pytest.mark.parametrize("kind", configs())
def test_every_method_trains_and_writes_what_is_served(
    kind: str, llama: Path, pairs: Path, lists: Path, tmp_path: Path
) -> None:
    data = lists if kind in LISTS else pairs
    result = run(llama, data, tmp_path / "run", method=kind, eval_data=str(data))
    assert result.steps == 2
    assert all(math.isfinite(loss) for loss in losses(result.folder))
    evaluation = next(row for row in read_metrics(result.folder / "metrics.jsonl") if "eval_loss" in row)
    assert math.isfinite(number(evaluation["eval_loss"]))
    manifest = (result.folder / "trimtab.yaml").read_text()
    if kind in {"reward", "value", "choice"}:
        _, found = AutoModelForSequenceClassification.from_pretrained(result.folder, output_loading_info=True)
        assert not found["missing_keys"]
        assert "reward" in manifest
        return
    network = AutoModelForCausalLM.from_pretrained(result.folder)
    assert network.generation_config.eos_token_id == [2]
    assert ("aligner" in manifest) == (kind == "aligner")
    assert (read_correction(result.folder) is not None) == (kind == "aligner")


def test_pairs_have_accuracies(llama: Path, pairs: Path, tmp_path: Path) -> None:
    """Four of the six better answers are the longer ones by their counted tokens."""
    result = run(llama, pairs, tmp_path / "run", eval_data=str(pairs))
    row = next(row for row in read_metrics(result.folder / "metrics.jsonl") if "eval_loss" in row)
    assert 0.0 <= number(row["eval_accuracy"]) <= 1.0
    assert row["eval_length_accuracy"] == pytest.approx(2 / 6)
    assert str(result.figures["length_rule_accuracy"]).endswith("n = 6")


def test_dpo_learns_its_pairs(llama: Path, pairs: Path, tmp_path: Path) -> None:
    result = run(llama, pairs, tmp_path / "run", max_steps=24, lr=3e-3, eval_data=str(pairs))
    assert number(result.figures["eval_accuracy"]) == 1.0
    found = losses(result.folder)
    assert found[0] == pytest.approx(math.log(2), abs=1e-5)
    assert sum(found[-3:]) / 3 < 0.4


def test_killed_and_resumed_equals_uninterrupted(llama: Path, pairs: Path, tmp_path: Path) -> None:
    """To 1e-6 relative, through the shuffling of a second pass, with an adapter's dropout drawing random numbers."""
    given: dict[str, Any] = {"max_steps": 8, "save_steps": 3, "lora": LoraSettings(r=4, dropout=0.1), "scheduler": "linear"}
    whole = run(llama, pairs, tmp_path / "whole", **given)

    output = tmp_path / "cut"
    interrupted = settings(llama, pairs, output, **given)
    with pytest.raises(_Killed):
        train(interrupted, tell=quiet, callbacks=[_KillsAt(5)])
    assert (last_checkpoint(output / "checkpoints") or Path()).name == "checkpoint-3"
    resumed = train(interrupted, resume=True, tell=quiet)
    assert losses(resumed.folder) == pytest.approx(losses(whole.folder), rel=1e-6)
    first, second = (AutoModelForCausalLM.from_pretrained(folder).state_dict() for folder in (whole.folder, resumed.folder))
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", ["sft", "dpo", "reward"])
def test_accumulation_is_one_large_batch(kind: str, llama: Path, pairs: Path, tmp_path: Path) -> None:
    """Answers are of unequal lengths, and the last step of a pass is short: 6 rows in steps of 4."""
    given: dict[str, Any] = {"method": kind, "max_steps": None, "epochs": 1.0, "lr": 1e-2}
    large = run(llama, pairs, tmp_path / "large", batch_size=4, grad_accum=1, **given)
    small = run(llama, pairs, tmp_path / "small", batch_size=1, grad_accum=4, **given)
    assert large.steps == small.steps == 2
    assert losses(large.folder) == pytest.approx(losses(small.folder), rel=1e-5)


def test_shared_prompts_change_no_curve(llama: Path, pairs: Path, tmp_path: Path) -> None:
    """Whole trajectories, and no drift to one side."""
    runs = [
        losses(run(llama, pairs, tmp_path / str(share), max_steps=10, share_prompts=share).folder) for share in (True, False)
    ]
    differences = [a - b for a, b in zip(*runs, strict=True)]
    assert max(map(abs, differences)) < 1e-5
    assert abs(sum(differences)) < 5e-5


def test_checkpointing_changes_no_curve(llama: Path, pairs: Path, tmp_path: Path) -> None:
    runs = [losses(run(llama, pairs, tmp_path / str(on), max_steps=4, checkpointing=on).folder) for on in (True, False)]
    assert runs[0] == pytest.approx(runs[1], rel=1e-5)


def test_prompt_weight_one_counts_all_but_the_first(llama: Path, pairs: Path, tmp_path: Path) -> None:
    weighed = run(llama, pairs, tmp_path / "a", method="sft", parameters={"prompt_weight": 1.0})
    plain = run(llama, pairs, tmp_path / "b", method="sft")
    assert losses(weighed.folder) != pytest.approx(losses(plain.folder), rel=1e-3)


def test_early_stopping_takes_the_best(llama: Path, pairs: Path, tmp_path: Path) -> None:
    """At a learning rate that ruins the model every evaluation after the first is worse."""
    result = run(
        llama, pairs, tmp_path / "run", method="sft", max_steps=12, lr=0.5, eval_data=str(pairs), eval_steps=2, save_steps=2,
        early_stopping_patience=2,
    )  # fmt: skip
    rows = [row for row in read_metrics(result.folder / "metrics.jsonl") if "eval_loss" in row]
    assert result.steps < 12
    assert number(rows[-1]["eval_loss"]) == pytest.approx(min(number(row["eval_loss"]) for row in rows), rel=1e-5)


def test_an_adapter_is_served_beside_its_base(llama: Path, pairs: Path, tmp_path: Path) -> None:
    result = run(llama, pairs, tmp_path / "mine", lora=LoraSettings(r=4))
    assert (result.folder / "adapter_model.safetensors").is_file()
    manifest = (result.folder / "trimtab.yaml").read_text()
    assert "lora" in manifest
    assert str(llama) in manifest


def test_adapters_of_roles(llama: Path, pairs: Path, tmp_path: Path) -> None:
    """A reward model's is merged, an aligner's lies beside its base with the format it was trained on."""
    reward = run(llama, pairs, tmp_path / "rm", method="reward", lora=LoraSettings(r=4))
    _, found = AutoModelForSequenceClassification.from_pretrained(reward.folder, output_loading_info=True)
    assert not found["missing_keys"]
    aligner = run(llama, pairs, tmp_path / "aligner", method="aligner", lora=LoraSettings(r=4))
    assert read_correction(aligner.folder) is not None
    told = load_settings(aligner.folder / "trimtab.yaml")
    assert told.roles == {"aligner": "aligner"}
    role = load_settings(reward.folder / "trimtab.yaml").roles["reward"]
    assert isinstance(role, RoleConfig)
    assert Path(role.source or "") == reward.folder


def test_a_loss_that_is_no_number_stops_and_names_the_rows(llama: Path, pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(Diverged, match=r"step 1?\d.*|gradient") as told:
        run(llama, pairs, tmp_path / "run", method="sft", max_steps=40, lr=1e30, max_grad_norm=0.0, save_steps=1)
    assert "lr" in str(told.value)
    saved = last_checkpoint(tmp_path / "run" / "checkpoints")
    assert saved is not None
    state = json.loads((saved / "trainer_state.json").read_text())
    assert all(math.isfinite(row.get("loss", 0.0)) for row in state["log_history"])


def test_bfloat16_starts_at_the_reference(llama: Path, pairs: Path, tmp_path: Path) -> None:
    """Policy and reference are computed in the same arithmetic, so the first margin is 0 within float32's rounding."""
    result = run(llama, pairs, tmp_path / "run", dtype="bfloat16", eval_data=str(pairs))
    assert losses(result.folder)[0] == pytest.approx(math.log(2), abs=1e-4)


@pytest.mark.parametrize("kind", ["sft", "reward"])
def test_bfloat16_is_near_float32(kind: str, llama: Path, pairs: Path, tmp_path: Path) -> None:
    runs = [losses(run(llama, pairs, tmp_path / dtype, method=kind, dtype=dtype).folder) for dtype in ("bfloat16", "float32")]
    assert runs[0] == pytest.approx(runs[1], rel=2e-2)


def test_half_the_precision_is_half_the_file(llama: Path, pairs: Path, tmp_path: Path) -> None:
    sizes = [
        (run(llama, pairs, tmp_path / dtype, save_dtype=dtype).folder / "model.safetensors").stat().st_size
        for dtype in ("bfloat16", "float32")
    ]
    assert sizes[0] / sizes[1] == pytest.approx(0.5, abs=0.05)


class TestResume:
    def test_other_settings_are_another_run(self, llama: Path, pairs: Path, tmp_path: Path) -> None:
        self._cut(llama, pairs, tmp_path / "run")
        with pytest.raises(OutputError, match=r"lr was 0\.001, is 0\.01"):
            run(llama, pairs, tmp_path / "run", resume=True, max_steps=4, save_steps=1, lr=1e-2)

    def test_a_finished_run_is_not_run_again(self, llama: Path, pairs: Path, tmp_path: Path) -> None:
        run(llama, pairs, tmp_path / "run")
        with pytest.raises(OutputError, match="is finished"):
            run(llama, pairs, tmp_path / "run", resume=True)

    def test_a_checkpoint_without_its_optimizer_is_passed_over(self, llama: Path, pairs: Path, tmp_path: Path) -> None:
        folder = self._cut(llama, pairs, tmp_path / "run")
        (folder / "checkpoints" / "checkpoint-2" / "optimizer.pt").unlink()
        assert (last_checkpoint(folder / "checkpoints") or Path()).name == "checkpoint-1"
        assert run(llama, pairs, folder, resume=True, max_steps=4, save_steps=1).steps == 4

    def _cut(self, llama: Path, pairs: Path, folder: Path) -> Path:
        told = settings(llama, pairs, folder, max_steps=4, save_steps=1)
        with pytest.raises(_Killed):
            train(told, tell=quiet, callbacks=[_KillsAt(3)])
        return folder


class TestBadInput:
    @pytest.mark.parametrize("kind", ["ipo", "slic", "orpo", "simpo"])
    def test_a_label_that_is_not_sure(self, kind: str, llama: Path, tmp_path: Path) -> None:
        data = tmp_path / "rows.jsonl"
        data.write_text(json.dumps({"prompt": "a", "chosen": "b", "rejected": "c", "preference": 0.7}) + "\n")
        with pytest.raises(DataError, match=r"line 1: its preference is 0\.7"):
            run(llama, data, tmp_path / "run", method=kind)

    def test_a_reward_that_is_no_weight(self, llama: Path, tmp_path: Path) -> None:
        data = tmp_path / "rows.jsonl"
        data.write_text(json.dumps({"prompt": "a", "responses": [{"content": "b", "score": -3.0}]}) + "\n")
        with pytest.raises(DataError, match=r"line 1: .* not -3\.0"):
            run(llama, data, tmp_path / "run", method="reward_weighted")

    def test_early_stopping_without_its_steps(self, llama: Path, pairs: Path, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="eval_steps"):
            settings(llama, pairs, tmp_path / "run", early_stopping_patience=2)

    def test_an_end_that_the_base_does_not_stop_at(self, llama: Path, pairs: Path, tmp_path: Path) -> None:
        """Under an adapter the base's own generation config is served; with full weights the run writes its own."""
        base = tmp_path / "base"
        shutil.copytree(llama, base)
        (base / "generation_config.json").unlink()
        for name, changes in (("config.json", {"eos_token_id": 0}), ("tokenizer_config.json", {"eos_token": "<|pad|>"})):
            told = json.loads((base / name).read_text())
            (base / name).write_text(json.dumps({**told, **changes}))
        with pytest.raises(ModelError, match=r"<\|im_end\|>.*generation_config"):
            run(base, pairs, tmp_path / "run", lora=LoraSettings(r=2))
        full = run(base, pairs, tmp_path / "full")
        assert json.loads((full.folder / "generation_config.json").read_text())["eos_token_id"] == [0, 2]

    def test_an_adapter_on_the_head(self, llama: Path, pairs: Path, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="head"):
            run(llama, pairs, tmp_path / "run", lora=LoraSettings(r=2, targets=("lm_head",)))

    def test_output_in_use_or_not_empty(self, llama: Path, pairs: Path, tmp_path: Path) -> None:
        folder = tmp_path / "run"
        folder.mkdir()
        (folder / "thesis.txt").write_text("mine")
        with pytest.raises(OutputError, match=r"thesis\.txt"):
            run(llama, pairs, folder)
        with pytest.raises(OutputError, match="no run to resume"):
            run(llama, pairs, tmp_path / "none", resume=True)

    def test_a_reward_model_given_to_dpo(self, llama: Path, pairs: Path, tmp_path: Path) -> None:
        made = run(llama, pairs, tmp_path / "rm", method="reward")
        with pytest.raises(ModelError, match="is a reward model"):
            run(made.folder, pairs, tmp_path / "dpo")

    def test_scores_missing(self, llama: Path, tmp_path: Path) -> None:
        data = tmp_path / "rows.jsonl"
        data.write_text(json.dumps({"prompt": "a", "responses": [{"content": "b"}, {"content": "c"}]}) + "\n")
        with pytest.raises(DataError, match="line 1: scores missing for pro"):
            run(llama, data, tmp_path / "run", method="pro")

    def test_a_prompt_that_fills_the_length(self, llama: Path, pairs: Path, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="8"):
            run(llama, pairs, tmp_path / "run", max_length=8)

    def test_a_full_disk_leaves_older_checkpoints(
        self, llama: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from trimtab.training.trainer import AlignmentTrainer

        save = AlignmentTrainer._save

        def full(self: AlignmentTrainer, output_dir: str | None = None, state_dict: Any = None) -> None:
            if self.state.global_step >= 3:
                raise OSError(28, "No space left on device")
            save(self, output_dir, state_dict)

        monkeypatch.setattr(AlignmentTrainer, "_save", full)
        output = tmp_path / "run"
        with pytest.raises(OutputError, match="No space left"):
            run(llama, pairs, output, max_steps=6, save_steps=1)
        assert sorted(path.name for path in (output / "checkpoints").glob("checkpoint-*")) == ["checkpoint-1", "checkpoint-2"]


def test_a_second_pass_repeats_no_order(llama: Path, tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "rows.jsonl", repeat=2)
    result = run(llama, data, tmp_path / "run", method="sft", max_steps=None, epochs=2.0, batch_size=4)
    assert result.steps == 6
