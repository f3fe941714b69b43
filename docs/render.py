"""Render what the documentation takes from the code: `python docs/render.py` writes, `--check` only compares.

Generated parts of README.md and docs/evaluation.md stand between `<!-- begin NAME -->` and `<!-- end NAME -->`;
docs/configuration.md, docs/strategies.md and docs/training.md are generated whole.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

import evaluation_pages  # noqa: E402  the path to them stands above
import strategy_pages  # noqa: E402
import training_pages  # noqa: E402

METHODS = ("get", "post", "put", "patch", "delete")


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in lines)


def strategies() -> str:
    """The catalogue of strategies, with what each was measured to cost."""
    from trimtab.strategies.config import BUILT_IN, describe

    told = strategy_pages.costs()
    rows = []
    for config in BUILT_IN:
        entry = describe(config)
        kind = entry["kind"]
        link = f"[`{kind}`](docs/strategies.md#{kind})"
        own, cost = strategy_pages.engine_level(config), strategy_pages.measured(kind, told)
        rows.append((link, entry["role"], entry["summary"], *cost, entry["streaming"], own, entry["source"] or "-"))
    header = ("strategy", "role", "what it does", "extra calls", "extra tokens", "streaming", "engine level", "paper")
    note = strategy_pages.how_measured(told)
    return f"{table(header, rows)}\n\n{note}" if note else table(header, rows)


def endpoints() -> str:
    """The paths of the OpenAPI document."""
    from trimtab.server.app import create_app
    from trimtab.server.settings import ModelConfig, ScriptedConfig, Settings

    document: Mapping[str, Any] = create_app(Settings(models={"scripted": ModelConfig(engine=ScriptedConfig())})).openapi()
    rows = []
    for path, operations in document["paths"].items():
        for method in METHODS:
            if method in operations:
                told = operations[method].get("description") or operations[method].get("summary", "")
                rows.append((f"`{method.upper()} {path}`", " ".join(told.split("\n\n")[0].split())))
    return table(("endpoint", "what it answers"), rows)


def matrix() -> str:
    """Endpoint by feature by engine, as the conformance suite declares it."""
    from tests.contracts.features import ENGINES, FEATURES

    shown = {"yes": "yes", "refused": "400", "upstream": "as the upstream"}
    rows = [(f"`{f.endpoint}`", f.name, *(shown[f.state(engine)] for engine in ENGINES)) for f in FEATURES]
    return table(("endpoint", "feature", *(f"`{engine}`" for engine in ENGINES)), rows)


def strategies_page() -> str:
    """What each strategy does, needs, costs and takes, with an example."""
    from trimtab.strategies.config import BUILT_IN

    return strategy_pages.page(BUILT_IN)


def configuration() -> str:
    """The reference of the configuration file."""
    from trimtab.server.config_reference import reference

    return reference()


PARTS: Mapping[str, Callable[[], str]] = {
    "strategies": strategies,
    "methods": training_pages.methods_table,
    "scorers": evaluation_pages.scorers_table,
    "endpoints": endpoints,
    "matrix": matrix,
}


def readme(text: str) -> str:
    """The README with its generated parts renewed. Raises ValueError where a marker is missing."""
    return renewed(text, PARTS, "README.md")


def renewed(text: str, parts: Mapping[str, Callable[[], str]], name: str) -> str:
    """A page with its generated parts renewed. Raises ValueError naming it where a marker is missing."""
    for part, render in parts.items():
        begin, end = f"<!-- begin {part} -->\n", f"<!-- end {part} -->"
        head, found_begin, rest = text.partition(begin)
        _, found_end, tail = rest.partition(end)
        if not (found_begin and found_end):
            raise ValueError(f"{name} has no part between {begin.strip()} and {end}")
        text = f"{head}{begin}{render()}\n{end}{tail}"
    return text


def evaluation() -> str:
    """docs/evaluation.md with its generated parts renewed."""
    text = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    return renewed(text, evaluation_pages.PARTS, "docs/evaluation.md")


def rendered() -> dict[Path, str]:
    """Every generated file with the text it should have."""
    path = ROOT / "README.md"
    pages = {
        "configuration.md": configuration(),
        "strategies.md": strategies_page(),
        "training.md": training_pages.page(),
        "evaluation.md": evaluation(),
    }
    return {path: readme(path.read_text(encoding="utf-8")), **{ROOT / "docs" / name: text for name, text in pages.items()}}


def stale() -> list[Path]:
    """The files whose text is not what the code says."""
    return [path for path, text in rendered().items() if not path.exists() or path.read_text(encoding="utf-8") != text]


def main() -> int:
    """Write or compare; 1 where `--check` finds something stale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 where something is stale")
    check = parser.parse_args().check
    old = stale()
    for path in old:
        sys.stdout.write(f"{'stale' if check else 'written'}: {path.relative_to(ROOT)}\n")
        if not check:
            path.write_text(rendered()[path], encoding="utf-8")
    return 1 if check and old else 0


if __name__ == "__main__":
    sys.exit(main())
