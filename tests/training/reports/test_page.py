import base64
from html.parser import HTMLParser
from pathlib import Path

import pytest

from trimtab.training.errors import OutputError
from trimtab.training.evaluation import mean_interval, proportion
from trimtab.training.reports.page import Figure, Report, render_page, write_page

PNG = b"\x89PNG\r\n\x1a\n"


class Reader(HTMLParser):
    """Table rows, addresses and elements of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.addresses: list[str] = []
        self.elements: set[str] = set()
        self.text = ""
        self.in_cell = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href"}]
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")
            self.in_cell = True

    def handle_endtag(self, tag: str) -> None:
        self.in_cell = self.in_cell and tag not in {"td", "th"}

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.in_cell:
            self.rows[-1][-1] += data


def test_figures_come_with_their_interval() -> None:
    figures: dict[str, Figure] = {
        "accuracy": proportion(8, 10),
        "one": mean_interval([-0.5]),
        "loss": 0.64213,
        "steps": 1400,
        "lr": -3e-5,
    }
    rows = Reader(render_page(Report("Run", figures, {}))).rows
    # the intervals of 8 of 10 are derived in test_evaluation; half its width, 0.23, asks for two decimals
    assert rows == [
        ["figure", "value", "interval", "n"],
        ["accuracy", "0.80", "0.49 to 0.94", "10"],
        ["one", "−0.500", "−∞ to ∞", "1"],
        ["loss", "0.6421", "", ""],
        ["steps", "1,400", "", ""],
        ["lr", "−3e-05", "", ""],
    ]


def test_the_configuration_is_flat() -> None:
    config = {"data": Path("a/b.jsonl"), "lr": 3e-5, "loss": {"beta": 0.1, "ends": [1, 2]}, "lora": {}, "resume": None}
    assert Reader(render_page(Report("Run", {}, config))).rows[1:] == [
        ["data", "a/b.jsonl"],
        ["lr", "3e-05"],
        ["loss.beta", "0.1"],
        ["loss.ends", "[1, 2]"],
        ["lora", "{}"],
        ["resume", "null"],
    ]


def test_every_text_is_escaped() -> None:
    sharp = "<script>alert('&')</script>"
    page = Reader(render_page(Report(sharp, {sharp: sharp}, {sharp: [sharp]}, warnings=(sharp,))))
    assert "script" not in page.elements
    assert page.text.count(sharp) == 7  # title, heading, warning, figure and its value, setting and its value


def test_it_loads_nothing() -> None:
    page = Reader(render_page(Report("Run", {"steps": 1}, {"lr": 1.0}, picture=PNG + b"rest")))
    (address,) = page.addresses
    kind, _, content = address.partition(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(content) == PNG + b"rest"
    assert not page.elements & {"script", "link", "iframe"}


def test_it_is_written_whole(tmp_path: Path) -> None:
    report = Report("Grüße", {"steps": 1}, {})
    write_page(report, tmp_path / "report" / "index.html")
    assert (tmp_path / "report" / "index.html").read_text(encoding="utf-8") == render_page(report)
    assert len(list((tmp_path / "report").iterdir())) == 1
    with pytest.raises(OutputError, match="cannot write"):
        write_page(report, tmp_path / "report" / "index.html" / "below.html")
