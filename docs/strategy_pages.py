"""What docs/strategies.md says of each strategy: its own words, its parameters, what it was measured to cost, and an example.

The texts come from the catalogue; an example is data here, and every form of it (curl, Python, terminal) is made from the same
`alignment` object.
"""

import inspect
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

COSTS = Path(__file__).resolve().parent / "strategy_costs.json"
"""What `benchmarks/cost.py` measured."""
MODEL = "smollm2-135m-instruct"
URL = "http://127.0.0.1:8000"


@dataclass(frozen=True, slots=True)
class Example:
    """A call that shows what a strategy is for."""

    alignment: Mapping[str, Any]
    """The request's `alignment` object."""
    question: str
    """What the user asks."""
    note: str = ""
    """What must be there before it works, or what to look at."""
    served: bool = False
    """Whether it needs a server that was started for it: a private one has one model alone."""
    settings: Mapping[str, Any] = field(default_factory=lambda: {"max_tokens": 80, "temperature": 0.2})
    """Sampling parameters."""


EXAMPLES: Mapping[str, Example] = {
    "plain": Example({"strategy": "plain"}, "Give me one tip for sleeping well.", "A baseline to compare with."),
    "value_prompt": Example(
        {"strategy": [{"kind": "value_prompt", "principles": ["Answer in one short sentence.", "Say where you are unsure."]}]},
        "Is coffee bad for my sleep?",
    ),
    "urial": Example(
        {"strategy": [{"kind": "urial", "k": 3, "repetition_penalty": 1.1}]},
        "What is a good first instrument for a child?",
        "For a base model, which has no chat template: `trimtab serve gemma3-270m-base --accept-licence gemma`, and "
        '`"model": "gemma3-270m-base"` in the call. It works on a chat model too.',
    ),
    "demonstrations": Example(
        {"strategy": [{"kind": "demonstrations", "max_k": 4, "budget_tokens": 1200}], "trace": "full"},
        "How do I start running at 45?",
        "Without a `corpus` of your own the demonstrations are those of `default-demonstrations`. The full trace shows which "
        "were used, with their similarity.",
    ),
    "norms": Example(
        {"strategy": [{"kind": "norms", "budget_tokens": 400}], "trace": "full"},
        "My flatmate left her diary on the table. May I read it?",
        "Without a `corpus` of your own the rules are those of `default-norms`. For your own: `trimtab corpus create "
        'hospital`, `trimtab corpus add hospital rules.jsonl`, and `"corpus": "hospital"`.',
    ),
    "best_of_n": Example(
        {"strategy": [{"kind": "best_of_n", "n": 4}], "trace": "full"},
        "How do I tell a friend that his cooking is too salty?",
        "The policy judges its own answers; `trimtab doctor --judge` tells how well it does. Another judge: "
        "`trimtab serve --role judge=SOURCE`.",
    ),
    "rain": Example(
        {"strategy": [{"kind": "rain", "max_iterations": 12}], "budget": {"deadline_ms": 60000}, "trace": "full"},
        "Someone cut in front of me in the queue. What should I say?",
        "A search takes its time: fewer iterations and a deadline keep it short, and what was found by then is answered.",
        settings={"max_tokens": 40, "temperature": 0.2},
    ),
    "critique_refine": Example(
        {"strategy": [{"kind": "critique_refine", "form": "constitutional", "rounds": 1}], "trace": "full"},
        "Write a short ad for a herbal tea.",
        "The full trace holds the principle, the criticism and the difference of each round.",
    ),
    "aligner": Example(
        {"strategy": [{"kind": "aligner", "template": "question_answer"}], "trace": "full"},
        "Can I keep a hedgehog as a pet?",
        "It needs a correction model: `trimtab serve --role aligner=./runs/aligner`. A checkpoint that says how it is asked "
        "needs no `template`.",
        served=True,
    ),
}
"""Kind -> its example."""


def costs() -> Mapping[str, Any]:
    """The measured costs, `{}` where nothing was measured yet."""
    if not COSTS.exists():
        return {}
    told: Mapping[str, Any] = json.loads(COSTS.read_text(encoding="utf-8"))
    return told


def measured(kind: str, told: Mapping[str, Any]) -> tuple[str, str]:
    """Calls and tokens beyond those of a plain answer, as a table shows them."""
    found = told.get("kinds", {}).get(kind)
    if found is None:
        return "not measured", "not measured"
    cached = f" ({found['cached_share']:.0%} from the cache)" if found["extra_prompt_tokens"] >= 1 else ""
    tokens = f"{found['extra_prompt_tokens']:+.0f} read{cached}, {found['extra_completion_tokens']:+.0f} written"
    return f"{found['extra_calls']:+.1f}", tokens


def how_measured(told: Mapping[str, Any]) -> str:
    """One paragraph on the figures, "" where there are none."""
    if not told:
        return ""
    versions = ", ".join(f"{name} {version}" for name, version in told["versions"].items())
    return (
        f"Extra calls and tokens: means over {told['prompts']} prompts against a plain answer to the same prompt, each "
        f"strategy by its bare name with at most {told['max_tokens']} answer tokens, {told['model']} on {told['engine']} "
        f"({versions}; `python benchmarks/cost.py`). Longer or shorter answers count too."
    )


def engine_level(config: Any) -> str:
    """What a strategy at its defaults needs: ports of the policy's engine, engines of other roles."""
    needs = config()
    roles = [f"an engine for the role {role}" for role in sorted(needs.engine_roles())]
    return ", ".join([*sorted(needs.needs()), *roles]) or "any"


def page(entries: Sequence[Any]) -> str:
    """docs/strategies.md, from the configurations of the catalogue."""
    head = (
        "# Strategies\n\n"
        "Generated by `python docs/render.py`; do not edit.\n\n"
        f"Each example calls `trimtab serve` on {URL} with the default model. `trimtab chat` starts a private server of its\n"
        "own; add `--url` to talk to a running one. What a strategy did is in the answer's `alignment` object;\n"
        "`trimtab chat --trace` shows it readably.\n\n"
    )
    told = costs()
    return head + "\n".join(section(config, told) for config in entries)


def section(config: Any, told: Mapping[str, Any]) -> str:
    """What is said of one strategy."""
    from trimtab.strategies.config import describe

    entry = describe(config)
    kind = entry["kind"]
    calls, tokens = measured(kind, told)
    facts = [
        f"- Role: {entry['role']}. Streaming: {entry['streaming']}. Engine level: {engine_level(config)}.",
        f"- Measured extra calls: {calls}; extra tokens: {tokens}.",
        *([f"- Source: {entry['source']}."] if entry["source"] else []),
    ]
    parts = [f"## `{kind}`\n", _paragraphs(inspect.getdoc(config) or ""), "", *facts, *_method(config), ""]
    return "\n".join([*parts, _parameters(config), _example(EXAMPLES.get(kind) or _bare(kind)), ""])


def _bare(kind: str) -> Example:
    return Example({"strategy": kind}, "Give me one tip for sleeping well.")


def _paragraphs(doc: str) -> str:
    """A docstring's paragraphs, each on one line."""
    return "\n\n".join(" ".join(part.split()) for part in doc.split("\n\n"))


def _method(config: Any) -> list[str]:
    """Where the strategy leaves its paper, from the `Deviation:` part of what it builds."""
    doc = inspect.getdoc(config().build()) or ""
    _, found, rest = doc.partition("Deviation:")
    return [f"- Deviation: {' '.join(rest.split())}"] if found else []


def _parameters(config: Any) -> str:
    """The parameters as a table."""
    from trimtab.cli.strategies import type_of

    defaults = config().model_dump(mode="json")
    rows = [
        f"| `{name}` | {type_of(one)} | {_shown(defaults[name])} | {' '.join(one.get('description', '').split())} |"
        for name, one in config.model_json_schema().get("properties", {}).items()
        if name != "kind"
    ]
    return "\n".join(["| parameter | type | default | meaning |", "| --- | --- | --- | --- |", *rows, ""]) if rows else ""


def _shown(default: Any) -> str:
    """A default; of a strategy's own settings inside, their kind."""
    if isinstance(default, dict) and "kind" in default:
        default = default["kind"]
    text = json.dumps(default, ensure_ascii=False).replace("|", "\\|")
    return f"`{text}`" if len(text) <= 60 else "see `trimtab strategies`"


def _example(example: Example) -> str:
    """The same call three ways."""
    note = [example.note, ""] if example.note else []
    blocks = [
        *("```bash", _curl(example), "```"),
        *("```python", _python(example), "```"),
        *("```bash", _terminal(example), "```"),
    ]
    return "\n".join([*note, *blocks])


def _curl(example: Example) -> str:
    messages = [{"role": "user", "content": example.question}]
    body = {"model": MODEL, "messages": messages, **example.settings, "alignment": example.alignment}
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in body.items())
    return (
        f"curl {URL}/v1/chat/completions -H 'Content-Type: application/json' -d {shlex.quote(f'{{{chr(10)}{lines}{chr(10)}}}')}"
    )


def _python(example: Example) -> str:
    settings = "".join(f"    {name}={_literal(value)},\n" for name, value in example.settings.items())
    return (
        "from trimtab import OpenAI\n\n"
        f'client = OpenAI(base_url="{URL}/v1", api_key="none")\n'
        "answer = client.chat.completions.create(\n"
        f'    model="{MODEL}",\n'
        f"    messages={_literal([{'role': 'user', 'content': example.question}])},\n"
        f"{settings}"
        f"    alignment={_literal(example.alignment)},\n"
        ")\n"
        "print(answer.choices[0].message.content)\n"
        "print(answer.alignment)"
    )


def _literal(value: Any) -> str:
    """A JSON value as Python writes it, with double quotes."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(name)}: {_literal(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_literal(one) for one in value) + "]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _terminal(example: Example) -> str:
    strategy = example.alignment["strategy"]
    spec = strategy if isinstance(strategy, str) else shlex.quote(json.dumps(strategy))
    flags = {"max_tokens": "--max-tokens", "temperature": "--temperature"}
    settings = " ".join(f"{flags[name]} {value}" for name, value in example.settings.items() if name in flags)
    url = f" --url {URL}" if example.served else ""
    return f"echo {shlex.quote(example.question)} | trimtab chat{url} --align {spec} {settings} --trace"
