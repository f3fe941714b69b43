"""Whether training does what it is for: a reward model, then DPO and PPO judged by held-out pairs and by that model.

    python benchmarks/aligning.py --data PAIRS.jsonl --eval-data PAIRS.jsonl --output DIR [--parts reward dpo ppo]

Through the command line on the default model:
  reward  all pairs once, 4 a step, 1,024 tokens (no answer is cut), lr 5e-5: held-out accuracy beside the length rule and a
          bag of words, same pairs
  dpo     150 steps of 4, 256 tokens, lr 2e-5, beta 0.1: held-out accuracy of implicit rewards (0.5 before the first step)
  ppo     128 steps of 16 answers (16 rollouts of 4 answers to 16 prompts, two passes) against that reward model, LoRA 16,
          lr 4e-4, 128 tokens with answers of 32, beta 0.05: its course
Both: what the reward model gives answers sampled from it and from the model it began with, to the same held-out prompts.
Differences are paired and have 95% intervals. A part needs the reward model that `reward` left in DIR.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from trimtab.artifacts import resolve
from trimtab.cli.rollouts import LocalPolicy, LocalRewards
from trimtab.server.settings import TransformersConfig
from trimtab.training.data.readers import read_rows
from trimtab.training.data.rows import Row, Turn
from trimtab.training.data.templates import RowTokenizer
from trimtab.training.evaluation import mean_interval
from trimtab.training.reports.metrics import read_metrics

MODEL = "smollm2-135m-instruct"
REWARD_LENGTH, ANSWERS = 1024, 150
"""Tokens of a reward model's row; held-out prompts that are answered, at most."""
SIZES = {"dpo": (256, 48), "ppo": (128, 32)}
"""Tokens of a policy's row, and of an answer sampled from it."""
ENGINE = TransformersConfig(dtype="float32")
ROLLOUT = {"prompts": 16, "samples": 4, "rollout_epochs": 2, "beta": 0.05}
"""Of PPO; 8 steps a rollout."""
PARTS = ("reward", "dpo", "ppo")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--eval-data", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    told = parser.parse_args()
    if "reward" in told.parts:
        _train("reward", told, "--epochs", "1", "--lr", "5e-5", "--max-length", str(REWARD_LENGTH))
    if "dpo" in told.parts:
        _train("dpo", told, "--max-steps", "150", "--lr", "2e-5", "--max-length", str(SIZES["dpo"][0]))
        _compare("dpo", told.eval_data, told.output)
    if "ppo" in told.parts:
        longest, new = SIZES["ppo"]
        chosen = {"reward": told.output / "reward", "max_new_tokens": new, **ROLLOUT}
        settings = [part for name, value in chosen.items() for part in ("--set", f"{name}={value}")]
        flags = ["--max-steps", "128", "--batch-size", "4", "--lr", "4e-4", "--lora-r", "16", "--max-length", str(longest)]
        _train("ppo", told, *flags, *settings)
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
    longest, new = SIZES[method]
    prompts = _prompts(held_out, base, longest - new)
    with TemporaryDirectory() as folder:
        after_it = _whole(output / method, base, Path(folder))
        before, after = (_answers(path, [ids for _, ids in prompts], new) for path in (base, after_it))
    with LocalRewards(output / "reward", ENGINE) as rewards:
        scores = [
            rewards.score([(*((t.role, t.content) for t in turns), ("assistant", text)) for (turns, _), text in pairs])
            for pairs in (list(zip(prompts, said, strict=True)) for said in (before, after))
        ]
    print(f"reward of sampled answers, before  {mean_interval(scores[0])}")
    print(f"reward of sampled answers, {method}     {mean_interval(scores[1])}")
    print(f"gain, paired                       {mean_interval([b - a for a, b in zip(*scores, strict=True)])}", flush=True)


def _whole(run: Path, base: Path, folder: Path) -> Path:
    """A run as a model of its own: an adapter is merged into its base, in `folder`."""
    if not (run / "adapter_config.json").exists():
        return run
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    network = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype="float32"), run)
    network.merge_and_unload().save_pretrained(folder)
    AutoTokenizer.from_pretrained(run).save_pretrained(folder)
    return folder


def _prompts(source: str, model: Path, longest: int) -> list[tuple[tuple[Turn, ...], tuple[int, ...]]]:
    from transformers import AutoTokenizer

    tokenizer = RowTokenizer(AutoTokenizer.from_pretrained(model))
    found = [(_turns(row), tokenizer.prompt(row.prompt)) for row in read_rows(source).rows]
    return [(turns, ids) for turns, ids in found if len(ids) <= longest][:ANSWERS]


def _turns(row: Row) -> tuple[Turn, ...]:
    return (Turn("user", row.prompt),) if isinstance(row.prompt, str) else row.prompt


def _answers(model: Path, prompts: Sequence[Sequence[int]], new: int) -> list[str]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    with LocalPolicy(model, ENGINE) as policy:
        samples = policy.sample(prompts, n=1, max_tokens=new, temperature=1.0, top_p=1.0, seed=0)
    return [tokenizer.decode(one.token_ids, skip_special_tokens=True) for (one,) in samples]


def _course(run: Path) -> None:
    rows = [row for row in read_metrics(run / "metrics.jsonl") if row.get("kl") is not None]
    for row in (rows[0], rows[len(rows) // 2], rows[-1]):
        print(f"step {row['step']}: reward {row['reward']:.3f}, KL {row['kl']:.2f} nats an answer, {row['length']:.0f} tokens")


if __name__ == "__main__":
    main()
