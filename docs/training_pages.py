"""What docs/training.md and the README say of training: methods, settings, data forms out of the code, other text from here."""

import inspect
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pydantic.fields import FieldInfo

Record = Mapping[str, Any]
Cells = tuple[str, ...]


def _asked(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


FRUIT, HELLO = _asked("Name a fruit."), _asked("Say hello.")
FORMS: Mapping[frozenset[str], tuple[str, tuple[Record, Record]]] = {
    frozenset({"prompt", "responses"}): (
        "Our own form, the one that holds everything: per answer `score`, `rank`, `label`, `kind`, `feedback`, `weight`; "
        "judgements in `pref` as `{a, b, p, margin}`.",
        (
            {
                "prompt": FRUIT,
                "responses": [
                    {"content": "An apple.", "score": 0.9, "label": True},
                    {"content": "A chair.", "score": 0.2, "label": False},
                ],
                "pref": [{"a": 0, "b": 1, "p": 1.0}],
            },
            {
                "prompt": HELLO,
                "responses": [
                    {"content": "Hello!", "score": 1.0, "label": True},
                    {"content": "No.", "score": 0.1, "label": False},
                ],
            },
        ),
    ),
    frozenset({"prompt", "completion"}): (
        "An answer to learn; with `label` one that is wanted or not, with `score` one that is worth so much.",
        ({"prompt": FRUIT, "completion": "An apple."}, {"prompt": HELLO, "completion": "Hello!"}),
    ),
    frozenset({"messages"}): (
        "A conversation: its last assistant turn is the answer. `label` and `score` as above.",
        (
            {"messages": [*FRUIT, {"role": "assistant", "content": "An apple."}]},
            {"messages": [*HELLO, {"role": "assistant", "content": "Hello!"}]},
        ),
    ),
    frozenset({"chosen", "rejected"}): (
        "A pair. The prompt is a column, or what both begin with (turns, or HH's dialogue strings). `margin`, `preference` "
        "(the probability that `chosen` is better; below 1 it is for plain `dpo`, `cpl` and `reward`), `scores`.",
        (
            {"prompt": FRUIT, "chosen": "An apple.", "rejected": "A chair."},
            {"prompt": HELLO, "chosen": "Hello!", "rejected": "No."},
        ),
    ),
    frozenset({"prompt", "completions"}): (
        "A list of answers with their `scores`.",
        (
            {"prompt": FRUIT, "completions": ["An apple.", "A seed.", "A chair."], "scores": [2, 1, 0]},
            {"prompt": HELLO, "completions": ["Hello!", "Hm.", "No."], "scores": [2, 1, 0]},
        ),
    ),
    frozenset({"query", "responses"}): (
        "The same as RRHF and Stable Alignment released it.",
        (
            {"query": "Name a fruit.", "responses": ["An apple.", "A chair."], "scores": [1, 0]},
            {"query": "Say hello.", "responses": ["Hello!", "No."], "scores": [1, 0]},
        ),
    ),
    frozenset({"prefix", "suffix"}): (
        "The same as PRO released it; `reward` holds the scores.",
        (
            {"prefix": ["<|prompter|>Name a fruit.<|assistant|>"], "suffix": ["An apple.", "A chair."], "reward": [1, 0]},
            {"prefix": ["<|prompter|>Say hello.<|assistant|>"], "suffix": ["Hello!", "No."], "reward": [1, 0]},
        ),
    ),
    frozenset({"prompt", "draft", "correction"}): (
        "A draft and its correction; `feedback` says why.",
        (
            {"prompt": FRUIT, "draft": "A chair.", "correction": "An apple."},
            {"prompt": HELLO, "draft": "No.", "correction": "Hello!"},
        ),
    ),
    frozenset({"question", "answer", "correction"}): (
        "The same as Aligner released it.",
        (
            {"question": "Name a fruit.", "answer": "A chair.", "correction": "An apple."},
            {"question": "Say hello.", "answer": "No.", "correction": "Hello!"},
        ),
    ),
    frozenset({"prompt"}): ("A prompt alone.", ({"prompt": FRUIT}, {"prompt": HELLO})),
    frozenset({"text"}): ("Text alone.", ({"text": "An apple is a fruit."}, {"text": "People say hello when they meet."})),
}
"""Columns by which a form is recognised -> what it is, and two records of it."""

DATA: Mapping[str, str] = {
    "Demo": "answers to learn",
    "Pair": "pairs of a better and a worse answer",
    "PairWithGold": "pairs, with an answer to keep likely",
    "Ranked": "lists of answers with scores",
    "Scored": "answers with a score",
    "Unpaired": "answers that are wanted or not",
    "Prompts": "prompts, and a reward model",
    "Edited": "drafts and their corrections",
    "Identity": "drafts and their corrections",
    "Hindsight": "pairs of a better and a worse answer",
    "SecondThoughts": "drafts and their corrections",
}
"""View -> what the rows hold."""

SURVEY: Sequence[Cells] = (
    (
        "Eq. 1",
        "A signed difference under the expectation, which is 0 for two draws of one distribution.",
        "The absolute difference of each pair (`utility_gap` in `training/losses`), and whether both order it alike, which is "
        "what `eval_accuracy` averages.",
    ),
    (
        "Eq. 2",
        "Right; the text behind Eq. 6 speaks of it as an absolute value.",
        "Both, by name: `value` with `form=mse` or `form=mae`; and the hinge, `form=hinge`.",
    ),
    (
        "Eq. 4",
        "The logarithm stands outside the mean over examples, so an example counts by its probability and a hard one for "
        "nothing: for probabilities .9 and .1 it gives .693 and the mean of logarithms 1.204.",
        "The mean of logarithms, over the tokens of a whole optimizer step: `sft`.",
    ),
    ("Eq. 5", "Right, but for the reward's arguments.", "As it is, with margins, soft labels and centring: `reward`."),
    (
        "Eq. 6",
        "Right; its lambda is the beta of others.",
        "The KL as an estimate for each sampled token: `ppo`, `rloo`, `grpo`.",
    ),
    (
        "text to Eq. 7",
        "Some of the distances named there need rewards in [0, 1] or a reward that sums to 1 over answers.",
        "The form that can be computed: `score=log_sigmoid` as the reward, an entropy bonus and the KL to the reference.",
    ),
    (
        "Eq. 8",
        "Without a lower bound: it can always fall by making the worse answer less likely.",
        "Its bounded forms: logistic (`dpo`, `cpl`), hinge (`slic`, `rrhf`, `stable`), square (`ipo`), capped (`safe_align`).",
    ),
    (
        "Chain of Hindsight",
        "The likelihood is called proportional to a KL divergence; its sign is the other one. Markers are said to be a good or "
        "bad prefix; the released data has sentences, both orders, and learns the worse answers too.",
        "Likelihood of the answers behind sentences, in all orders: `coh`.",
    ),
    (
        "DPO's reward",
        "Called proportional to the log-ratio; it equals beta times that, up to a constant of the prompt.",
        "`dpo`; its implicit rewards are compared within a prompt only.",
    ),
    (
        "IPO",
        "A minus stands before the square, so that minimising it drives the gap away from its target.",
        "The square itself, of sums as in the paper or of token means: `ipo` with `reduction`.",
    ),
    (
        "SLiC",
        "The minus before the better answer's likelihood is lost.",
        "The hinge of both, and the target kept likely: `slic`.",
    ),
    (
        "PRO",
        "The ranking is right, but its scores are said to be DPO's log-ratios; they are token-mean likelihoods without a "
        "reference, with temperatures from the gaps of rewards and a term for the best answer.",
        "The paper's as `pro`, the ranking of log-ratios as `pl`.",
    ),
    (
        "CPL",
        "That it finds the optimum holds for preferences by regret; on pairs of answers it is DPO without a reference.",
        "`cpl` with its bias, with or without a reference.",
    ),
    ("Eq. 10", "A minimum over what is a lower bound of evidence, which is to be raised.", "Not trained: decoding only."),
)
"""Place in the survey, what is wrong with the formula as printed, what is implemented instead."""


def table(header: Cells, rows: Sequence[Cells]) -> str:
    """A Markdown table."""
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join(f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in row)} |" for row in lines)


def methods() -> Mapping[str, Any]:
    """The config of every method by its name."""
    from trimtab.training.methods.catalogue import every_config

    return every_config()


def told(config: Any) -> tuple[str, str, str]:
    """What a config's docstring says: summary, source, deviation."""
    text = " ".join(inspect.getdoc(config).split())  # type: ignore[union-attr]
    found = re.fullmatch(r"(.*?)(?: Source: (.*?))?(?: Deviation: (.*))?", text)
    assert found is not None
    return found[1], found[2] or "", found[3] or ""


def paper(source: str) -> str:
    """The first paper of a source, without its equations."""
    found = re.match(r".*?arXiv \d{4}\.\d{5}", source)
    return found[0] if found else source.partition(",")[0]


def data_of(config: Any) -> str:
    """What a method learns from at its defaults."""
    return DATA[type(config().phases()[-1].view).__name__]


def reference_of(config: Any) -> str:
    """Whether a method at its defaults compares with the model as it came."""
    from trimtab.training.methods.online import PolicyGradientConfig

    if issubclass(config, PolicyGradientConfig):
        return "yes" if config().beta > 0 else "with `beta` above 0"
    if "reference" in config.model_fields:
        return "optional"
    return "yes" if config().needs_reference else "no"


def methods_table(page: str = "docs/training.md") -> str:
    """Every method in a line."""
    rows = []
    for kind, config in methods().items():
        summary, source, _ = told(config)
        rows.append((f"[`{kind}`]({page}#{kind})", summary, data_of(config), reference_of(config), paper(source)))
    return table(("method", "what it does", "data", "reference", "paper"), rows)


def method_section(kind: str, config: Any) -> str:
    """All that is to be said about a method."""
    from trimtab.training.methods.catalogue import LORA_FACTOR, PRESETS

    summary, source, deviation = told(config)
    preset = PRESETS[kind]
    lines = [
        f"### `{kind}`",
        summary,
        f"Learns from {data_of(config)}; makes {_article(config().artefact)}; reference: {reference_of(config)}. Starts with "
        f"`--lr {preset.lr:g}` ({preset.lr * LORA_FACTOR:g} with an adapter) and {preset.epochs:g} "
        f"{'pass' if preset.epochs == 1 else 'passes'} over the data.",
    ]
    if parameters := _parameters(config):
        lines.append(table(("parameter (`--set`)", "type", "default", "meaning"), parameters))
    lines.append(f"Source: {source}")
    if deviation:
        lines.append(f"Deviation: {deviation}")
    return "\n\n".join(lines)


def _article(artefact: str) -> str:
    return {"policy": "a policy", "reward": "a reward model", "aligner": "a correction model"}[artefact]


def _parameters(config: Any) -> list[Cells]:
    fields = {name: field for name, field in config.model_fields.items() if name != "kind"}
    return [(f"`{name}`", _type(field), _default(field), described(config, name)) for name, field in fields.items()]


def described(config: Any, name: str) -> str:
    """What a field means; one that a class repeats for its default alone is explained where it first stands."""
    found = (base.model_fields[name].description for base in config.__mro__ if name in getattr(base, "model_fields", {}))
    return next((text for text in found if text), "")


def _type(field: FieldInfo) -> str:
    from trimtab.server.config_reference import type_name

    return type_name(field.annotation, field.metadata)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None or value in ((), {}) or value == frozenset():
        return "none"
    if isinstance(value, tuple):
        return ", ".join(f"`{one}`" for one in value)
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def settings_table() -> str:
    """Every key of the settings with its flag."""
    from trimtab.training.models import LoraSettings
    from trimtab.training.settings import TrainSettings

    names = {"method": "METHOD", "parameters": "--set", "accept_licences": "--accept-licence", "lora_targets": "--lora-target"}
    rows = []
    for name, field in TrainSettings.model_fields.items():
        if name != "lora":
            rows.append(_setting(name, names.get(name), field))
            continue
        rows += [_setting(f"lora.{part}", names.get(f"lora_{part}"), one) for part, one in LoraSettings.model_fields.items()]
    return table(("key", "flag", "type", "default", "meaning"), rows)


def _setting(key: str, flag: str | None, field: FieldInfo) -> Cells:
    shown = flag or "--" + key.replace(".", "-").replace("_", "-")
    return (f"`{key}`", f"`{shown}`", _type(field), _default(field), field.description or "")


def forms_table() -> str:
    """Every form of a row, and the methods that learn from it as it stands."""
    from trimtab.training.data.columns import FORMS as KNOWN

    usable = {columns: learners(FORMS[columns][1]) for columns, _ in KNOWN}
    rows = []
    for columns in FORMS:
        what, (record, _) = FORMS[columns]
        listed = ", ".join(f"`{name}`" for name in usable[columns])
        rows.append((f"`{json.dumps(record, ensure_ascii=False)}`", what, listed))
    return table(("a row", "what it is", "methods that learn from it as it stands"), rows)


def learners(records: Sequence[Record]) -> tuple[str, ...]:
    """The methods whose views make examples of these records."""
    from tests.training.data.tiny import tokenizer
    from trimtab.training.data.columns import row_of
    from trimtab.training.data.example_sets import examples
    from trimtab.training.data.templates import RowTokenizer
    from trimtab.training.errors import DataError

    rows = [row_of(record, line) for line, record in enumerate(records, 1)]
    reader = RowTokenizer(tokenizer())
    found = []
    with _quiet():
        for kind, config in methods().items():
            chosen = config()
            try:
                for phase in chosen.phases():
                    chosen.prepare(examples(rows, phase.view, reader, 1024).examples, 1024)
            except DataError:
                continue
            found.append(kind)
    return tuple(found)


@contextmanager
def _quiet() -> Iterator[None]:
    """Rows that make no example are the question here, not a warning."""
    logger = logging.getLogger("trimtab.training")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


HEAD = """# Training

`trimtab train METHOD --model M --data FILE --output DIR` makes a policy, a LoRA adapter, a reward model or a correction
model, in a directory that `trimtab serve` loads. `pip install ".[train]"` brings what it needs beside the base install:
adapters (peft), data sets other than JSONL, TensorBoard and the picture of a run.

```bash
trimtab train dpo --data pairs.jsonl --output runs/dpo --dry-run   # settings, sizes, the first example, memory; writes nothing
trimtab train dpo --data pairs.jsonl --eval-data held_out.jsonl --output runs/dpo --lora-r 16
trimtab serve runs/dpo
```
"""

RUNNING = """## A run

Flag > environment (`TRIMTAB_TRAIN_` and the flag's name) > file (`--config run.yaml`, the same keys) > default. An
unknown key is an error. What `--dry-run` prints first is such a file, with everything that the method chose. Relative
paths start from the working directory. `--config lima.yaml`, which ships, holds how LIMA was trained.

The output directory holds the weights as safetensors, the tokenizer with its template, a generation config with the end
tokens, `trimtab.yaml` (how it is served), `training.json` (how it was made), `metrics.jsonl`, `report.html` and
`training.png`; with `--save-steps` also `checkpoints/`, from which `--resume` goes on exactly where the run stopped.
With `--eval-data` the run is evaluated at its end: `eval_loss`, and where answers are ordered `eval_accuracy` with
`eval_length_accuracy` (what "the shorter answer wins" would score), intervals, and for pairs a bag of words trained on
the same data.

A run stops rather than go on wrongly: a loss or gradient that is not finite ends it before the weights see it, and the
message names the rows; malformed rows end it, each with its line and reason, unless `--max-bad-rows` allows them; an
output directory that is in use or not empty is refused; a full disk leaves the checkpoint before.

Normalisation is over the whole optimizer step: `--batch-size 8` and `--batch-size 2 --grad-accum 4` and two processes
of `--batch-size 4` compute the same step (but for `kto`, whose drift is that of a micro-batch). Losses are sums over
items (tokens, pairs, lists), divided once.

Where the model's attention allows it, nothing is padded: a prompt is read once for all its answers, and what all prompts of
a micro-batch begin with, such as a system prompt, once for all of them. Long system prompts and large micro-batches gain most.

## Several processes

```bash
accelerate launch --num_processes 2 -m trimtab train dpo --data pairs.jsonl --output runs/dpo
accelerate launch --num_processes 8 -m trimtab train dpo --data pairs.jsonl --output runs/dpo \\
    --accelerate-config fsdp.json
```
The first is data-parallel. Three files that ship (`training/configs`) shard over GPUs: `fsdp.json`,
`deepspeed_zero2.json`, `deepspeed_zero3.json` (DeepSpeed is installed apart); a file of your own is named by its path.

Not run here: GPUs, QLoRA (`--lora-base-bits 4`), FSDP, DeepSpeed, several machines, the hub. The sharding settings are
parsed in the tests; data-parallel training is tested with two processes on CPU.

## From data to a served model

| made by | served as | how |
| --- | --- | --- |
| a policy | the model itself | `trimtab serve runs/sft` |
| a policy with `--lora-r` | its base, with the adapter beside it under the run's name | `trimtab serve runs/dpo` |
| `reward`, `value`, `choice` | what judges ask | `--role reward=runs/rm --align '{"kind": "best_of_n", "value": "reward"}'` |
| `aligner` | the model behind the strategy `aligner` | `trimtab serve MODEL --role aligner=runs/aligner --align aligner` |

`trimtab serve runs/rm` and `trimtab serve runs/aligner` serve the default model with the run in its role. The usual
order of RLHF is `sft`, then `reward` on pairs, then a method that samples, or in place of the last two one of the DPO
family.

Methods that sample (`ppo`, `rloo`, `grpo`, `rest`) draw their answers from the engine that also serves: the transformers
engine in this process, or with `--server URL` a running Trimtab server, which gets every new set of weights and must find
it under the same path (`--server-model NAME` where it calls the policy otherwise; TRIMTAB_API_KEY, a key with the scope
`admin`). `--set reward=DIR` names the reward model, which always runs here.
"""

DATA_HEAD = """## Data

JSONL, one object a line; Parquet, a folder written by `datasets`, or a hub id with the extra `train`. A prompt that is
a string is plain text and never passes a chat template; a prompt of turns always does, and so is what a chat model
should be trained on. Columns decide the form; every row may have an `id` and a `weight`.
"""

DATA_TAIL = """A prompt with one answer has at most `--max-length` tokens: longer answers lose their end, an example whose
prompt fills the length is left out, and both are counted. The end of a turn is part of what is learned.
"""

SURVEY_HEAD = """## The survey's formulas

The survey that these methods follow prints some formulas otherwise than the papers. Where they differ the paper is
implemented.
"""


def page() -> str:
    """docs/training.md."""
    parts = [
        HEAD,
        "## Methods\n\n" + methods_table(""),
        RUNNING,
        DATA_HEAD,
        forms_table(),
        DATA_TAIL,
        "## Settings\n\n" + settings_table(),
        "## Each method",
        *(method_section(kind, config) for kind, config in methods().items()),
        SURVEY_HEAD,
        table(("where", "as printed", "implemented here"), SURVEY),
    ]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"
