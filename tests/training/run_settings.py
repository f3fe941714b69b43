"""Runs the settings of JSON files, one after another; what `torchrun` starts: python -m tests.training.run_settings FILE..."""

import sys
from pathlib import Path

import torch

from trimtab.training.run import train
from trimtab.training.settings import TrainSettings


def main() -> None:
    torch.set_num_threads(1)
    for file in sys.argv[1:]:
        train(TrainSettings.model_validate_json(Path(file).read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
