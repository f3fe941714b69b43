"""What the documentation says of evaluations and batches comes from the code, and what it shows works."""

import importlib.util
import io
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest
import yaml
from typer.main import get_command

from tests.cli.serving import serving
from trimtab.cli.app import app
from trimtab.cli.eval import columns_of, names_of
from trimtab.cli.spec import parse_align
from trimtab.server.api.schemas.check import CheckRequest
from trimtab.server.evaluation.catalogue import CATALOGUE, ENTRIES
from trimtab.server.evaluation.checking import CHECKABLE
from trimtab.server.evaluation.choosing import check_names
from trimtab.server.evaluation.data.columns import KNOWN
from trimtab.server.evaluation.data.forms import PUBLISHED, sample_of
from trimtab.server.evaluation.records import Generation, Header, Score, ScorerRecord
from trimtab.server.jobs.records import BatchStatus
from trimtab.server.jobs.validating import check
from trimtab.server.lines.request import RequestLine, parse_line
from trimtab.server.settings import Settings
from trimtab.strategies.config import parse_spec

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
EVALUATION = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
BATCHES = (ROOT / "docs" / "batches.md").read_text(encoding="utf-8")
RECIPES = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def render() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_render", ROOT / "docs" / "render.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pages(render: ModuleType) -> Any:
    return render.evaluation_pages


def section(title: str) -> str:
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def blocks(language: str, text: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands(text: str) -> Iterator[list[str]]:
    """The words behind `trimtab` of every command in the bash blocks of a text."""
    for block in blocks("bash", text):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("trimtab "):
                yield shlex.split(line.partition(" < ")[0], comments=True)[1:]


def parsed(words: list[str]) -> tuple[str, dict[str, Any]]:
    """The command that the words name, and its parameters; raises where they are none."""
    command: Any = get_command(app)
    context, rest, names = None, words, []
    while True:
        context = command.make_context(command.name, list(rest), parent=context)
        if not hasattr(command, "resolve_command"):
            return " ".join(names), context.params
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        names.append(name)


SHOWN = [
    words for text in (EVALUATION, BATCHES, RECIPES, section("Batches"), section("Evaluation")) for words in commands(text)
]


def test_the_generated_parts_are_up_to_date(render: ModuleType) -> None:
    assert render.evaluation() == EVALUATION, "run: python docs/render.py"


def test_a_missing_part_names_the_page(render: ModuleType, pages: Any) -> None:
    with pytest.raises(ValueError, match=r"docs/evaluation.md has no part between <!-- begin forms"):
        render.renewed("a text without markers", pages.PARTS, "docs/evaluation.md")


def test_what_was_measured_stays_where_it_is(render: ModuleType, pages: Any) -> None:
    begin, end = "<!-- begin catching -->\n", "<!-- end catching -->"
    assert begin in EVALUATION
    assert "catching" not in pages.PARTS
    head, _, rest = EVALUATION.partition(begin)
    measured = f"{head}{begin}| a table |\n{end}{rest.partition(end)[2]}"
    assert render.renewed(measured, pages.PARTS, "") == measured


def test_every_scorer_has_a_line_and_a_section() -> None:
    names = list(CATALOGUE)
    for text, page in ((EVALUATION, ""), (README, "docs/evaluation.md")):
        assert re.findall(rf"^\| \[`(\w+)`\]\({page}#\w+\) \|", text, re.MULTILINE)[-len(names) :] == names
    assert re.findall(r"^### `(\w+)`$", EVALUATION, re.MULTILINE) == names


def test_scorers_are_shown_without_a_model(pages: Any) -> None:
    assert set(pages.ASKING) == {entry.name for entry in ENTRIES if entry.asks}
    assert {name: scorer.about.name for name, scorer in pages.built().items()} == {name: name for name in CATALOGUE}
    assert pages.preference() == "`reward`, `judge`"
    assert pages.checkable() == ", ".join(f"`{name}`" for name in CHECKABLE)


def test_scorers_that_miss_a_bad_model_are_named_so(pages: Any) -> None:
    assert set(pages.MISSED) <= set(CATALOGUE)
    for name, condition in pages.MISSED.items():
        section = EVALUATION.split(f"### `{name}`\n", 1)[1].split("\n### ", 1)[0]
        assert f"- {condition} it misses a model that was trained to prefer the rejected answers" in section


@pytest.mark.parametrize(
    ("name", "when"),
    [
        ("length", "always"),
        ("reward", "where there is the role `reward`"),
        ("under_refusal", "where a sample has what it needs"),
        ("chrf", "where there are references and none is wrong"),
        ("rouge_1_diff", "by name only"),
    ],
)
def test_when_a_scorer_is_chosen(pages: Any, name: str, when: str) -> None:
    assert pages.chosen_by_default(CATALOGUE[name]) == when


def test_every_form_and_column_is_shown_and_read(pages: Any) -> None:
    read = [form.name for record, _ in pages.FORMS for form in PUBLISHED.values() if form.fits(record)]
    assert set(read) == {form.name for form in PUBLISHED.values()}
    assert all(sample_of(record).prompt for record, _ in pages.FORMS)
    columns = [name for names, _ in pages.COLUMNS if names != pages.LETTERS for name in names]
    assert sorted(columns) == sorted(KNOWN)
    lettered = [record for record, _ in pages.FORMS if set(pages.LETTERS[:2]) <= set(record)]
    assert [sample_of(record).choices for record in lettered] == [("spoon", "plum")]


def test_every_key_of_the_log_is_shown() -> None:
    for schema in (Header, Generation, Score, ScorerRecord):
        assert all(f"| `{name}` |" in EVALUATION for name in schema.model_fields), schema


def test_every_command_shown_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("requests.jsonl").write_text("{}\n", encoding="utf-8")
    used = set()
    for words in SHOWN:
        name, params = parsed(words)
        used.add(name)
        align = params.get("align") or ()
        for spec in [align] if isinstance(align, str) else align:
            parse_spec(parse_align(spec))
        if scorers := params.get("scorers"):
            check_names(names_of(scorers) or ())
        columns_of(params.get("columns"))
    group: Any = get_command(app)
    every = {f"eval {name}" for name in group.commands["eval"].commands}
    assert every | {"batch", "check", "data convert"} <= used


def test_every_flag_named_exists() -> None:
    root: Any = get_command(app)
    leaves = [root, *root.commands.values()]
    leaves += [one for group in root.commands.values() for one in getattr(group, "commands", {}).values()]
    known = {flag for one in leaves for parameter in one.params for flag in (*parameter.opts, *parameter.secondary_opts)}
    assert set(re.findall(r"(?<![\w<!-])--[a-z][\w-]*", EVALUATION + BATCHES)) <= known


def test_links_lead_somewhere() -> None:
    for text in (EVALUATION, BATCHES):
        titles = [
            re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
        ]
        for link in re.findall(r"\]\(((?!http)[^)]+)\)", text):
            file, _, anchor = link.partition("#")
            assert (ROOT / "docs" / file).exists(), link
            assert file or anchor in titles, link


def test_every_configuration_and_body_shown_is_valid() -> None:
    configurations = [yaml.safe_load(block) for block in blocks("yaml", EVALUATION + BATCHES)]
    assert len(configurations) == 2
    for one in configurations:
        Settings.model_validate(one)
    (curl,) = [block for block in blocks("bash", EVALUATION) if "curl" in block]
    words = shlex.split(curl[curl.index("curl") :])
    CheckRequest.model_validate(json.loads(words[words.index("-d") + 1]))
    (line,) = blocks("json", BATCHES)
    assert isinstance(parse_line(line.encode(), 1), RequestLine)
    (echo,) = re.findall(r"^echo '(.*)' > requests.jsonl$", section("Batches"), re.MULTILINE)
    assert isinstance(parse_line(echo.encode(), 1), RequestLine)


def test_the_limits_of_batches_are_those_of_the_settings() -> None:
    settings = Settings()
    rows = re.findall(r"^\| `(jobs|limits)\.(\w+)` \| ([\d,]+|none) \|", BATCHES, re.MULTILINE)
    assert len(rows) == 7
    for group, name, shown in rows:
        value = getattr(getattr(settings, group), name)
        assert value == (None if shown == "none" else float(shown.replace(",", ""))), name


def test_every_state_and_fault_of_a_batch_is_named() -> None:
    states = BATCHES.partition("### States")[2].partition("### Files")[0]
    assert all(f"`{status}`" in states for status in get_args(BatchStatus))
    good = {"custom_id": "1", "method": "POST", "url": "/v1/completions", "body": {}}
    lines = [
        b"no JSON",
        *(
            json.dumps({**good, **change}).encode()
            for change in ({"custom_id": ""}, {}, {}, {"custom_id": "2", "method": "GET"}, {"custom_id": "3", "url": "/v1/x"})
        ),
        json.dumps({**good, "custom_id": "4", "url": "/v1/embeddings"}).encode(),
        json.dumps({**good, "custom_id": "5", "body": []}).encode(),
        b" " * 1000 + b"{}",
    ]
    faults = check(io.BytesIO(b"\n".join(lines)), endpoint="/v1/completions", most=100, line_bytes=500).faults
    many = check(io.BytesIO(b"{}\n{}\n"), endpoint="/v1/completions", most=1, line_bytes=500).faults[:1]
    empty = check(io.BytesIO(b"\n"), endpoint="/v1/completions", most=1, line_bytes=500).faults
    found = {fault.code for fault in (*faults, *many, *empty)}
    named = states.partition("code, line and field:")[2].partition(".")[0]
    assert set(re.findall(r"`(\w+)`", named)) == found


def test_the_life_of_a_batch_runs_as_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (line,), (text,) = blocks("json", BATCHES), blocks("python", BATCHES)
    (tmp_path / "requests.jsonl").write_text(line, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with serving("--engine", "scripted", "--port", "0", "--data-dir", str(tmp_path / "data")) as server:
        exec(text.replace("http://127.0.0.1:8000/v1", server.url).replace("time.sleep(1)", "time.sleep(0.02)"), {})
    told, row = capsys.readouterr().out.strip().splitlines()
    assert told.startswith("completed ")
    answer = json.loads(row)
    assert answer["custom_id"] == "1"
    assert answer["response"]["body"]["alignment"]["strategy"] == ["value_prompt"]
