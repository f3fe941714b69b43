"""What a report writes down, without a browser."""

import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.server.evaluation.logs import HARM, HOSTILE, JUDGE, REWARD, log_of
from trimtab.server.evaluation.log import Log, LogError
from trimtab.server.evaluation.records import Cost
from trimtab.server.evaluation.report import write_reports
from trimtab.server.evaluation.report.axes import linear_axis, ratio_axis
from trimtab.server.evaluation.report.plots import Point, scatter
from trimtab.server.evaluation.report.terminal import render_text
from trimtab.server.evaluation.report.wording import decimals_of, number, plain
from trimtab.server.evaluation.summary import summarise

EVERY = {"report.html", "report.md", "report.json", "report-benefit.svg", "report-categories.svg"}


def small_log(name: str = "norms") -> Log:
    """Twelve samples in two categories: the second alignment is 1 better on each, at twice the tokens."""
    return log_of(
        {("reward", "plain"): [0.0] * 12, ("reward", name): [1.0] * 11 + [2.0], ("judge", name): [1.0] * 11 + [None]},
        alignments=("plain", name),
        scorers=(REWARD, JUDGE),
        categories=["garden", "travel"] * 6,
        costs={name: Cost(calls=2, prompt_tokens=40, completion_tokens=20, ms=300.0)},
    )


def written(folder: Path, log: Log) -> dict[str, str]:
    write_reports(folder, log)
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


def embedded(page: str) -> Any:
    """What the page's browser of samples is given."""
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, flags=re.DOTALL)
    return json.loads(data)


class Elements(HTMLParser):
    """Which elements a page has, and with which attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_all_files_are_there_and_no_unfinished_one(tmp_path: Path) -> None:
    assert set(written(tmp_path, small_log())) == EVERY


def test_the_same_log_gives_the_same_files(tmp_path: Path) -> None:
    assert written(tmp_path, small_log()) == written(tmp_path, small_log())


def test_json_has_a_version_the_header_and_all_numbers(tmp_path: Path) -> None:
    report = json.loads(written(tmp_path, small_log())["report.json"])
    assert report["version"] == 1
    assert report["header"]["seed"] == 7
    (norms,) = [one for one in report["summary"]["measures"] if (one["scorer"], one["alignment"]) == ("reward", "norms")]
    assert norms["change"]["estimate"] == pytest.approx(13 / 12)
    assert norms["change"]["verdict"] == "better"
    assert norms["counts"]["scored"] == 12
    assert report["summary"]["costs"][1]["ratios"]["tokens"] == 2.0


def test_markdown_has_the_table_with_signs_counts_and_pictures(tmp_path: Path) -> None:
    text = written(tmp_path, small_log())["report.md"]
    (row,) = [line for line in text.splitlines() if line.startswith("| norms | 1.08")]
    assert "+1.08 ▲" in row
    assert "| 2.00× | 3.00× |" in row
    assert "| Judge | norms | 11 | 1 | 0 | 0 | 0 | no verdict (1) |" in text
    assert "35 of 36 scores are there: 1 unscored (Counts says why), 0 errored, 0 missing." in text
    assert "![Benefit against cost](report-benefit.svg)" in text


def test_hostile_names_and_answers_add_no_element_to_the_page(tmp_path: Path) -> None:
    quiet = Elements(written(tmp_path, small_log())["report.html"])
    name = HOSTILE + "'\"><iframe>"
    log = small_log(name)
    header = log.header.model_copy(update={"model": HOSTILE, "dataset": HOSTILE, "packages": {HOSTILE: HOSTILE}})
    answers = {key: one.model_copy(update={"answer": HOSTILE}) for key, one in log.generations.items()}
    page = written(tmp_path, Log(header, log.samples, answers, log.scores, log.scorers))["report.html"]
    # A long name may break after each + it has.
    assert [tag for tag, _ in Elements(page).found if tag != "wbr"] == [tag for tag, _ in quiet.found]
    assert embedded(page)["samples"][0]["answers"][0]["answer"] == HOSTILE


def test_a_name_of_several_strategies_breaks_after_a_plus(tmp_path: Path) -> None:
    page = written(tmp_path, small_log("norms+critique_refine"))["report.html"]
    assert "<th scope=row><span>norms+<wbr>critique_refine</span></th>" in page


def test_hostile_names_do_not_break_the_markdown_table(tmp_path: Path) -> None:
    text = written(tmp_path, small_log("a|b\n<script>*c*"))["report.md"]
    (row,) = [line for line in text.splitlines() if "1.08<br>" in line]
    assert row.startswith("| a\\|b &lt;script&gt;\\*c\\* | ")


def test_nothing_in_the_page_names_another_place(tmp_path: Path) -> None:
    page = written(tmp_path, small_log())["report.html"]
    for tag, attributes in Elements(page).found:
        assert tag not in ("link", "img", "iframe", "object", "base"), tag
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith("#")
        assert not [one for one in attributes if one.startswith("on") or one == "style"]


def test_tables_have_heads_for_rows_and_columns(tmp_path: Path) -> None:
    found = Elements(written(tmp_path, small_log())["report.html"]).found
    heads = [attributes.get("scope") for tag, attributes in found if tag == "th"]
    assert set(heads) == {"row", "col"}
    assert all("aria-labelledby" in attributes for tag, attributes in found if attributes.get("role") == "region")


def test_a_long_log_is_cut_and_says_how_much_is_left_out(tmp_path: Path) -> None:
    count = 1_100
    log = log_of({("reward", "plain"): [0.5] * count, ("reward", "norms"): [0.5] * count})
    data = embedded(written(tmp_path, log)["report.html"])
    assert len(data["samples"]) == 1_000  # 2,000 answers of two alignments
    assert data["total"] == count


def test_a_long_answer_and_a_long_trace_are_cut(tmp_path: Path) -> None:
    trace = {"status": "applied", "steps": [{"strategy": "rain", "ms": 5.0, "tree": ["node"] * 9_000}]}
    log = log_of({("reward", "plain"): [0.5]}, answers={("plain", 0): {"answer": "x" * 30_000, "trace": trace}})
    page = written(tmp_path, log)["report.html"]
    answer = embedded(page)["samples"][0]["answers"][0]
    assert answer["answer"].endswith("(10,000 more characters; the log has them)")
    assert answer["trace"]["steps"][0]["ms"] == 5.0
    assert "left out" in answer["trace"]["steps"][0]["tree"]


def test_pictures_are_well_formed_and_say_what_they_show(tmp_path: Path) -> None:
    files = written(tmp_path, small_log("a<b & c"))
    for name in ("report-benefit.svg", "report-categories.svg"):
        said = "".join(ET.fromstring(files[name]).itertext())
        assert "a<b & c" in said
    assert "a<b & c: 2.00×, 1.08" in files["report-benefit.svg"].replace("&lt;", "<").replace("&amp;", "&")


def test_a_log_without_scores_has_a_report(tmp_path: Path) -> None:
    files = written(tmp_path, log_of({("harm", "plain"): [None, None]}, scorers=()))
    assert set(files) == {"report.html", "report.md", "report.json"}
    assert "Nothing to draw" in files["report.html"]


def test_a_scorer_without_a_single_score_has_a_report(tmp_path: Path) -> None:
    text = written(tmp_path, log_of({("harm", "plain"): [None], ("harm", "norms"): [None]}, scorers=(HARM,)))["report.md"]
    assert "| plain | – | 1.00× | 1.00× |" in text


def test_a_scorer_that_was_cut_short_is_named(tmp_path: Path) -> None:
    text = written(tmp_path, log_of({("harm", "plain"): [0.5, 0.5], ("reward", "plain"): [1.0, 2.0]}, scorers=(HARM,)))[
        "report.md"
    ]
    assert "Not shown, for they were cut short: reward." in text


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(LogError, match=r"report\.json cannot be written"):
        write_reports(tmp_path / "file", small_log())


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.12345, "0.123"),
        (-1.0, "−1.00"),
        (1234.5, "1,234"),
        (0.000012, "0.0000"),
        (float("nan"), "–"),
        (None, "–"),
    ],
)
def test_numbers_have_three_figures(value: float | None, text: str) -> None:
    assert number(value) == text


def test_an_interval_says_how_many_decimals_are_known() -> None:
    assert (decimals_of(0.1, 0.2), decimals_of(10, 90), decimals_of(1, 1), decimals_of(None, None)) == (3, 0, 3, 3)


def test_characters_that_hide_are_named() -> None:
    assert plain("a\u202eb\x07c\nd") == "a⟨U+202E⟩b⟨U+0007⟩c d"
    assert plain("x" * 300, most=10) == "x" * 9 + "…"


def test_axes_hold_their_values_and_run_where_they_should() -> None:
    axis = linear_axis([0.0, 10.0], 400, 0)
    assert axis.at(0) > axis.at(10)
    assert set(axis.ticks) == {0.0, 2.5, 5.0, 7.5, 10.0}
    ratios = ratio_axis([1.0, 100.0], 0, 1000)
    # On a logarithmic axis 10 lies midway between 1 and 100.
    assert ratios.at(10) == pytest.approx((ratios.at(1) + ratios.at(100)) / 2)
    assert {1.0, 10.0, 100.0} <= set(ratios.ticks)
    assert not ratio_axis([1.0, 1.5], 0, 1).logarithmic
    assert linear_axis([3.0], 0, 1).at(3.0) == pytest.approx(0.5)


def test_names_in_a_plot_cover_no_other() -> None:
    near = [Point(f"strategy {place}", 1.0 + place / 100, 0.5, 0.5, 0.5, place) for place in range(4)]
    boxes = re.findall(r'class="name" x="([\d.]+)" y="([\d.]+)"', scatter(near, title="t", x_title="x", y_title="y"))
    places = [(float(x), float(y)) for x, y in boxes]
    assert len(places) == 4
    assert all(abs(a[1] - b[1]) >= 14 or abs(a[0] - b[0]) >= 60 for a in places for b in places if a is not b)


def test_a_name_in_a_crowd_stands_at_the_end_of_its_own_interval() -> None:
    crowd = [Point("plain", 1.0, 0.5, 0.3, 0.8, 0), Point("value_prompt", 1.4, 0.6, 0.4, 1.0, 1)]
    crowd += [Point("aligner", 2.1, 0.9, 0.5, 1.2, 2), Point("urial", 3.3, 0.3, -0.1, 0.7, 3)]
    crowd.append(Point("rain", 350.0, 0.5, 0.2, 0.8, 4))
    drawn = scatter(crowd, title="t", x_title="x", y_title="y")
    bars = [[float(one) for one in found] for found in re.findall(r'<line x1="(\S+)" y1="(\S+)" x2="\S+" y2="(\S+)"', drawn)]
    names = re.findall(r'class="name" x="([\d.]+)" y="([\d.]+)">(\w+)<', drawn)
    assert [name for *_, name in names] == ["plain", "value_prompt", "aligner", "urial", "rain"]
    for x, y, name in names:
        left, right, upper, lower = float(x), float(x) + 7 * len(name), float(y) - 12, float(y) + 4
        assert not any(left < bar < right and upper < low and high < lower for bar, low, high in bars), name
    below = [float(value) for value in names[1][:2]]
    assert below[0] < bars[1][0] < below[0] + 7 * len("value_prompt")
    assert below[1] > bars[1][1]


def test_a_terminal_is_shown_a_block_a_column(tmp_path: Path) -> None:
    log = small_log("a" * 60)
    text = render_text(log, write_reports(tmp_path, log))
    assert max(map(len, text.splitlines())) <= 100
    reward = text[text.index("Reward · ↑ higher is better\n") :].splitlines()[1:3]
    assert reward[0].startswith("  plain")
    assert reward[1].startswith("  " + "a" * 47 + "…  1.08")
    assert reward[1].endswith("+1.08 ▲")
    assert "<br>" not in text


def test_one_alignment_is_compared_with_none() -> None:
    log = log_of({("reward", "plain"): [1.0]}, alignments=("plain",))
    text = render_text(log, summarise(log))
    assert "was asked 1 prompt with seed 7." in text
    assert "nothing was compared" in text


def test_answers_that_an_alignment_was_skipped_for_are_counted(tmp_path: Path) -> None:
    skipped = {("norms", 0): {"status": "skipped"}, ("norms", 1): {"status": "degraded"}, ("plain", 0): {"status": "applied"}}
    log = log_of({("reward", "plain"): [0.0] * 3, ("reward", "norms"): [1.0] * 3}, answers=skipped)
    text = written(tmp_path, log)["report.md"]
    assert "| norms<br>3 answers<br>1 degraded<br>1 skipped |" in text
    assert "| plain<br>3 answers |" in text
