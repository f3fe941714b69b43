"""Records what PPO in TRL 1.12.0 makes of fixed numbers: `python -m tests.training.online.record_trl_ppo`, in an environment
with trl==1.12.0 (1.16 ships it no more); it writes tests/data/ppo_trl.json.

TRL computes rewards, advantages and losses inside one long method, so the statements between two of its lines are run as they
stand in the installed package, on tensors given here. All answers are of full length: on shorter ones TRL puts the score on the
first padding, where we put it on the end token.
"""

import inspect
import json
from importlib.metadata import version
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace
from typing import Any

import torch

FILE = Path(__file__).parents[2] / "data" / "ppo_trl.json"
ANSWERS, TOKENS = 5, 6
SETTINGS: dict[str, Any] = {
    "kl_coef": 0.05,
    "kl_estimator": "k1",
    "whiten_rewards": False,
    "gamma": 1.0,
    "lam": 0.95,
    "cliprange": 0.2,
    "cliprange_value": 0.2,
    "vf_coef": 0.1,
}


def statements(first: str, last: str) -> str:
    """The lines of TRL's training method from one that begins with `first` to one that begins with `last`."""
    from trl.experimental.ppo.ppo_trainer import PPOTrainer

    lines = inspect.getsource(PPOTrainer.train).splitlines()
    begin = next(place for place, line in enumerate(lines) if line.strip().startswith(first))
    end = next(place for place, line in enumerate(lines) if place >= begin and line.strip().startswith(last))
    return dedent("\n".join(lines[begin : end + 1]))


def numbers(generator: torch.Generator, scale: float, offset: float = 0.0) -> torch.Tensor:
    return offset + scale * torch.randn(ANSWERS, TOKENS, generator=generator, dtype=torch.float64)


def record(**changed: Any) -> dict[str, Any]:
    """Inputs and what TRL computes of them."""
    from trl.experimental.ppo import ppo_trainer

    generator = torch.Generator().manual_seed(5)
    old = numbers(generator, 0.5, -2.0)
    given = {
        "logprobs": old,
        "ref_logprobs": old + numbers(generator, 0.2),
        "values": numbers(generator, 0.4),
        "scores": numbers(generator, 1.0)[:, 0],
        "new_logprobs": old + numbers(generator, 0.25),
        "new_values": numbers(generator, 0.4),
    }
    settings = {**SETTINGS, **changed}
    space: dict[str, Any] = {**vars(ppo_trainer), **{name: value.clone() for name, value in given.items()}}
    space |= {
        "args": SimpleNamespace(**settings),
        "responses": torch.zeros(ANSWERS, TOKENS, dtype=torch.long),
        "sequence_lengths": torch.full((ANSWERS,), TOKENS - 1),
    }
    exec(statements("response_idxs =", "advantages = torch.masked_fill"), space)
    space |= {
        "micro_batch_inds": torch.arange(ANSWERS),
        "mb_advantage": space["advantages"],
        "mb_logprobs": space["logprobs"],
        "mb_return": space["returns"],
        "mb_values": space["values"],
        "vpred": given["new_values"],
    }
    exec(statements("vpredclipped =", "loss = pg_loss"), space)
    names = ("rewards", "advantages", "returns", "pg_loss", "vf_loss", "loss")
    found = {name: space[name].tolist() for name in names}
    return {"settings": settings, "given": {name: value.tolist() for name, value in given.items()}, "found": found}


if __name__ == "__main__":
    cases = [record(), record(kl_estimator="k3", gamma=0.97, lam=0.9, kl_coef=0.3)]
    FILE.write_text(json.dumps({"trl": version("trl"), "cases": cases}) + "\n", encoding="utf-8")
