"""`trimtab batch` and the Batches API against vLLM's own offline `LLM.chat`; memory of long files; resuming finished ones.

    python benchmarks/batch.py [--rounds 3] [--lines 500] [--tokens 64] [--data FILE] [--only offline|http|memory|resume ...]

offline, http: output tokens/s on the same short chat prompts with the same weights and engine settings, greedy, the same number
of tokens each, the start of an engine left out on both sides; ratio ours/theirs, goals at least 0.95 and 0.90. Prompts are new
in each round and the same for all; nothing else runs. memory: peak of the process that drives 1,000 and 50,000 lines of the
scripted engine, in MiB, and the difference a thousand lines. resume: seconds of `trimtab batch --resume` on a finished file of
50,000 lines, interpreter start included; goal under 2.
"""

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from _ratios import ratio_line
from _servers import HOST, KV_CACHE_GIB, MAX_MODEL_LEN, MODEL, Server, environment, free_port, trimtab_command

PARTS = ("offline", "http", "memory", "resume")
MAX_NUM_SEQS = 128
LONG, SHORT = 50_000, 1_000
CHAT = "/v1/chat/completions"
THINGS = (
    "a river",
    "a bridge",
    "the moon",
    "bread",
    "a library",
    "rain",
    "a clock",
    "glass",
    "a market",
    "wool",
    "salt",
    "a kite",
)
ASKED = ("How is {} made, and where does it come from?", "What would a child ask about {}?", "Write two lines about {}.")
POLL_S = 0.1


def prompts(data: Path | None, number: int, seed: int) -> list[str]:
    """Short questions, other ones for another seed: of a JSONL file with a `prompt` a row, else made up."""
    chance = random.Random(seed)
    if data is not None:
        rows = [json.loads(line)["prompt"] for line in data.read_text(encoding="utf-8").splitlines()]
        return chance.choices(rows, k=number)
    return [f"({chance.randrange(10**6)}) {chance.choice(ASKED).format(chance.choice(THINGS))}" for _ in range(number)]


def write_input(path: Path, texts: Sequence[str], tokens: int) -> Path:
    """A batch file."""
    with path.open("w", encoding="utf-8") as file:
        for number, text in enumerate(texts):
            body = {"model": MODEL, "messages": [{"role": "user", "content": text}], "max_tokens": tokens, "temperature": 0}
            row = {"custom_id": f"line-{number}", "method": "POST", "url": CHAT, "body": {**body, "ignore_eos": True}}
            file.write(f"{json.dumps(row)}\n")
    return path


def write_config(folder: Path) -> Path:
    """The engine settings of `_offline_chat.py`."""
    engine = {"kind": "vllm", "max_model_len": MAX_MODEL_LEN, "dtype": "bfloat16", "kv_cache_gib": KV_CACHE_GIB}
    engine["args"] = {"max_num_seqs": MAX_NUM_SEQS}
    tree = {"models": {MODEL: {"source": MODEL, "engine": engine}}, "data_dir": str(folder / "data")}
    path = folder / "trimtab.yaml"
    path.write_text(json.dumps(tree))
    return path


def batch_command(source: Path, output: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "trimtab", "batch", str(source), "-o", str(output), "--overwrite", *more]


def ours_offline(source: Path, config: Path, count: int) -> float:
    """Output tokens/s of `trimtab batch`, by its own last line."""
    output = source.with_suffix(".out.jsonl")
    command = batch_command(source, output, "--config", str(config))
    told = subprocess.run(command, check=True, env=environment(), capture_output=True, text=True).stderr
    found = re.search(r"(\d+) output tokens, ([\d.]+)/s", told)
    if found is None or int(found[1]) != count:
        raise RuntimeError(f"expected {count} output tokens: {told[-2000:]}")
    return float(found[2])


def theirs_offline(source: Path, model: Path, count: int) -> float:
    """Output tokens/s of `LLM.chat`."""
    script = Path(__file__).with_name("_offline_chat.py")
    command = [sys.executable, str(script), str(source), str(model), str(MAX_NUM_SEQS)]
    done = subprocess.run(command, check=True, env=environment(), stdout=subprocess.PIPE, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    if found["tokens"] != count:
        raise RuntimeError(f"expected {count} output tokens, got {found['tokens']}")
    return float(found["tokens"] / found["seconds"])


def ours_http(server: Server, source: Path, count: int) -> float:
    """Output tokens/s of the Batches API, from its creation until it is completed."""
    import openai

    with openai.OpenAI(base_url=f"http://{HOST}:{server.port}/v1", api_key="none") as client:
        file = client.files.create(file=source, purpose="batch")
        begin = time.perf_counter()
        job = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
        while job.status in {"validating", "in_progress", "finalizing"}:
            time.sleep(POLL_S)  # the Batches API tells its state when it is asked, and no sooner
            job = client.batches.retrieve(job.id)
        elapsed = time.perf_counter() - begin
        if job.status != "completed" or job.output_file_id is None or job.error_file_id:
            raise RuntimeError(f"the batch ended as {job.status}: {job.errors}, {job.request_counts}")
        rows = map(json.loads, client.files.content(job.output_file_id).text.splitlines())
        tokens = sum(row["response"]["body"]["usage"]["completion_tokens"] for row in rows)
    if tokens != count:
        raise RuntimeError(f"expected {count} output tokens, got {tokens}")
    return float(tokens / elapsed)


def speed(asked: argparse.Namespace, parts: Sequence[str]) -> list[str]:
    """Rounds of ours and theirs in turn, who goes first alternating."""
    from trimtab.artifacts import resolve

    model, found = resolve(MODEL).path, {name: list[float]() for name in ("theirs", *parts)}
    count = asked.lines * asked.tokens
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = write_config(folder)
        for turn in range(asked.rounds):
            source = write_input(folder / f"in{turn}.jsonl", prompts(asked.data, asked.lines, turn), asked.tokens)
            order = ["theirs", *parts]
            for who in order if turn % 2 else reversed(order):
                found[who].append(one_run(who, source, config, model, count))
                print(f"round {turn + 1}/{asked.rounds}, {who}: {found[who][-1]:.1f} tokens/s", file=sys.stderr, flush=True)
    goals = {"offline": ("trimtab batch, tokens/s", ">= 0.95"), "http": ("Batches API, tokens/s", ">= 0.90")}
    return [ratio_line(goals[part][0], found[part], found["theirs"], goals[part][1]) for part in parts]


def one_run(who: str, source: Path, config: Path, model: Path, count: int) -> float:
    """Output tokens/s of one of them, with an engine of its own."""
    if who == "offline":
        return ours_offline(source, config, count)
    if who == "theirs":
        return theirs_offline(source, model, count)
    port = free_port()
    with Server("trimtab", trimtab_command(port, config=config), port, "/readyz") as server:
        return ours_http(server, source, count)


def measured(command: list[str]) -> tuple[float, float]:
    """Seconds and peak MiB of a process that has to end well."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    elapsed = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return elapsed, usage.ru_maxrss / 1024


def long_files(asked: argparse.Namespace, parts: Sequence[str]) -> list[str]:
    """Memory at both lengths, and the time of resuming the long one."""
    lines: list[str] = []
    scripted = ("--engine", "scripted", "--served-model-name", MODEL)
    with tempfile.TemporaryDirectory() as name:
        peaks: dict[int, float] = {}
        for number in (SHORT, LONG):
            source = write_input(Path(name) / f"in{number}.jsonl", prompts(asked.data, number, 0), asked.tokens)
            elapsed, peaks[number] = measured(batch_command(source, Path(name) / f"out{number}.jsonl", *scripted))
            print(f"{number} lines: {elapsed:.1f} s", file=sys.stderr, flush=True)
        if "memory" in parts:
            lines.append(memory_line(peaks))
        if "resume" in parts:
            output = Path(name) / f"out{LONG}.jsonl"
            again: list[Any] = [word for word in batch_command(source, output, *scripted, "--resume") if word != "--overwrite"]
            seconds = [measured(again)[0] for _ in range(max(asked.rounds, 3))]
            spread = f"{min(seconds):.2f}-{max(seconds):.2f}, {len(seconds)} runs"
            lines.append(f"{'resuming a finished file of 50,000':<34} {median(seconds):.2f} s ({spread})  goal < 2 s")
    return lines


def memory_line(peaks: dict[int, float]) -> str:
    """Both peaks, and what a thousand lines more take."""
    added = 1000 * (peaks[LONG] - peaks[SHORT]) / (LONG - SHORT)
    both = f"{peaks[SHORT]:.0f} MiB at {SHORT}, {peaks[LONG]:.0f} MiB at {LONG} lines"
    return f"{'peak memory':<34} {both}: {added:+.2f} MiB a thousand  goal flat"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lines", type=int, default=500)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    asked = parser.parse_args()
    told: list[str] = []
    for run, parts in ((speed, ("offline", "http")), (long_files, ("memory", "resume"))):
        if chosen := [part for part in parts if part in asked.only]:
            told += run(asked, chosen)
    print("\n".join(told))


if __name__ == "__main__":
    main()
