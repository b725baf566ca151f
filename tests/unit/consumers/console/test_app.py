"""Pages need a sign-in, carry strict headers, and answer errors in words."""

from __future__ import annotations

import re

import pytest

from consumers.console.access import COOKIE
from pipeline.config import ConsoleConfig
from tests.support.console_harness import OPERATOR_KEY, VIEWER_KEY, ConsoleHarness, keyed, token_in
from tests.support.serve_harness import World

PAGES = (
    "/",
    "/ask",
    "/ask?user=ann",
    "/ask/items?q=cup",
    "/ask/similar?item=red-cup",
    "/change",
    "/change/rollback?version=1-1",
    "/change/forget?user=anna",
    "/change/history",
    "/change/policies",
    "/change/rules",
    "/change/letters",
)
INLINE = re.compile(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:", re.IGNORECASE)


@pytest.mark.parametrize("path", [*PAGES, "/now/points", "/now/stream"])
def test_who_is_not_signed_in_is_asked_to(console: ConsoleHarness, path: str) -> None:
    answer = console.browser().get(path, follow_redirects=False)
    assert answer.status_code == 303
    assert "/sign-in?next=" in answer.headers["Location"]


def test_a_slash_behind_a_page_says_nothing(console: ConsoleHarness) -> None:
    browser = console.browser()
    assert browser.get("/healthz/", follow_redirects=False).json() == {"status": "ok"}
    assert browser.get("/change/history/", follow_redirects=False).headers["Location"].startswith("/sign-in")


def test_a_part_of_a_page_sends_the_browser_to_the_sign_in(console: ConsoleHarness) -> None:
    answer = console.browser().get("/change/history", headers={"HX-Request": "true"}, follow_redirects=False)
    assert (answer.status_code, answer.headers["HX-Redirect"]) == (204, "/sign-in")


def test_a_wrong_key_is_said_to_be_none(console: ConsoleHarness) -> None:
    answer = console.browser().post("/sign-in", data={"key": "wrong", "next": "/"})
    assert answer.status_code == 401
    assert "this is no key" in answer.text
    assert "wrong" not in answer.text
    assert COOKIE not in answer.cookies


def test_the_cookie_is_out_of_reach_of_scripts_and_strangers(console: ConsoleHarness) -> None:
    fields = {"key": VIEWER_KEY, "next": "/ask"}
    answer = console.browser().post("/sign-in", data=fields, follow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/ask")
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie
    assert VIEWER_KEY not in cookie


def test_cookies_are_for_https_alone_if_the_settings_say_so(open_shop: World) -> None:
    secure = ConsoleHarness(open_shop, keyed().replace(secure_cookies=True))
    answer = secure.browser().post("/sign-in", data={"key": VIEWER_KEY}, follow_redirects=False)
    assert "Secure" in answer.headers["Set-Cookie"]


@pytest.mark.parametrize("goal", ["https://example.com", "//example.com", "/\\example.com"])
def test_a_sign_in_leads_to_pages_of_ours_only(console: ConsoleHarness, goal: str) -> None:
    fields = {"key": VIEWER_KEY, "next": goal}
    answer = console.browser().post("/sign-in", data=fields, follow_redirects=False)
    assert answer.headers["Location"] == "/"


def test_signing_out_needs_the_token_and_ends_it(console: ConsoleHarness) -> None:
    browser = console.browser(VIEWER_KEY)
    assert browser.post("/sign-out").status_code == 403
    assert browser.get("/").status_code == 200
    browser.post("/sign-out", data={"csrf": token_in(browser.get("/"))})
    assert browser.get("/", follow_redirects=False).status_code == 303


@pytest.mark.parametrize("path", PAGES)
def test_pages_have_strict_headers_and_nothing_inline(console: ConsoleHarness, path: str) -> None:
    answer = console.browser(OPERATOR_KEY).get(path)
    assert answer.status_code == 200
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert not INLINE.search(answer.text), INLINE.search(answer.text)
    assert '<html lang="en">' in answer.text and "<h1" in answer.text


@pytest.mark.parametrize(
    "path",
    ["/static/console.css", "/static/htmx.min.js", "/static/sse.min.js", "/static/charts.js"]
    + ["/static/icon.svg", "/static/plots/uPlot.iife.min.js", "/static/plots/uPlot.min.css", "/healthz"],
)
def test_files_and_health_need_no_sign_in(console: ConsoleHarness, path: str) -> None:
    assert console.browser().get(path, follow_redirects=False).status_code == 200


def test_every_file_that_a_page_names_is_there(console: ConsoleHarness) -> None:
    browser = console.browser(VIEWER_KEY)
    for path in re.findall(r'(?:src|href)="(/static/[^"]+)"', browser.get("/").text):
        assert browser.get(path).status_code == 200, path


def test_without_keys_a_foreign_name_of_this_machine_is_refused(open_shop: World) -> None:
    browser = ConsoleHarness(open_shop, ConsoleConfig()).browser()
    assert browser.get("/").status_code == 200, "the sign-in lets in at once"
    assert browser.get("/", headers={"Host": "evil.example"}).status_code == 400


def test_errors_are_pages(console: ConsoleHarness) -> None:
    browser = console.browser(VIEWER_KEY)
    unknown = browser.get("/nowhere")
    assert (unknown.status_code, "That is not possible" in unknown.text) == (404, True)
    invalid = browser.get("/change/rollback?version=<b>")
    assert invalid.status_code == 422
    assert "query.version: must match pattern" in invalid.text


def test_what_users_write_is_escaped(console: ConsoleHarness) -> None:
    answer = console.browser(VIEWER_KEY).get("/ask", params={"user": "<script>alert(1)</script>"})
    assert "<script>alert" not in answer.text
    assert "&lt;script&gt;alert" in answer.text
