"""The rating page: hidden behind its token, strict in what it loads, and in a real browser driven by keys alone."""

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx2
import pytest

from tests.asgi import ASGITransport
from tests.server.evaluation.chromium import FOUND, Browser, browser
from tests.server.evaluation.logs import HOSTILE
from trimtab.server.evaluation.raters.page import rating_app
from trimtab.server.evaluation.raters.pairs import Pair
from trimtab.server.evaluation.raters.ratings import RatingFile
from trimtab.server.evaluation.raters.serving import served

TOKEN = "a-token-of-the-test"
ASKED = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": f"What now? {HOSTILE}"})
PAIRS = tuple(Pair(id=f"p{place}", messages=ASKED, a=f"left {place} {HOSTILE}", b=f"right {place}") for place in range(3))


@pytest.fixture
def ratings(tmp_path: Path) -> Iterator[RatingFile]:
    with RatingFile(tmp_path / "r.jsonl", "ann", PAIRS) as opened:
        yield opened


@pytest.fixture
async def http(ratings: RatingFile) -> AsyncIterator[httpx2.AsyncClient]:
    transport = ASGITransport(rating_app(PAIRS, ratings, TOKEN))
    async with httpx2.AsyncClient(transport=transport, base_url=f"http://127.0.0.1/{TOKEN}/") as client:
        yield client


async def test_the_page_allows_itself_and_nothing_else(http: httpx2.AsyncClient) -> None:
    answer = await http.get("")
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"].startswith("'sha256-")
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|https?://", answer.text)


async def test_nothing_without_the_token_or_under_another_name(http: httpx2.AsyncClient) -> None:
    assert (await http.get("http://127.0.0.1/")).status_code == 404
    assert (await http.get("http://127.0.0.1/another/")).status_code == 404
    assert (await http.get("http://127.0.0.1/another/state")).status_code == 404
    assert (await http.get("state", headers={"host": "evil.example"})).status_code == 400


async def test_rating_undo_and_end(http: httpx2.AsyncClient, ratings: RatingFile) -> None:
    state = (await http.get("state")).json()
    assert (state["rated"], state["total"], state["rater"], state["pair"]["id"]) == (0, 3, "ann", "p0")
    assert state["pair"] == {"id": "p0", "messages": list(ASKED), "a": PAIRS[0].a, "b": PAIRS[0].b}
    for place, choice in enumerate(("a", "tie", "b")):
        state = (await http.post("rate", json={"pair": f"p{place}", "choice": choice})).json()
    assert (state["rated"], state["pair"]) == (3, None)
    state = (await http.post("undo", json={})).json()
    assert (state["rated"], state["pair"]["id"]) == (2, "p2")
    assert dict(ratings.done) == {"p0": "a", "p1": "tie"}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"pair": "p0", "choice": "left"}, "choice"),
        ({"pair": "q", "choice": "a"}, "no pair 'q'"),
        ({"pair": "p0", "choice": "a", "more": 1}, "more"),
    ],
)
async def test_wrong_ratings_are_refused(
    http: httpx2.AsyncClient, ratings: RatingFile, body: dict[str, object], said: str
) -> None:
    answer = await http.post("rate", json=body)
    assert answer.status_code == 400
    assert said in answer.json()["error"]
    assert not ratings.done


async def test_a_form_of_another_site_is_refused(http: httpx2.AsyncClient, ratings: RatingFile) -> None:
    forged = '{"pair": "p0", "choice": "a"}'
    answer = await http.post("rate", content=forged, headers={"content-type": "text/plain"})
    assert answer.status_code == 400
    large = await http.post("rate", json={"pair": "p" * 20_000, "choice": "a"})
    assert large.status_code == 400
    assert not ratings.done


@pytest.mark.skipif(FOUND is None, reason="there is no Chromium on this machine")
def test_a_browser_driven_by_keys(tmp_path: Path, ratings: RatingFile) -> None:
    with served(PAIRS, ratings) as url, browser(tmp_path / "profile") as page:
        page.open(url)
        until(page, "!document.getElementById('pair').hidden")
        assert page.ask("document.getElementById('a').textContent") == PAIRS[0].a
        assert page.ask("document.querySelectorAll('#asked img, #asked script, .text img').length") == 0
        for key, rated in (("a", 1), ("t", 2), ("u", 1), ("b", 2), ("b", 3)):
            page.press(key)
            until(page, f"document.getElementById('progress').textContent.startsWith('{rated} of 3')")
        assert page.ask("document.getElementById('end').hidden") is False
        assert page.ask("document.title") == "Rating answers"
        assert page.complaints == []
        assert all(asked.startswith((url, "data:")) for asked in page.requests)
    assert dict(ratings.done) == {"p0": "a", "p1": "b", "p2": "b"}


def until(page: Browser, expression: str) -> None:
    """Wait in the page until something holds."""
    waiting = f"(async () => {{ while (!({expression})) await new Promise((next) => setTimeout(next, 5)); return true }})()"
    assert page.ask(waiting)
