"""Is the transformers engine as fast as `model.generate`, and does it start as fast as loading the weights by hand?

Speed: greedy decoding of the same left-padded prompts, a fixed number of new tokens, our engine and `model.generate` in turn in
one process with the same thread count; ratio = engine tokens/s over generate tokens/s, so above 1 the engine is faster. Prompts
are new in every round: nothing is reused from an earlier one. Start: a fresh process each, engine ready against
`import torch, transformers` and `AutoModelForCausalLM.from_pretrained`; ratio = engine seconds over seconds by hand.

    python benchmarks/transformers_engine.py --rounds 5 --json result.json
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

WORDS = ("river", "copper", "winter", "market", "signal", "garden", "letter", "mountain", "ship", "window", "music", "bread")

BY_HAND = """
import sys, time
begin = time.perf_counter()
import torch, transformers
from transformers import AutoModelForCausalLM
AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype="auto" if sys.argv[2] == "auto" else getattr(torch, sys.argv[2]))
print("seconds", time.perf_counter() - begin)
"""

BY_ENGINE = """
import sys, time
begin = time.perf_counter()
import asyncio
from pathlib import Path
from trimtab.server.engines.transformers import TransformersEngine
from trimtab.server.settings import TransformersConfig
async def main():
    engine = TransformersEngine(Path(sys.argv[1]), TransformersConfig(dtype=sys.argv[2], device="cpu"), name="bench")
    await engine.start()
    print("seconds", time.perf_counter() - begin)
    await engine.close()
asyncio.run(main())
"""


@dataclass(frozen=True)
class Comparison:
    """Paired measurements of one setting."""

    name: str
    unit: str
    engine: list[float]
    other: list[float]

    @property
    def ratios(self) -> list[float]:
        """Engine over other, round by round."""
        return [ours / theirs for ours, theirs in zip(self.engine, self.other, strict=True)]

    def row(self) -> str:
        """One line of the table."""
        ratios = self.ratios
        ratio = f"{statistics.median(ratios):.3f} ({min(ratios):.3f}-{max(ratios):.3f})"
        return f"{self.name:<22} {_spread(self.engine):>26} {_spread(self.other):>26} {ratio:>22}  {self.unit}"


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def prompts_of_round(number: int, sequences: int) -> list[str]:
    """Different prompts of somewhat different lengths, the same in every run of this script."""
    prompts = []
    for place in range(sequences):
        start = number * 131 + place * 17
        words = [WORDS[(start + step * (place + 3)) % len(WORDS)] for step in range(24 + 3 * place)]
        prompts.append(f"{start} " + " ".join(words) + ". Write a story about it:")
    return prompts


async def speed(path: Path, args: argparse.Namespace) -> list[Comparison]:
    """Tokens/s of both, for each number of sequences."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    from trimtab.server.engines.transformers import TransformersEngine
    from trimtab.server.settings import TransformersConfig
    from trimtab.strategies.core.engine import Call, Params

    if args.threads:
        torch.set_num_threads(args.threads)
    engine = TransformersEngine(path, TransformersConfig(dtype=args.dtype, device="cpu", threads=args.threads), name="bench")
    await engine.start()
    dtype = "auto" if args.dtype == "auto" else getattr(torch, args.dtype)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype).eval()
    model.generation_config.eos_token_id = None
    tokenizer = AutoTokenizer.from_pretrained(path, padding_side="left")
    tokenizer.pad_token_id = 0 if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    fixed = GenerationConfig(max_new_tokens=args.new_tokens, do_sample=False, pad_token_id=tokenizer.pad_token_id)

    def generate(prompts: list[str]) -> None:
        batch = tokenizer(prompts, return_tensors="pt", padding=True)
        with torch.inference_mode():
            whole = model.generate(**batch, generation_config=fixed)
        if whole.shape[1] != batch.input_ids.shape[1] + args.new_tokens:
            raise SystemExit(f"generate gave {whole.shape[1] - batch.input_ids.shape[1]} tokens, not {args.new_tokens}")

    async def one(ids: list[int], number: int) -> int:
        params = Params(max_tokens=args.new_tokens, temperature=0.0, ignore_eos=True)
        return sum([len(delta.token_ids) async for delta in engine.generate(ids, params, Call(f"bench-{number}"))])

    async def serve(prompts: list[str]) -> None:
        counts = await asyncio.gather(*(one(tokenizer(prompt).input_ids, i) for i, prompt in enumerate(prompts)))
        if set(counts) != {args.new_tokens}:
            raise SystemExit(f"the engine gave {counts} tokens, not {args.new_tokens} each")

    clock = time.process_time if args.clock == "cpu" else time.perf_counter
    comparisons = []
    for sequences in args.sequences:
        ours: list[float] = []
        theirs: list[float] = []
        for number in range(args.rounds + 1):
            prompts = prompts_of_round(number, sequences)
            order: list[Callable[[], Any]] = [lambda p=prompts: serve(p), lambda p=prompts: asyncio.to_thread(generate, p)]
            seconds = [0.0, 0.0]
            for which in (0, 1) if number % 2 else (1, 0):
                begin = clock()
                await order[which]()
                seconds[which] = clock() - begin
            if number:
                ours.append(sequences * args.new_tokens / seconds[0])
                theirs.append(sequences * args.new_tokens / seconds[1])
        comparisons.append(Comparison(f"{sequences} sequences", "tokens/s", ours, theirs))
    await engine.close()
    return comparisons


def start(path: Path, args: argparse.Namespace) -> Comparison:
    """Seconds until ready, in fresh processes."""

    def seconds(program: str) -> float:
        ran = subprocess.run(
            [sys.executable, "-c", program, str(path), args.dtype], capture_output=True, text=True, check=True, timeout=600
        )
        return float(ran.stdout.split("seconds")[-1])

    ours: list[float] = []
    theirs: list[float] = []
    for number in range(args.start_rounds + 1):
        pair = (seconds(BY_ENGINE), seconds(BY_HAND)) if number % 2 else (seconds(BY_HAND), seconds(BY_ENGINE))[::-1]
        if number:
            ours.append(pair[0])
            theirs.append(pair[1])
    return Comparison("start", "s", ours, theirs)


def main() -> None:
    """Measures and prints a table; the first round of each is not counted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a checkpoint directory; default the embedded model")
    parser.add_argument("--dtype", default="auto", help="auto, float32 or bfloat16 (default auto)")
    parser.add_argument("--sequences", type=int, nargs="+", default=[1, 8], help="batch sizes (default 1 8)")
    parser.add_argument("--new-tokens", type=int, default=64, help="tokens an answer (default 64)")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default 5)")
    parser.add_argument("--start-rounds", type=int, default=5, help="interleaved starts, 0 = none (default 5)")
    parser.add_argument("--threads", type=int, help="CPU threads of both (default torch's own)")
    parser.add_argument(
        "--clock", choices=("wall", "cpu"), default="wall", help="cpu: CPU seconds, for busy machines; use with --threads 1"
    )
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    args = parser.parse_args()
    if args.model:
        path = Path(args.model)
    else:
        from trimtab.artifacts import resolve

        path = resolve("smollm2-135m-instruct").path
    comparisons = asyncio.run(speed(path, args))
    if args.start_rounds:
        comparisons.append(start(path, args))
    print(f"{'median (least-most)':<22} {'engine':>26} {'by hand':>26} {'ratio':>22}")
    for comparison in comparisons:
        print(comparison.row())
    if args.json:
        rows = [{**asdict(c), "ratio": statistics.median(c.ratios)} for c in comparisons]
        args.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
