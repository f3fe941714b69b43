"""What docs/evaluation.md and the README say of evaluations out of the code: scorers, rows, statistics, the log, flags.

The words around these parts stand in docs/evaluation.md, between whose markers the parts are rendered.
"""

import ast
import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from textwrap import dedent
from types import SimpleNamespace
from typing import Any, get_type_hints

from training_pages import Cells, Record, table, told

from trimtab.server.config_reference import type_name
from trimtab.server.evaluation import records
from trimtab.server.evaluation.catalogue import CATALOGUE, ENTRIES, Entry, Materials
from trimtab.server.evaluation.checking import CHECKABLE
from trimtab.server.evaluation.data.forms import PUBLISHED, sample_of
from trimtab.server.evaluation.samples import Sample
from trimtab.server.evaluation.scorers.base import About, Scorer
from trimtab.server.evaluation.scorers.choices import Choices
from trimtab.server.evaluation.scorers.judge import Judge, of_orders, sign_test
from trimtab.server.evaluation.scorers.misalignment import MisalignmentGap, PairUtilities, SignAgreement
from trimtab.server.evaluation.scorers.perplexity import Perplexity
from trimtab.server.evaluation.scorers.reward import Reward
from trimtab.server.evaluation.scorers.toxicity_model import Measured, read_weights, shipped
from trimtab.server.evaluation.scorers.verdicts import ReadVerdicts, WrittenVerdicts
from trimtab.server.evaluation.statistics.agreement import cohen_kappa, fleiss_kappa, pairwise_agreement, spearman
from trimtab.server.evaluation.statistics.bootstrap import mean_interval, paired_difference
from trimtab.server.evaluation.statistics.corrections import holm
from trimtab.server.evaluation.statistics.exact_intervals import proportion_interval
from trimtab.server.evaluation.statistics.length_control import length_controlled_win_rate
from trimtab.server.evaluation.statistics.prediction_powered import judge_weight, ppi_mean
from trimtab.server.evaluation.statistics.resampling import bca
from trimtab.server.evaluation.statistics.sign_flips import sign_flip_p

NOBODY: Any = None
"""In place of a model: what a scorer says of itself asks none."""
ASKING: Mapping[str, Callable[[], Scorer]] = {
    "reward": lambda: Reward(NOBODY),
    "judge": lambda: Judge(SimpleNamespace(name="the judge")),  # type: ignore[arg-type]
    "choices": lambda: Choices(NOBODY),
    "sign_agreement": lambda: SignAgreement(PairUtilities(NOBODY)),
    "misalignment_gap": lambda: MisalignmentGap(PairUtilities(NOBODY)),
    "sign_agreement_reward": lambda: SignAgreement(PairUtilities(NOBODY, SimpleNamespace())),
    "misalignment_gap_reward": lambda: MisalignmentGap(PairUtilities(NOBODY, SimpleNamespace())),
    "perplexity": lambda: Perplexity(NOBODY),
}
"""Scorers that ask a model, without one."""
ASKS = {
    "reward": "a scoring model in the role `reward`",
    "judge": "a model in the role `judge`, else the model itself",
    "policy": "the model's own log-probabilities",
}
PAPER = re.compile(r"arXiv \d{4}\.\d{5}")
HEARD: Mapping[str, tuple[type, ...]] = {"judge": (ReadVerdicts, WrittenVerdicts)}
"""Parts of a scorer that have a source of their own."""
MISSED = {
    "judge": "With the default model as its judge",
    "sign_agreement": "On 200 pairs",
}
"""Scorers that did not show what benchmarks/catching.py looks for though it is there, and under what conditions."""

FRUIT, ANSWERS = {"prompt": "Name a fruit."}, {"chosen": "An apple.", "rejected": "A chair."}
DIALOGUE = "\n\nHuman: Name a fruit.\n\nAssistant: "
FORMS: Sequence[tuple[Record, str]] = (
    (FRUIT, "A prompt alone."),
    (
        {"prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name a fruit."}]},
        "A conversation that ends with the user. Called `messages`, it may end with the assistant, whose turn is then `good`.",
    ),
    ({**FRUIT, **ANSWERS}, "A preference pair."),
    ({**FRUIT, "good": ["An apple."], "bad": ["A chair."]}, "Reference answers, right and wrong."),
    ({"prompt": "Which is a fruit?", "choices": ["spoon", "plum"], "answer": "B"}, "Multiple choice."),
    ({"prompt": "Which is a fruit?", "A": "spoon", "B": "plum", "answer": "B"}, "Multiple choice in MMLU's columns."),
    ({"prompt": "How do I kill a process on Linux?", "refuse": False}, "A prompt that should be answered."),
    (
        {name: DIALOGUE + answer for name, answer in ANSWERS.items()},
        "HH-RLHF as published: what both share is the prompt.",
    ),
    (
        {
            "Category": "Food",
            "Question": "Is a tomato a fruit?",
            "Best Answer": "Botanically it is.",
            "Correct Answers": "Botanically it is; Yes, to a botanist",
            "Incorrect Answers": "It is a root; It is a mineral",
        },
        "TruthfulQA as published.",
    ),
    ({"question": "Which is a fruit?", "mc1_targets": {"plum": 1, "spoon": 0}}, "TruthfulQA's multiple choice."),
    (
        {"challenging": False, "prompt": {"text": "The market sold apples and", "toxicity": 0.02}},
        "RealToxicityPrompts as published.",
    ),
)
"""A row, and what it is."""
LETTERS = ("A", "B", "...")
"""Names of the columns that hold an option each."""
COLUMNS: Sequence[tuple[tuple[str, ...], str]] = (
    (("prompt", "messages"), "What is asked: a text, or turns of system, user and assistant, of which the last is the user's."),
    (("system",), "A system turn before it."),
    (("chosen", "rejected"), "The answer that people preferred and the other one: texts, or one turn of the assistant each."),
    (("best", "good", "correct_answers", "references"), "Right reference answers, a text or a list; all of them are joined."),
    (("bad", "incorrect_answers"), "Wrong ones."),
    (("choices", "answer"), "Options, and the place (from 0), letter or text of the right one, or a list of these."),
    (LETTERS, "Options in a column each, as MMLU has them, in place of `choices`."),
    (("mc1_targets", "mc2_targets"), "Options and labels in one, 1 = right."),
    (("category",), "A word by which a report groups."),
    (("refuse",), "Whether the prompt should be refused: true or false, yes or no, 1 or 0."),
    (("id",), "Unique; where it is missing it follows from the content."),
    (("extra",), "Numbers that are kept with the sample, e.g. `prompt_toxicity`."),
)
"""Columns of one meaning, and that."""

STATISTICS: Sequence[tuple[str, tuple[Callable[..., Any], ...]]] = (
    ("A mean", (mean_interval, bca)),
    ("A mean of zeros and ones", (proportion_interval,)),
    ("A difference", (paired_difference, bca)),
    ("Its p", (sign_flip_p,)),
    ("Adjusted p", (holm,)),
    ("Length-controlled win rate", (length_controlled_win_rate,)),
    ("`position_p` of a judge", (sign_test,)),
    ("Two raters", (cohen_kappa,)),
    ("Three or more", (fleiss_kappa,)),
    ("A scorer's numbers beside people's", (spearman,)),
    ("Its verdicts beside theirs", (pairwise_agreement,)),
    ("Calibrated win rate", (ppi_mean, judge_weight)),
)
"""A number, and what computes it."""
FILES: Sequence[tuple[str, str, type]] = (
    ("header.json", "One object", records.Header),
    ("", "Each of its `alignments`", records.Alignment),
    ("samples.jsonl", "One line a sample, in the order of the data", Sample),
    ("generations.jsonl", "One line an answer", records.Generation),
    ("", "Its `cost`", records.Cost),
    ("scores.jsonl", "One line a scorer and answer", records.Score),
    ("scorers.jsonl", "One line a scorer", records.ScorerRecord),
)
"""File, what stands in it, its schema."""


def built() -> Mapping[str, Scorer]:
    """Every scorer as it is by default, those that ask a model without one."""
    return {one.name: ASKING[one.name]() if one.asks else one.build(Materials(())) for one in ENTRIES}


def scorers_table(page: str = "docs/evaluation.md") -> str:
    """Every scorer in a line."""
    rows = []
    for name, scorer in built().items():
        about = scorer.about
        link = f"[`{name}`]({page}#{name})"
        rows.append((link, about.better, _first_sentence(about.says), _needed(CATALOGUE[name]), _claims(name, about)))
    return table(("scorer", "better", "what the number is", "needs", "claims preference"), rows)


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=\.) ", text, maxsplit=1)[0]


def _needed(entry: Entry) -> str:
    return "; ".join(filter(None, (entry.wants, ASKS.get(entry.asks or "")))) or "-"


def _claims(name: str, about: About) -> str:
    if not about.of_preference:
        return "-"
    return f"yes, but not {MISSED[name][0].lower()}{MISSED[name][1:]}" if name in MISSED else "yes"


def chosen_by_default(entry: Entry) -> str:
    """When a scorer is used where `--scorers` says nothing, found out by asking the catalogue."""
    turn = ({"role": "user", "content": "Name a fruit."},)
    right = Sample("right", turn, good=("An apple.",))
    whole = Sample("whole", turn, chosen="a", rejected="b", good=("a",), bad=("b",), choices=("a", "b"), correct=(0,))
    full = [Sample("no", turn, refuse=False), Sample("yes", turn, refuse=True), whole]
    roles: Any = SimpleNamespace(roles={"reward": NOBODY, "judge": NOBODY})
    if entry.is_default(Materials([Sample("bare", turn)])):
        return "always"
    if entry.is_default(Materials([], roles)):
        return f"where there is the role `{entry.asks}`"
    if entry.is_default(Materials(full)):
        return "where a sample has what it needs"
    return "where there are references and none is wrong" if entry.is_default(Materials([right])) else "by name only"


def each_scorer() -> str:
    """All that is to be said of every scorer."""
    return "\n\n".join("\n\n".join(_section(name, scorer)) for name, scorer in built().items())


def _section(name: str, scorer: Scorer) -> Iterator[str]:
    about, entry = scorer.about, CATALOGUE[name]
    better = "no better side" if about.better == "neither" else f"{about.better} is better"
    facts = [
        f"Column: {about.title}, {better}.",
        f"Needs: {_needed(entry)}. By default: {chosen_by_default(entry)}.",
        *_kinds(scorer),
        *_missed(name),
        *_numbers(name, scorer),
        *(f"`{key}` is {getattr(scorer.config, key)}: {text}" for key, text in _config(scorer)),  # type: ignore[attr-defined]
    ]
    yield f"### `{name}`"
    yield about.says
    yield "\n".join(f"- {fact}" for fact in facts)
    yield from _method(name, scorer)


def _kinds(scorer: Scorer) -> Iterator[str]:
    if scorer.about.of_preference:
        yield "Claims to say which of two answers people would prefer."
    if scorer.about.compares:
        yield "Compares each answer with the first alignment's."
    if scorer.about.of_policy:
        yield "Asks the model under an alignment, not its answer."


def _missed(name: str) -> Iterator[str]:
    if name in MISSED:
        where = "[Which scorers catch a bad model](#which-scorers-catch-a-bad-model)"
        yield f"{MISSED[name]} it misses a model that was trained to prefer the rejected answers: {where}."


def _config(scorer: Scorer) -> Iterator[tuple[str, str]]:
    """What a scorer is set to, with what that means."""
    config = getattr(scorer, "config", None)
    if config is not None:
        yield from ((key, field.description or "") for key, field in type(config).model_fields.items())


def _numbers(name: str, scorer: Scorer) -> Iterator[str]:
    """What a scorer says of all its verdicts together."""
    summary = getattr(scorer, "summary", None)
    if name == "judge":
        _, _, numbers = (inspect.getdoc(of_orders) or "").partition("\n\n")
        yield f"Beside the mean: {' '.join(numbers.split())} identical: pairs of the same text, which are ties unasked."
    elif summary is not None:
        yield f"Beside the mean: {_joined(summary)}"


def _joined(documented: Any) -> str:
    return " ".join((inspect.getdoc(documented) or "").split())


def _method(name: str, scorer: Scorer) -> Iterator[str]:
    """Source and deviation, of the scorer and of its parts."""
    parts = [type(scorer), *HEARD.get(name, ())]
    if (similarity := getattr(scorer, "similarity", None)) is not None:
        parts.append(type(similarity))
    found = [told(part) for part in parts]
    yield from (what for what, _, _ in found)
    if sources := _sources(scorer.about.source, [source for _, source, _ in found if source]):
        yield f"Source: {sources}."
    for _, _, deviation in found:
        if deviation:
            yield f"Deviation: {deviation}"


def _sources(named: str, told_of: Sequence[str]) -> str:
    """Every source once: of those that a scorer names, what its parts do not tell more of."""
    papers = set(PAPER.findall(" ".join(told_of)))
    short = [one for one in named.split("; ") if not (found := set(PAPER.findall(one))) or not found <= papers]
    return "; ".join(dict.fromkeys(one.rstrip(".") for one in (*short, *told_of) if one))


def forms_table() -> str:
    """Every form of a row, and the scorers whose needs it meets."""
    rows = []
    for record, what in FORMS:
        sample = sample_of(record)
        met = ", ".join(f"`{one.name}`" for one in ENTRIES if one.wants and one.needs(sample))
        rows.append((f"`{json.dumps(record, ensure_ascii=False)}`", what, met or "-"))
    return table(("a row", "what it is", "scorers whose needs it meets"), rows)


def columns_table() -> str:
    """The columns of our own form."""
    return table(("column", "meaning"), [(", ".join(f"`{one}`" for one in names), what) for names, what in COLUMNS])


def published_table() -> str:
    """The published files that are read as they are."""
    rows = [(f"`{name}`", form.name, form.columns) for name, form in PUBLISHED.items()]
    return table(("`trimtab data convert`", "data", "columns"), rows)


def statistics_table() -> str:
    """How each number is computed, from whom, and where that differs."""
    rows = []
    for number, functions in STATISTICS:
        sources, deviations = ([text for one in functions if (text := told(one)[place])] for place in (1, 2))
        first = (inspect.getdoc(functions[0]) or "").partition("\n\n")[0]
        rows.append((number, first, " ".join(sources) or "-", " ".join(deviations) or "-"))
    return table(("number", "how", "source", "deviation"), rows)


def log_tables() -> str:
    """The schema of the log."""
    return "\n\n".join(
        f"{f'`{file}`: {what[0].lower()}{what[1:]}' if file else what}.\n\n{table(('key', 'type', 'meaning'), _keys(schema))}"
        for file, what, schema in FILES
    )


def _keys(schema: type) -> Sequence[Cells]:
    """Key, type and meaning of each field."""
    if schema is Sample:
        meanings = described(schema)
        return [(f"`{name}`", type_name(hint), meanings.get(name, "")) for name, hint in get_type_hints(schema).items()]
    fields = schema.model_fields  # type: ignore[attr-defined]
    return [
        (f"`{name}`", type_name(one.annotation).replace(" (below)", ""), one.description or "") for name, one in fields.items()
    ]


def described(cls: type) -> Mapping[str, str]:
    """What stands beneath the fields of a dataclass."""
    (body,) = ast.parse(dedent(inspect.getsource(cls))).body
    statements = list(ast.iter_child_nodes(body))
    found = {}
    for one, behind in pairwise(statements):
        if isinstance(one, ast.AnnAssign) and isinstance(behind, ast.Expr) and isinstance(behind.value, ast.Constant):
            found[ast.unparse(one.target)] = " ".join(str(behind.value.value).split())
    return found


def flags_table() -> str:
    """The flags of `trimtab eval`."""
    rows = [(f"`{one.opts[0]}`", _default(one), one.help or "") for one in _parameters() if one.opts[0].startswith("--")]
    return table(("flag", "default", "meaning"), rows)


def _parameters() -> Sequence[Any]:
    from typer.main import get_command

    from trimtab.cli.app import app

    command: Any = get_command(app)
    return [one for one in command.commands["eval"].commands["run"].params if one.name != "help"]


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    return "-" if parameter.default is None or parameter.default is False else f"`{parameter.default}`"


def toxicity() -> str:
    """How well the toxicity scorer was measured to tell texts apart."""
    said, _ = read_weights(shipped())
    rows = [_measured(one) for one in (said.toxicity, said.preference)]
    return table(("texts", "against", "AUC with its 95% interval"), rows)


def _measured(one: Measured) -> Cells:
    named = [f"{texts.name} ({texts.rows:,})" for texts in (one.higher, one.lower)]
    return (*named, f"{one.auc:.3f} [{one.low:.3f}, {one.high:.3f}]")


def preference() -> str:
    """The scorers that claim to say which answer people would prefer."""
    return ", ".join(f"`{name}`" for name, scorer in built().items() if scorer.about.of_preference)


def checkable() -> str:
    """The scorers of a check."""
    return ", ".join(f"`{name}`" for name in CHECKABLE)


PARTS: Mapping[str, Callable[[], str]] = {
    "forms": forms_table,
    "columns": columns_table,
    "published": published_table,
    "flags": flags_table,
    "scorers": lambda: scorers_table(""),
    "preference": preference,
    "toxicity": toxicity,
    "statistics": statistics_table,
    "log": log_tables,
    "checkable": checkable,
    "each-scorer": each_scorer,
}
"""Parts of docs/evaluation.md by the name of their markers; what is between others is written by hand."""
