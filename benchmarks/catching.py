"""Whether the evaluation catches what it should: a model trained on purpose on the answers that people rejected.

    python benchmarks/catching.py --data PAIRS.jsonl --eval-data PAIRS.jsonl --reward RUN --output DIR [--method sft]

Through the command line on the default model: two LoRAs are trained, one towards the rejected answers of the pairs and one
towards the chosen ones (same prompts, seed, order and steps). --method sft imitates these answers alone; --method dpo prefers
them to the others. Base, base again (A against A) and both LoRAs answer the same held-out prompts with the same seeds; the logs
are merged, and a judge compares each answer with the base's (the base itself by its label probabilities, or --judge). Prints a
Markdown table of the paired differences from the base with 95% intervals and p-values (Holm, over all of it). A scorer
catches it where the first LoRA is significantly worse, the second is not, and A against A shows nothing. Ends with the scorers
that claim to say which answer people would prefer, and did not catch it. What is finished in --output is not done again.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trimtab.server.evaluation.log import Log, read_log
from trimtab.server.evaluation.measures import Change, Measure
from trimtab.server.evaluation.summary import Summary, summarise

MODEL = "smollm2-135m-instruct"
ANSWERS = ("rejected", "chosen")
RATES = {"sft": "2e-4", "dpo": "3e-4"}
"""Learning rates of a LoRA."""
SCORERS = ("reward", "sign_agreement", "misalignment_gap", "perplexity", "refusal", "toxicity")
ENGINE = ("--engine", "transformers")
"""vLLM on CPU gives no log-probabilities of a text beside an adapter."""
MAX_LENGTH, NEW_TOKENS, TEMPERATURE = 256, 48, 1.0
"""Tokens of a training row and of a sampled answer; answers are drawn from the model as it is."""
AGAIN = "base:plain#2"
"""The base a second time."""
HEAD = ("scorer", "base", *(f"on {name}" for name in ANSWERS), "A against A", "caught")


def main() -> None:
    told = _arguments()
    told.output.mkdir(parents=True, exist_ok=True)
    for answers in ANSWERS:
        _train(answers, told)
    for name in ("base", *ANSWERS):
        _evaluate(name, told)
    log = _merged(told)
    summary = summarise(log)
    caught = {name: _missed(log, summary, name) for name in log.scorers}
    print(f"\n{len(log.samples)} held-out prompts, {told.steps} steps of {told.method}, {summary.comparisons} comparisons\n")
    print(f"| {' | '.join(HEAD)} |\n|{' --- |' * len(HEAD)}")
    for name in log.scorers:
        print(f"| {' | '.join(_cells(log, summary, name, caught[name]))} |")
    print(f"\n{_verdict(log, caught)}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--eval-data", required=True)
    parser.add_argument("--reward", required=True, help="a reward model, e.g. that of benchmarks/aligning.py")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--method", choices=RATES, default="sft")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--limit", type=int, help="held-out prompts; default all")
    parser.add_argument("--judge", metavar="SPEC", help="as for `trimtab eval --role judge=SPEC`; default the base")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def _run(title: str, *words: str) -> None:
    """`trimtab WORDS`; what it shows is shown only where it fails."""
    begin = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "trimtab", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{title} failed:\n{done.stderr[-3000:]}")
    print(f"{title}: {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)


def _train(answers: str, told: argparse.Namespace) -> None:
    run = told.output / answers
    done = run / "training.json"
    if done.exists():
        method = json.loads(done.read_text(encoding="utf-8"))["method"]
        if method != told.method:
            raise SystemExit(f"{run} was trained with {method}, not {told.method}: name another --output")
        return
    data = told.output / f"{told.method}-{answers}.jsonl"
    data.write_text("".join(f"{json.dumps(row)}\n" for row in _rows(told.data, told.method, answers)), encoding="utf-8")
    flags = ("--lora-r", "16", "--lr", RATES[told.method], "--max-steps", str(told.steps), "--max-length", str(MAX_LENGTH))
    words = ("train", told.method, "--model", MODEL, "--data", str(data), "--output", str(run), *flags)
    _run(f"train on {answers}", *words, "--seed", str(told.seed))


def _rows(source: Path, method: str, answers: str) -> Iterator[dict[str, Any]]:
    """Every pair of which both answers say something, as the method reads it, so that both files have the same prompts."""
    others = next(name for name in ANSWERS if name != answers)
    for line in source.read_text(encoding="utf-8").splitlines():
        pair = json.loads(line)
        if all(pair[name] and _text(pair[name]).strip() for name in ANSWERS):
            learnt = {"completion": pair[answers]} if method == "sft" else {"chosen": pair[answers], "rejected": pair[others]}
            yield {"prompt": pair["prompt"], **learnt}


def _text(answer: str | Sequence[Mapping[str, str]]) -> str:
    return answer if isinstance(answer, str) else answer[-1]["content"]


def _evaluate(name: str, told: argparse.Namespace) -> None:
    model = MODEL if name == "base" else str(told.output / name)
    flags = ["--data", told.eval_data, "--output", str(_log(told, name)), "--seed", str(told.seed), "--resume", "--no-report"]
    flags += ["--role", f"reward={told.reward}", "--scorers", ",".join(SCORERS), "--max-dropped", "1", *ENGINE]
    flags += ["--max-tokens", str(NEW_TOKENS), "--temperature", str(TEMPERATURE), "--top-p", "1"]
    flags += ["--align", "plain", *(("--align", "plain") if name == "base" else ())]
    _run(f"evaluate {name}", "eval", model, *flags, *(("--limit", str(told.limit)) if told.limit else ()))


def _log(told: argparse.Namespace, name: str) -> Path:
    return Path(told.output) / "logs" / name


def _merged(told: argparse.Namespace) -> Log:
    """The log of all models, with the judge's verdicts."""
    folder = _log(told, "merged")
    if not (folder / "header.json").exists():
        logs = [str(_log(told, name)) for name in ("base", *ANSWERS)]
        _run("merge", "eval", "merge", *logs, "--output", str(folder), "--no-report")
    judge = ("--role", f"judge={told.judge}") if told.judge else ("--model", MODEL)
    _run("judge", "eval", "score", str(folder), "--scorers", "judge", "--max-dropped", "1", *judge)
    return read_log(folder)


def _missed(log: Log, summary: Summary, scorer: str) -> tuple[str, ...] | None:
    """What a scorer did not show as it should; None where no side of it is better."""
    if log.scorers[scorer].better == "neither":
        return None
    verdicts = {name: _judged(summary.measure(scorer, name)) for name in (*ANSWERS, AGAIN)}
    found = {
        "rejected not worse": verdicts["rejected"] != "worse",
        "chosen worse": verdicts["chosen"] == "worse",
        "A against A differs": verdicts[AGAIN] != "none",
    }
    return tuple(name for name, is_so in found.items() if is_so)


def _judged(measure: Measure) -> str:
    return measure.change.verdict if measure.change is not None else "unknown"


def _cells(log: Log, summary: Summary, scorer: str, missed: tuple[str, ...] | None) -> Iterator[str]:
    yield f"`{scorer}`{' (claims preference)' if log.scorers[scorer].of_preference else ''}"
    mean = summary.measure(scorer, summary.alignments[0]).mean
    yield "-" if mean is None else f"{mean.estimate:.3f}"
    for name in (*ANSWERS, AGAIN):
        yield _told(summary.measure(scorer, name).change)
    yield "no better side" if missed is None else f"no: {'; '.join(missed)}" if missed else "yes"


def _told(change: Change | None) -> str:
    if change is None:
        return "no number"
    interval = "" if change.low is None or change.high is None else f" [{change.low:+.3f}, {change.high:+.3f}]"
    return f"{change.estimate:+.3f}{interval}, p {change.adjusted_p:.3f}, n {change.n}: {change.verdict}"


def _verdict(log: Log, caught: Mapping[str, tuple[str, ...] | None]) -> str:
    claiming = [name for name, record in log.scorers.items() if record.of_preference]
    lost = [f"{name} ({'; '.join(missed)})" for name in claiming if (missed := caught[name])]
    if not lost:
        return f"Every scorer that claims preference caught it: {', '.join(claiming)}."
    return f"Claim preference and missed it: {', '.join(lost)}."


if __name__ == "__main__":
    main()
