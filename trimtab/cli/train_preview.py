"""What `trimtab train --dry-run` shows of a run: settings, sizes, the first example of each phase, and the memory needed."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import yaml
from rich.text import Text

from trimtab.cli.train_online import answered, rollouts_told
from trimtab.training.arguments import training_arguments
from trimtab.training.data.examples import Branch, Example
from trimtab.training.methods.base import Method
from trimtab.training.methods.catalogue import PRESETS
from trimtab.training.methods.online import OnlineConfig, PpoConfig
from trimtab.training.networks import Scorer, bare
from trimtab.training.preparing import Prepared, prepare
from trimtab.training.reports.preview import (
    MemoryEstimate,
    checkpointed_memory_estimate,
    memory_estimate,
    render_example,
)
from trimtab.training.settings import TrainSettings

Part = Text | str


def preview(settings: TrainSettings, *, resume: bool, tell: Callable[[str], None]) -> list[Part]:
    """Everything that is shown, in order; nothing is written. Raises what a run would raise before its first step."""
    arguments = training_arguments(settings)
    prepared = prepare(settings, arguments.world_size, tell=tell)
    return [
        Text("# settings, as a file for --config", "bold"),
        resolved(settings, prepared.method, arguments.learning_rate),
        *_section("output", _output(settings, resume)),
        *_section("parameters", _parameters(prepared)),
        *_section("data", _data(settings, prepared, arguments.world_size)),
        *first_examples(prepared),
        *_section("memory of a step, float32 (the interpreter and its libraries come on top)", _memory(settings, prepared)),
    ]


def resolved(settings: TrainSettings, method: Method, lr: float) -> str:
    """The settings with what the method chose where they said nothing, as YAML that `--config` reads."""
    epochs = settings.epochs if settings.epochs is not None else PRESETS[method.kind].epochs
    parameters = {name: value for name, value in _parameters_of(method).items() if name != "kind"}
    whole = settings.model_copy(update={"parameters": parameters, "lr": lr, "epochs": epochs})
    tree = whole.model_dump(mode="json", exclude_none=True)
    return str(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True))


def _parameters_of(method: Any) -> dict[str, Any]:
    found: dict[str, Any] = method.model_dump(mode="json")
    return found


def _section(title: str, lines: Sequence[str]) -> list[Part]:
    return [Text(f"# {title}", "bold"), "\n".join((*lines, ""))]


def _output(settings: TrainSettings, resume: bool) -> list[str]:
    folder = settings.output
    held = folder.is_dir() and any(folder.iterdir())
    if held and not resume:
        return [f"{folder} is not empty: a run would refuse it; give a new directory, or --resume"]
    return [f"{folder} would {'be resumed' if resume else 'be filled' if folder.exists() else 'be made'}"]


def _parameters(prepared: Prepared) -> list[str]:
    trainable, every = prepared.loaded.parameters
    shape = type(bare(prepared.loaded.network)).__name__
    reading = "once for all answers" if prepared.loaded.shares_prompts else "again for each answer, padded"
    return [f"{trainable:,} of {every:,} learn ({trainable / every:.2%}); {shape}", f"prompts are read {reading}"]


def _data(settings: TrainSettings, prepared: Prepared, processes: int) -> list[str]:
    step = settings.batch_size * settings.grad_accum * processes
    lines = [f"{len(prepared.rows.rows)} rows, {len(prepared.rows.bad)} malformed ones skipped"]
    for number, made in enumerate(prepared.sets, 1):
        phase = f"phase {number}: " if len(prepared.sets) > 1 else ""
        lines.append(f"{phase}{len(made.examples)} examples, {len(made.dropped)} left out, {made.cut} cut to max_length")
    if isinstance(prepared.method, OnlineConfig):
        lines.append(rollouts_told(settings, prepared))
    else:
        lines.append(f"{len(prepared.order)} examples in {math.ceil(len(prepared.order) / step)} steps of up to {step}")
    if settings.eval_data is not None:
        lines.append(f"{len(prepared.held_out)} held-out examples")
    if prepared.method.needs_reference:
        lines.append("the reference is this model as it is: its log-probabilities are computed once, before the first step")
    return lines


def first_examples(prepared: Prepared) -> Iterator[Part]:
    """The first example of each phase, a coloured text for each of its branches."""
    tokenizer = prepared.loaded.tokenizer
    for number, made in enumerate(prepared.sets, 1):
        first = made.examples[0]
        phase = f" of phase {number}" if len(prepared.sets) > 1 else ""
        yield Text(f"# first example{phase} (line {first.line}); what counts is coloured", "bold")
        if not first.branches:
            yield render_branch(tokenizer, first, Branch(()))
            yield ""
        for place, branch in enumerate(first.branches, 1):
            if len(first.branches) > 1:
                yield Text(f"## answer {place} of {len(first.branches)}{_said(branch)}", "bold")
            yield render_branch(tokenizer, first, branch)
            yield ""


def _said(branch: Branch) -> str:
    score = "" if branch.score is None else f", score {branch.score:g}"
    return score + ("" if branch.label is None else f", {'wanted' if branch.label else 'unwanted'}")


def render_branch(tokenizer: Any, example: Example, branch: Branch) -> Text:
    """A prompt and one answer with the answer's mask."""
    ids = (*example.prompt, *branch.ids)
    weights = branch.weights if branch.weights is not None else (1.0,) * len(branch.ids)
    return render_example(pieces(tokenizer, ids), weights, counted_from=len(example.prompt))


def pieces(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """The text of each token, read behind the token before it: some tokenizers write the space of a word only there."""

    def text(some: Sequence[int]) -> str:
        return str(tokenizer.decode(list(some), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    found = [text(ids[:1])]
    for place in range(1, len(ids)):
        before, both = text(ids[place - 1 : place]), text(ids[place - 1 : place + 1])
        found.append(both[len(before) :] if both.startswith(before) else text(ids[place : place + 1]))
    return found


def _memory(settings: TrainSettings, prepared: Prepared) -> list[str]:
    lines = [*step_memory(settings, prepared).describe()]
    if isinstance(prepared.method, OnlineConfig):
        lines.append("the engine that samples and the reward model come on top")
    if isinstance(prepared.method, PpoConfig) and prepared.method.value == "copy":
        lines.append("and so does the value model, which takes about as much again")
    return lines


def step_memory(settings: TrainSettings, prepared: Prepared) -> MemoryEstimate:
    """The memory of the step whose micro-batch is the largest."""
    network = bare(prepared.loaded.network)
    config = network.config.get_text_config()
    trainable, every = prepared.loaded.parameters
    estimate = checkpointed_memory_estimate if settings.checkpointing else memory_estimate
    return estimate(
        parameters=every,
        trainable=trainable,
        positions=most_positions(_longest(prepared), settings.batch_size, _shares(settings, prepared)),
        vocabulary=1 if isinstance(prepared.loaded.module, Scorer) else config.vocab_size,
        hidden=config.hidden_size,
        layers=config.num_hidden_layers,
        intermediate=getattr(config, "intermediate_size", None) or 4 * config.hidden_size,
    )


def _longest(prepared: Prepared) -> Sequence[Example]:
    return answered(prepared) if isinstance(prepared.method, OnlineConfig) else prepared.order


def _shares(settings: TrainSettings, prepared: Prepared) -> bool:
    return settings.share_prompts and prepared.loaded.shares_prompts


def most_positions(order: Sequence[Example], batch_size: int, share_prompts: bool) -> int:
    """Tokens of the largest micro-batch; where prompts are not shared, those of rows padded to the longest."""
    batches = (order[start : start + batch_size] for start in range(0, len(order), batch_size))
    if share_prompts:
        return max(sum(example.tokens for example in batch) for batch in batches)
    return max(len(rows) * max(rows) for batch in batches if (rows := [one.tokens for e in batch for one in e.apart()]))
