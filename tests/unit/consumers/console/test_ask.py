"""The page Ask: answers of a real server, explained, without an impression."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from urllib.request import urlopen

import pytest

from consumers.console.answers import Answer, Answers, ServerUnavailable
from consumers.console.earlier import EarlierUnavailable
from consumers.serve.http.app import create_app
from consumers.serve.impressions import Fields
from consumers.serve.service import RecommendationService
from pipeline.demo.processes import free_port
from pipeline.http.listening import serve_beside
from tests.support.console_harness import VIEWER_KEY, ConsoleHarness
from tests.support.serve_harness import World
from tests.support.serve_tools import wait_until

SUBMITTED: list[Fields] = []


@pytest.fixture(scope="module")
def asking(open_shop: World) -> Iterator[ConsoleHarness]:
    """A console whose server runs."""
    settings = open_shop.settings.serve.replace(port=free_port())
    url, stop = f"http://127.0.0.1:{settings.port}", Event()
    with open_shop.server() as current, ThreadPoolExecutor(1) as threads:
        open_shop.shown(current)
        app = create_app(RecommendationService(current, context=5, submit=SUBMITTED.append), settings)
        running = threads.submit(serve_beside, app, settings, "serve", [], stop)
        wait_until(lambda: running.done() or answers(url))
        yield ConsoleHarness(open_shop, server=url)
        stop.set()
        running.result()


def answers(url: str) -> bool:
    try:
        with urlopen(f"{url}/readyz"):
            return True
    except OSError:
        return False


def test_a_user_is_answered_beside_their_history(asking: ConsoleHarness) -> None:
    page = asking.browser(VIEWER_KEY).get("/ask", params={"user": "ann"}).text
    assert "Recommended to ann" in page
    assert page.count('<div class="item">') == 10
    assert "What each part adds to its score" in page
    assert "covisitation" in page and "popularity" in page
    past = page[page.index("The history, newest first") :]
    assert "red candle" in past and "purchase" in past and "blue" not in past.partition("</ol>")[0]
    assert SUBMITTED == [], "who only looks writes no impression"


def test_an_answer_says_which_act_it_is_owed_to(asking: ConsoleHarness) -> None:
    page = asking.browser(VIEWER_KEY).get("/ask", params={"user": "ann"}).text
    assert "Owed to the purchase of red " in page


def test_a_history_is_answered(asking: ConsoleHarness) -> None:
    page = asking.browser(VIEWER_KEY).get("/ask", params={"history": "blue-cup\nblue-plate, blue-lamp"}).text
    past = page[page.index("The history, newest first") :]
    assert past.index("blue lamp") < past.index("blue plate") < past.index("blue cup")
    assert page.count('<div class="item">') == 10


class Backwards(Answers):
    """Answers in the place of an earlier snapshot: the items the other way round, and one of its own."""

    def for_user(self, user: str) -> Answer:
        answer = super().for_user(user)
        items = list(reversed(answer["items"]))
        return {**answer, "snapshot": "1-0", "items": [{**items[0], "item": "yellow-cup"}, *items[1:]]}


def test_an_earlier_snapshot_is_asked_the_same_and_moves_are_marked(
    asking: ConsoleHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = asking.settings.console.server
    ready: list[Answers | None] = [None, Backwards(url, asking.settings)]
    monkeypatch.setattr(asking.parts.earlier, "answers", lambda version: ready.pop(0))
    browser, asked = asking.browser(VIEWER_KEY), {"user": "ann", "at": "1-0"}
    whole = browser.get("/ask", params=asked).text
    assert "/ask/beside?user=ann&amp;at=1-0" in whole and "red candle" in whole
    assert "A server of snapshot 1-0 starts" in browser.get("/ask/beside", params=asked).text
    page = browser.get("/ask/beside", params=asked).text
    now, then = page.split("At 1-0")
    assert "▲ 9" in now and ": place 10 at 1-0" in now
    assert "▼ 7" in now and ": place 2 at 1-0" in now
    assert now.count(": not among the first 10 at 1-0") == 1
    assert "▲ 7" in then and ": place 9 now" in then
    assert then.count(": not among the first 10 now") == 1
    assert "Snapshot 1-0" in then


def test_what_keeps_an_earlier_snapshot_from_answering_is_said(
    asking: ConsoleHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(version: str) -> None:
        raise EarlierUnavailable("snapshot 1-1 is being asked")

    monkeypatch.setattr(asking.parts.earlier, "answers", busy)
    browser = asking.browser(VIEWER_KEY)
    page = browser.get("/ask/beside", params={"user": "ann", "at": "1-0"}).text
    assert 'role="alert"' in page and "snapshot 1-1 is being asked" in page
    assert browser.get("/ask/beside", params={"user": "ann", "at": "--help"}).status_code == 422


def test_the_snapshots_of_the_store_are_offered(asking: ConsoleHarness) -> None:
    browser = asking.browser(VIEWER_KEY)
    page = browser.get("/ask", params={"user": "ann"}).text
    assert 'hx-get="/ask/snapshots?user=ann&amp;served=1-1"' in page
    part = browser.get("/ask/snapshots", params={"user": "ann"}).text
    assert '<option value="1-1">' in part and 'name="user" value="ann"' in part
    assert "1-1" not in browser.get("/ask/snapshots", params={"user": "ann", "served": "1-1"}).text


def test_an_unknown_user_gets_what_is_popular(asking: ConsoleHarness) -> None:
    page = asking.browser(VIEWER_KEY).get("/ask", params={"user": "nobody"}).text
    assert "Nobody knows this user yet" in page
    assert "what is popular: unknown user" in page


def test_similar_items_lead_on(asking: ConsoleHarness) -> None:
    page = asking.browser(VIEWER_KEY).get("/ask/similar", params={"item": "red-cup"}).text
    assert "<h1>red cup</h1>" in page
    assert "/ask/similar?item=red-plate" in page


def test_what_the_server_refuses_is_said(asking: ConsoleHarness) -> None:
    page = asking.browser(VIEWER_KEY).get("/ask/similar", params={"item": "no-such"})
    assert page.status_code == 200
    assert 'role="alert"' in page.text


def test_the_catalogue_is_searched_by_words_and_ids(asking: ConsoleHarness) -> None:
    browser = asking.browser(VIEWER_KEY)
    whole = browser.get("/ask/items", params={"q": "CUP red"})
    assert "<h1>" in whole.text
    part = browser.get("/ask/items", params={"q": "blue-lamp"}, headers={"HX-Request": "true"}).text
    assert "<html" not in part and "blue lamp" in part
    assert "No title has these words, among 12 items" in browser.get("/ask/items", params={"q": "zebra"}).text


def test_a_server_that_is_away_is_named_with_the_remedy(console: ConsoleHarness) -> None:
    settings = console.settings
    url = f"http://127.0.0.1:{free_port()}"
    gone = settings.model_copy(update={"console": settings.console.replace(server=url)})
    with pytest.raises(ServerUnavailable, match="start it with `millstream serve`"):
        Answers.of(gone).for_user("ann")


def test_a_page_says_that_the_server_is_away(open_shop: World) -> None:
    console = ConsoleHarness(open_shop, server=f"http://127.0.0.1:{free_port()}")
    page = console.browser(VIEWER_KEY).get("/ask", params={"user": "ann"})
    assert page.status_code == 200
    assert "does not answer: start it with" in page.text
