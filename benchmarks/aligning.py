"""Whether training does what it is for: a reward model, then DPO and PPO judged by held-out pairs and by that model.

    python benchmarks/aligning.py --data PAIRS.jsonl --eval-data PAIRS.jsonl --output DIR [--steps 150] [--parts reward dpo ppo]

Through the command line on the default model:
  reward  all pairs once, 4 a step, 1,024 tokens (no answer is cut), lr 5e-5: held-out accuracy beside the length rule and a
          bag of words, same pairs
  dpo     150 steps of 4, 256 tokens, lr 2e-5, beta 0.1: held-out accuracy of implicit rewards (0.5 before the first step)
  ppo     150 steps of 4 against that reward model, lr 2e-5, KL steered to 6 nats an answer: its course
Both: what the reward model gives answers sampled from it and from the model it began with, to the same held-out prompts.
Differences are paired and have 95% intervals. A part needs the reward model that `reward` left in DIR.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from trimtab.artifacts import resolve
from trimtab.cli.rollouts import LocalPolicy, LocalRewards
from trimtab.server.settings import TransformersConfig
from trimtab.training.data.readers import read_rows
from trimtab.training.data.rows import Row, Turn
from trimtab.training.data.templates import RowTokenizer
from trimtab.training.evaluation import mean_interval
from trimtab.training.reports.metrics import read_metrics

MODEL = "smollm2-135m-instruct"
REWARD_LENGTH, MAX_LENGTH, NEW_TOKENS, ANSWERS = 1024, 256, 48, 150
"""Tokens of a reward model's row, of a policy's, of a sampled answer; held-out prompts that are answered."""
ENGINE = TransformersConfig(dtype="float32")
ROLLOUT = {"prompts": 16, "samples": 1, "rollout_epochs": 2, "kl_target": 6, "kl_horizon": 300}
"""Of PPO; 8 steps a rollout."""
PARTS = ("reward", "dpo", "ppo")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--eval-data", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    told = parser.parse_args()
    if "reward" in told.parts:
        _train("reward", told, "--epochs", "1", "--lr", "5e-5", "--max-length", str(REWARD_LENGTH))
    if "dpo" in told.parts:
        _train("dpo", told, "--max-steps", str(told.steps), "--lr", "2e-5", "--max-length", str(MAX_LENGTH))
        _compare("dpo", told.eval_data, told.output)
    if "ppo" in told.parts:
        chosen = {"reward": told.output / "reward", "max_new_tokens": NEW_TOKENS, **ROLLOUT}
        settings = [part for name, value in chosen.items() for part in ("--set", f"{name}={value}")]
        _train("ppo", told, "--max-steps", str(told.steps), "--lr", "2e-5", "--max-length", str(MAX_LENGTH), *settings)
        _course(told.output / "ppo")
        _compare("ppo", told.eval_data, told.output)


def _train(method: str, told: argparse.Namespace, *flags: str) -> None:
    begin = time.monotonic()
    command = [sys.executable, "-m", "trimtab", "train", method, "--model", MODEL, "--data", told.data]
    command += ["--eval-data", told.eval_data, "--output", str(told.output / method), *flags]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    print(f"== {method}, {time.monotonic() - begin:.0f} s\n{done.stdout}", flush=True)


def _compare(method: str, held_out: str, output: Path) -> None:
    base = resolve(MODEL).path
    prompts = _prompts(held_out, base)
    before, after = (_answers(path, [ids for _, ids in prompts]) for path in (base, output / method))
    with LocalRewards(output / "reward", ENGINE) as rewards:
        scores = [
            rewards.score([(*((t.role, t.content) for t in turns), ("assistant", text)) for (turns, _), text in pairs])
            for pairs in (list(zip(prompts, said, strict=True)) for said in (before, after))
        ]
    print(f"reward of sampled answers, before  {mean_interval(scores[0])}")
    print(f"reward of sampled answers, {method}     {mean_interval(scores[1])}")
    print(f"gain, paired                       {mean_interval([b - a for a, b in zip(*scores, strict=True)])}", flush=True)


def _prompts(source: str, model: Path) -> list[tuple[tuple[Turn, ...], tuple[int, ...]]]:
    from transformers import AutoTokenizer

    tokenizer = RowTokenizer(AutoTokenizer.from_pretrained(model))
    found = [(_turns(row), tokenizer.prompt(row.prompt)) for row in read_rows(source).rows]
    return [(turns, ids) for turns, ids in found if len(ids) + NEW_TOKENS <= MAX_LENGTH][:ANSWERS]


def _turns(row: Row) -> tuple[Turn, ...]:
    return (Turn("user", row.prompt),) if isinstance(row.prompt, str) else row.prompt


def _answers(model: Path, prompts: Sequence[Sequence[int]]) -> list[str]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    with LocalPolicy(model, ENGINE) as policy:
        samples = policy.sample(prompts, n=1, max_tokens=NEW_TOKENS, temperature=1.0, top_p=1.0, seed=0)
    return [tokenizer.decode(one.token_ids, skip_special_tokens=True) for (one,) in samples]


def _course(run: Path) -> None:
    rows = [row for row in read_metrics(run / "metrics.jsonl") if row.get("kl") is not None]
    for row in (rows[0], rows[len(rows) // 2], rows[-1]):
        print(f"step {row['step']}: reward {row['reward']:.3f}, KL {row['kl']:.2f} nats an answer, {row['length']:.0f} tokens")


if __name__ == "__main__":
    main()
