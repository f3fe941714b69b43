"""The report page in a real browser: no complaint, no network, and hostile answers stay text."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.server.evaluation.chromium import FOUND, Browser, browser
from tests.server.evaluation.logs import HOSTILE, JUDGE, REWARD, log_of
from trimtab.server.evaluation.report import write_reports

pytestmark = pytest.mark.skipif(FOUND is None, reason="no Chromium on this machine (Debian: apt-get install chromium)")

TRACE = {"strategy": ["norms"], "steps": [{"strategy": "norms", "role": "shaper", "rules": [{"id": "watering", "score": 0.5}]}]}
ANSWERS = {
    ("plain", 0): {"answer": "Water the plant every morning."},
    ("norms", 0): {"answer": "Water the plant every second evening.", "trace": TRACE},
    ("norms", 1): {"answer": HOSTILE},
    ("norms", 2): {"answer": None, "error": "it took too long"},
    ("plain", 3): {"answer": "word " * 9_000},
    ("norms", 3): {"answer": "".join(f"other{place} " for place in range(9_000))},
}
SHOWN = "document.querySelector('.sample[open]')"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("report")
    verdicts = [1.0, 0.0, None, 0.5] + [1.0] * 21
    log = log_of(
        {
            ("reward", "plain"): [0.0] * 25,
            ("reward", "norms"): [float(place % 7) for place in range(25)],
            ("judge", "norms"): verdicts,
        },
        scorers=(REWARD, JUDGE),
        answers=ANSWERS,
        categories=["garden"] * 20 + [HOSTILE] * 5,
    )
    write_reports(folder, log)
    return (folder / "report.html").as_uri()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(Path(tmp_path_factory.mktemp("profile"))) as made:
        yield made


def test_it_loads_alone_and_complains_of_nothing(chromium: Browser, page: str) -> None:
    chromium.open(page)
    assert chromium.ask("document.querySelectorAll('.sample').length") == 20
    assert chromium.complaints == []
    assert chromium.requests == [page]


def test_a_sample_opens_by_keyboard_and_marks_the_words_that_differ(chromium: Browser, page: str) -> None:
    chromium.open(page)
    chromium.ask("document.querySelector('.sample > summary').focus()")
    chromium.press("Enter")
    chromium.ask("new Promise(done => setTimeout(done))")  # the toggle event is a task of its own
    column = f"{SHOWN}.querySelectorAll('article')[1]"
    assert chromium.ask(f"Array.from({column}.querySelectorAll('del'), one => one.textContent).join('')") == "morning"
    assert chromium.ask(f"Array.from({column}.querySelectorAll('ins'), one => one.textContent).join('')") == "second evening"
    assert chromium.ask("location.hash") == "#open=s0"
    assert chromium.complaints == []


def test_the_address_keeps_the_state(chromium: Browser, page: str) -> None:
    chromium.open(f"{page}#open=s3&q=number+3&hide=plain")
    assert chromium.ask("document.querySelectorAll('.sample').length") == 1
    assert chromium.ask(f"{SHOWN}.querySelectorAll('article').length") == 1
    assert "Too long to mark" in chromium.ask(f"{SHOWN}.textContent")
    assert chromium.complaints == []


def test_a_trace_unfolds(chromium: Browser, page: str) -> None:
    chromium.open(f"{page}#open=s0")
    opened = "document.querySelectorAll('.tree').forEach(one => one.open = true); return new Promise(done => setTimeout(done))"
    for _ in range(4):
        chromium.ask(f"(() => {{{opened}}})()")
    assert "id: watering" in chromium.ask(f"{SHOWN}.textContent")
    assert chromium.complaints == []


def test_hostile_answers_are_shown_as_they_are(chromium: Browser, page: str) -> None:
    chromium.open(f"{page}#open=s1&marks=0")
    text = chromium.ask(f"{SHOWN}.querySelectorAll('article')[1].querySelector('.text').textContent")
    assert text == HOSTILE.replace("\x00", "⟨U+0000⟩").replace("\x1b", "⟨U+001B⟩").replace("\u202e", "⟨U+202E⟩")
    assert chromium.ask("document.title") == "double on own prompts"
    assert chromium.ask("document.images.length") == 0
    assert chromium.complaints == []


def test_the_policy_runs_no_other_script(chromium: Browser, page: str) -> None:
    chromium.open(page)
    chromium.ask("document.body.append(Object.assign(document.createElement('script'), {textContent: 'document.title = 1'}))")
    assert chromium.ask("document.title") == "double on own prompts"
    assert "Content Security Policy" in chromium.complaints[0]


def test_an_error_is_told_and_has_no_text(chromium: Browser, page: str) -> None:
    chromium.open(f"{page}#open=s2")
    assert "Error: it took too long" in chromium.ask(f"{SHOWN}.textContent")


def test_filters_and_orders(chromium: Browser, page: str) -> None:
    chromium.open(f"{page}#category={quote(HOSTILE)}")
    assert chromium.ask("document.querySelectorAll('.sample').length") == 5
    chromium.open(f"{page}#order=gain")
    assert chromium.ask("document.querySelector('.tag').textContent") == "garden · s6"  # place % 7 is 6 first there
    chromium.open(f"{page}#order=loss&scorer=judge")
    assert chromium.ask("document.querySelector('.tag').textContent") == "garden · s1"  # the one that was lost
    chromium.open(f"{page}#page=2")
    assert chromium.ask("document.querySelectorAll('.sample').length") == 5
    assert chromium.complaints == []


def test_the_choice_of_a_scorer_changes_the_plots(chromium: Browser, page: str) -> None:
    chromium.open(page)
    shown = "Array.from(document.querySelectorAll('figure:not([hidden]) title'), one => one.textContent)"
    assert chromium.ask(shown) == ["Reward against tokens", "Reward by category"]
    chosen = "document.getElementById('plot-scorer')"
    chromium.ask(f"{chosen}.value = 'judge'; {chosen}.dispatchEvent(new Event('change'))")
    assert chromium.ask(shown) == ["Judge against tokens", "Judge by category"]
    cost = "document.getElementById('plot-cost')"
    chromium.ask(f"{cost}.value = 'latency'; {cost}.dispatchEvent(new Event('change'))")
    assert chromium.ask(shown) == ["Judge against latency", "Judge by category"]
    assert chromium.complaints == []


def test_a_long_name_makes_the_page_no_wider(chromium: Browser, tmp_path: Path) -> None:
    name = "norms+" + "x" * 150
    write_reports(tmp_path, log_of({("reward", "plain"): [0.0] * 3, ("reward", name): [1.0] * 3}, alignments=("plain", name)))
    chromium.open((tmp_path / "report.html").as_uri())
    assert chromium.ask("document.querySelectorAll('.sample').length") == 3
    root = "document.documentElement"
    assert chromium.ask(f"{root}.scrollWidth <= {root}.clientWidth") is True
