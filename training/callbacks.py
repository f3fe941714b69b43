"""What the loop tells: a line of metrics for every log, and a bar while it runs."""

import sys
from typing import Any

from tqdm import tqdm
from transformers import TrainerCallback

from trimtab.training.reports.metrics import MetricsFile

LEFT_OUT = frozenset({"total_flos", "epoch"})
SHOWN = ("loss", "accuracy", "margin", "reward", "kl", "nll")
"""What the bar shows of the last log, where it is there."""


class MetricsWriter(TrainerCallback):
    """Writes the metrics file of a run, from the first process."""

    def __init__(self, file: MetricsFile) -> None:
        self._file = file

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        """A line."""
        del args, control
        if logs and state.is_world_process_zero:
            told = {name: value for name, value in logs.items() if name not in LEFT_OUT}
            self._file.append({"step": state.global_step, **told})


class BorderSaves(TrainerCallback):
    """Puts off a checkpoint that falls due within steps that belong together, to the last of them."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._due = False

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A checkpoint, or none."""
        del args
        self._due = self._due or control.should_save
        control.should_save = self._due and state.global_step % self._steps == 0
        self._due = self._due and not control.should_save


class ProgressBar(TrainerCallback):
    """Steps done, time left and the last figures; on a terminal only, from the first process."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A bar from the step that the run stands at."""
        del args, control
        if state.is_world_process_zero and sys.stderr.isatty():
            self._bar = tqdm(total=state.max_steps, initial=state.global_step, unit="step", dynamic_ncols=True)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A step more."""
        del args, control
        if self._bar is not None:
            self._bar.update(state.global_step - self._bar.n)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        """The last figures."""
        del args, state, control
        if self._bar is not None and logs:
            self._bar.set_postfix({name: f"{logs[name]:.4g}" for name in SHOWN if name in logs})

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The bar stays as it is."""
        del args, state, control
        if self._bar is not None:
            self._bar.close()
