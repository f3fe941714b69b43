"""Eight alignments on a chat model and on a base model, by `trimtab eval`: what each brings and what it costs.

    python benchmarks/alignments.py --data hh.jsonl --reward RUN --aligner RUN --output DIR [--limit 40] [--max-tokens 48]

Data: what `trimtab data convert hh` makes of a published file. Reward: a reward model, e.g. that of benchmarks/aligning.py.
Aligner: a run of `trimtab train aligner`. Prints, for the default model and for gemma3-270m-base (its Gemma Terms of Use are
accepted here, and it gets the chat template of base_model.yaml), the report's table as it came out; report.html and
report-benefit.svg lie in DIR/chat and DIR/base. What was stopped goes on.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

MODELS = {
    "chat": ("smollm2-135m-instruct",),
    "base": ("gemma3-270m-base", "--config", str(Path(__file__).with_name("base_model.yaml"))),
}
RAIN = '{"kind": "rain", "max_iterations": 6}'
"""Six search iterations a move in place of fifty: a CPU is to finish."""
ALIGNMENTS = ("plain", "value_prompt", "urial", "norms", "best_of_n", RAIN, "critique_refine", "aligner")
SCORERS = "reward,toxicity,refusal,repetition,length"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--reward", required=True)
    parser.add_argument("--aligner", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--limit", type=int, default=40)
    parser.add_argument("--max-tokens", type=int, default=48)
    told = parser.parse_args()
    for name in told.models:
        folder = told.output / name
        begin = time.monotonic()
        command = [sys.executable, "-m", "trimtab", "eval", *MODELS[name], "--data", told.data, "--output", str(folder)]
        command += ["--limit", str(told.limit), "--max-tokens", str(told.max_tokens), "--scorers", SCORERS]
        command += ["--role", f"reward={told.reward}", "--role", f"aligner={told.aligner}"]
        command += [part for one in ALIGNMENTS for part in ("--align", one)]
        command += ["--resume"] if (folder / "header.json").exists() else []
        status = subprocess.run(command, check=False).returncode
        print(f"== {MODELS[name][0]}: exit status {status}, {time.monotonic() - begin:.0f} s")
        print((folder / "report.md").read_text(encoding="utf-8"), flush=True)


if __name__ == "__main__":
    main()
