"""The flags of `trimtab train`, one for each key of its settings.

Their help repeats the settings' own words, because importing those would bring torch into every command; tests compare them.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

METHODS = (
    "sft",
    "reward",
    "value",
    "dpo",
    "ipo",
    "kto",
    "orpo",
    "simpo",
    "slic",
    "rrhf",
    "pro",
    "pl",
    "cpl",
    "coh",
    "second_thoughts",
    "stable",
    "safe_align",
    "aligner",
    "reward_weighted",
    "choice",
    "ppo",
    "rloo",
    "grpo",
    "rest",
)
ONLINE = ("ppo", "rloo", "grpo", "rest")
"""Those that sample answers while they train."""

RUN, DATA, LOOP, ADAPTER = "Run", "Data and model", "Optimisation", "LoRA (any of these trains an adapter)"
COST, TOLD, SAMPLED = "Memory and speed", "Metrics and checkpoints", "Methods that sample (ppo, rloo, grpo, rest)"


def _option(
    panel: str, text: str, *names: str, default: str = "", metavar: str | None = None, envvar: str | None = None
) -> Any:
    """default: of the settings, shown behind the text; the flag's own is that nothing was said."""
    return typer.Option(
        *names,
        help=text,
        metavar=metavar,
        envvar=envvar,
        rich_help_panel=panel,
        show_envvar=False,
        show_default=default or False,
    )


MethodName = Annotated[str | None, typer.Argument(metavar="METHOD", help=f"One of: {', '.join(METHODS)}.")]
Config = Annotated[
    Path | None, _option(RUN, "YAML file with the same keys as the flags; lima.yaml ships with Trimtab.", metavar="FILE")
]
Parameters = Annotated[
    list[str] | None,
    _option(
        RUN, "The method's own parameters, e.g. beta. Repeatable; docs/training.md lists them.", "--set", metavar="KEY=VALUE"
    ),
]
Resume = Annotated[bool, _option(RUN, "Go on with the run in the output directory from its last checkpoint.", "--resume")]
DryRun = Annotated[
    bool,
    _option(RUN, "Show settings, sizes, the first example with its mask and the memory needed; write nothing.", "--dry-run"),
]
Output = Annotated[Path | None, _option(RUN, "Directory of the run; new or empty, or a run to resume.", metavar="DIR")]

Model = Annotated[
    str | None,
    _option(
        DATA, "Hugging Face id, directory, `.gguf` file or catalogue alias.", metavar="MODEL", default="smollm2-135m-instruct"
    ),
]
Data = Annotated[
    str | None,
    _option(DATA, "JSONL file, dataset directory or hub id; methods that sample read their prompts there.", metavar="SOURCE"),
]
EvalData = Annotated[
    str | None, _option(DATA, "The same, held out: evaluated at the end, and every `eval_steps`.", metavar="SOURCE")
]
MaxBadRows = Annotated[
    int | None,
    _option(DATA, "How many malformed rows are skipped (each is reported) before the run stops.", metavar="N", default="0"),
]
ChatTemplate = Annotated[
    Path | None, _option(DATA, "File with a Jinja template in place of the tokenizer's own.", metavar="FILE")
]
AcceptLicences = Annotated[
    list[str] | None,
    _option(
        DATA, "Licences accepted beforehand, e.g. gemma.", "--accept-licence", metavar="NAME", envvar="TRIMTAB_ACCEPT_LICENCE"
    ),
]
MaxLength = Annotated[
    int | None,
    _option(
        DATA,
        "Tokens of a prompt with one answer; longer answers lose their end, longer prompts their example.",
        metavar="N",
        default="1024",
    ),
]

MaxSteps = Annotated[int | None, _option(LOOP, "Optimizer steps; default as many as `epochs` makes.", metavar="N")]
Epochs = Annotated[float | None, _option(LOOP, "Passes over the data; default by method.", metavar="X")]
BatchSize = Annotated[
    int | None, _option(LOOP, "Examples (pairs, lists) of a micro-batch, on each process.", metavar="N", default="4")
]
GradAccum = Annotated[
    int | None,
    _option(LOOP, "Micro-batches of an optimizer step; normalisation is over the whole step.", metavar="N", default="1"),
]
Lr = Annotated[
    float | None,
    _option(LOOP, "Peak learning rate; default by method, ten times as much with an adapter.", metavar="X"),
]
Scheduler = Annotated[
    Literal["linear", "cosine", "constant", "constant_with_warmup"] | None, _option(LOOP, "How it falls.", default="linear")
]
LrEnd = Annotated[float | None, _option(LOOP, "Where a linear fall ends; default 0.", metavar="X")]
WarmupRatio = Annotated[float | None, _option(LOOP, "Share of the steps over which it rises.", metavar="X", default="0.03")]
WeightDecay = Annotated[float | None, _option(LOOP, "AdamW's.", metavar="X", default="0.0")]
AdamBeta2 = Annotated[float | None, _option(LOOP, "AdamW's second moment.", metavar="X", default="0.999")]
MaxGradNorm = Annotated[float | None, _option(LOOP, "Longest gradient; 0 = any.", metavar="X", default="1.0")]
Seed = Annotated[int | None, _option(LOOP, "Of the order of data, adapters, heads and samples.", metavar="N", default="0")]
Shuffle = Annotated[
    bool | None, _option(LOOP, "Whether the data are shuffled anew every pass.", "--shuffle/--no-shuffle", default="shuffle")
]

LoraR = Annotated[int | None, _option(ADAPTER, "Rank.", metavar="N", default="16")]
LoraAlpha = Annotated[int | None, _option(ADAPTER, "Scale: the update is multiplied by alpha / r.", metavar="N", default="32")]
LoraDropout = Annotated[
    float | None,
    _option(
        ADAPTER, "Dropout before the adapter; 0 for every method that compares with a reference.", metavar="X", default="0.0"
    ),
]
LoraTargets = Annotated[
    list[str] | None,
    _option(ADAPTER, "Names of the linear layers; default all but the head.", "--lora-target", metavar="NAME"),
]
LoraBaseBits = Annotated[
    int | None,
    _option(
        ADAPTER, "4: the frozen weights are held in NF4 (QLoRA; needs bitsandbytes and a GPU).", metavar="4|16", default="16"
    ),
]

Dtype = Annotated[
    Literal["auto", "float32", "bfloat16"] | None,
    _option(
        COST,
        "Of the computation; weights, optimizer and losses stay float32. auto: bfloat16 on GPUs that have it, else float32.",
        default="auto",
    ),
]
SaveDtype = Annotated[
    Literal["float32", "bfloat16"] | None,
    _option(
        COST,
        "Of the weights in the result; checkpoints are float32. bfloat16 is half as large and may round small updates away.",
        default="float32",
    ),
]
Checkpointing = Annotated[
    bool | None,
    _option(
        COST,
        "Recompute activations in the backward pass: about a third slower, a fraction of the memory.",
        "--checkpointing/--no-checkpointing",
        default="no-checkpointing",
    ),
]
SharePrompts = Annotated[
    bool | None,
    _option(
        COST,
        "Where the model allows it, read a prompt once for its answers, and the prompts' common start once: the same, faster.",
        "--share-prompts/--no-share-prompts",
        default="share-prompts",
    ),
]
Threads = Annotated[int | None, _option(COST, "CPU threads; default torch's own.", metavar="N")]
ReferenceCache = Annotated[
    Path | None,
    _option(COST, "Where reference log-probabilities are kept; default the models' cache.", metavar="DIR"),
]
RecomputeReference = Annotated[
    bool | None,
    _option(COST, "Compute them anew.", "--recompute-reference/--no-recompute-reference", default="no-recompute-reference"),
]
AccelerateConfig = Annotated[
    Path | None,
    _option(
        COST,
        "An FSDP or DeepSpeed settings file for transformers (JSON), e.g. one of `training/configs`.",
        metavar="FILE",
    ),
]

LoggingSteps = Annotated[int | None, _option(TOLD, "Steps between lines of metrics.", metavar="N", default="1")]
EvalSteps = Annotated[int | None, _option(TOLD, "Steps between evaluations; default at the end alone.", metavar="N")]
SaveSteps = Annotated[int | None, _option(TOLD, "Steps between checkpoints; default none but the end's result.", metavar="N")]
SaveTotalLimit = Annotated[int | None, _option(TOLD, "Checkpoints kept.", metavar="N", default="2")]
EarlyStoppingPatience = Annotated[
    int | None,
    _option(
        TOLD,
        "Evaluations without a better eval_loss after which the run stops; the best checkpoint becomes the result.",
        metavar="N",
    ),
]
Tensorboard = Annotated[
    bool | None,
    _option(TOLD, "Write TensorBoard events beside the metrics.", "--tensorboard/--no-tensorboard", default="no-tensorboard"),
]

Server = Annotated[
    str | None,
    _option(SAMPLED, "A running server that samples and takes new weights; without it an engine here does.", metavar="URL"),
]
ServerModel = Annotated[
    str | None, _option(SAMPLED, "What the server calls the policy; default as --model says.", metavar="NAME")
]
