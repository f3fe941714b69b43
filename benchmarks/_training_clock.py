"""When each step of a `transformers.Trainer` ended, and with which loss."""

import time
from typing import Any

from transformers import TrainerCallback


class StepClock(TrainerCallback):
    """Notes the end of every step and the loss of every log line."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.ends: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.ends.append(time.monotonic())

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        if logs and "loss" in logs:
            self.losses.append(float(logs["loss"]))
