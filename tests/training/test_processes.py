"""Two processes on one machine train as one does: the same losses, weights and result."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch.testing import assert_close

from trimtab.training.reports.metrics import read_metrics
from trimtab.training.run import train
from trimtab.training.settings import TrainSettings

ROOT = Path(__file__).parents[2]


def settings(model: Path, data: Path, output: Path, **more: Any) -> TrainSettings:
    return TrainSettings(
        model=str(model),
        data=str(data),
        eval_data=str(data),
        output=output,
        lr=1e-2,
        warmup_ratio=0.0,
        epochs=1.5,
        reference_cache=output.parent / "reference",
        **more,
    )


def launch(processes: int, told: Sequence[TrainSettings], folder: Path) -> None:
    files = [folder / f"{one.method}.json" for one in told]
    for file, one in zip(files, told, strict=True):
        file.write_text(one.model_dump_json(), encoding="utf-8")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*launcher, "-m", "tests.training.run_settings", *map(str, files)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-4000:]


def figures(folder: Path, name: str) -> list[float]:
    rows = read_metrics(folder / "metrics.jsonl")
    return [float(value) for row in rows if isinstance(value := row.get(name), int | float)]


def intervals(folder: Path) -> list[str]:
    """Rows of the page with accuracies on held-out pairs and their intervals."""
    return re.findall(
        r"<tr><td>(?:held_out|length_rule)_accuracy.*?</tr>", (folder / "report.html").read_text(encoding="utf-8")
    )


def test_two_equal_one(llama: Path, pairs: Path, tmp_path: Path) -> None:
    """Nine rows in steps of four: the last step has one, so that one process has nothing of its own in it."""
    methods = ("sft", "dpo")
    launch(2, [settings(llama, pairs, tmp_path / f"{m}-two", method=m, batch_size=2) for m in methods], tmp_path)
    for method in methods:
        told = settings(llama, pairs, tmp_path / f"{method}-one", method=method, batch_size=2, grad_accum=2)
        one = train(told, tell=lambda _: None)
        two = tmp_path / f"{method}-two"
        for name in ("loss", "eval_loss", "grad_norm"):
            assert figures(two, name) == pytest.approx(figures(one.folder, name), rel=1e-4), (method, name)
        assert len(figures(two, "loss")) == one.steps == 3
        assert intervals(two) == intervals(one.folder)
        assert len(intervals(two)) == (2 if method == "dpo" else 0)
        first, second = (load_file(folder / "model.safetensors") for folder in (one.folder, two))
        for name, tensor in first.items():
            assert_close(second[name], tensor, rtol=1e-4, atol=2e-5, msg=name)
