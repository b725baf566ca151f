"""The console in a real browser, on a running demo: figures move, answers explain, a model is rolled back."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from pipeline.datasets import open_dataset
from pipeline.events import Interaction
from tests.e2e.conftest import CACHE, PICTURES
from tests.support.browser import grave_faults
from tests.support.documents import ROOT

LIMIT, RATE = 4_000, 60
SLOW_MS = 120_000
"""For what a busy machine does."""
STYLES = ("light", "dark")
SIZES = {"desk": (1280, 900), "phone": (390, 844)}
EXIT_SECONDS = 60


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the console of a demo, which goes on until it is interrupted."""
    command = ["demo", "shop", "--limit", str(LIMIT), "--rate", str(RATE), "--keep"]
    folder = tmp_path_factory.mktemp("demo")
    printed = folder / "printed.txt"  # a pipe that nobody reads would stop the demo once it is full
    with printed.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli", *command],
            cwd=folder,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "MILLSTREAM_MODEL__CACHE": str(CACHE),
                "COLUMNS": "200",
            },
            stdout=file,
            start_new_session=True,
        )
    try:
        yield _address(process, printed)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(EXIT_SECONDS)


def _address(process: subprocess.Popen[bytes], printed: Path) -> str:
    while (found := re.search(r"the console: (http://\S+)", printed.read_text())) is None:
        assert process.poll() is None, "the demo ended before it said where its console is"
        time.sleep(0.2)
    return found[1]


@pytest.fixture
def page(browser: Browser, demo: str) -> Iterator[Page]:
    """A page at the console's address; a script that fails or is refused fails the test."""
    context = browser.new_context(base_url=demo, locale="en-GB", viewport={"width": 1280, "height": 900})
    opened, faults = context.new_page(), list[str]()
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    opened.set_default_timeout(SLOW_MS)
    yield opened
    context.close()
    assert not faults


def _picture(page: Page, name: str) -> None:
    page.screenshot(path=PICTURES / f"{name}.png", full_page=True)


def _tile(page: Page, name: str) -> str:
    return page.locator(".tile", has_text=name).locator(".value").inner_text()


def test_an_operator_sees_asks_and_rolls_back(page: Page) -> None:
    expect.set_options(timeout=SLOW_MS)
    page.goto("/")
    expect(page.locator(".tile", has_text="Events learned").locator(".value")).to_have_text(
        re.compile(r"[1-9]\d*/s")
    )
    served, chart = _tile(page, "Snapshot served"), page.locator(".chart").first
    drawn = chart.get_attribute("aria-label")
    expect(page.locator(".tile", has_text="Snapshot served").locator(".value")).not_to_have_text(served)
    expect(chart).not_to_have_attribute("aria-label", drawn or "")
    expect(chart.locator("canvas")).to_be_visible()
    _picture(page, "now")

    page.get_by_role("link", name="Ask").click()
    page.get_by_label("User id").fill(_somebody())
    page.get_by_role("button", name="Ask").first.click()
    expect(page.locator(".items > li")).to_have_count(10)
    expect(page.locator(".past > li").first).to_be_visible()
    page.locator("summary", has_text="Why").first.click()
    expect(page.locator(".parts").first).to_contain_text("covisitation")
    _picture(page, "ask")

    options = page.locator("#at option")
    expect(options.first).to_be_attached()
    version = options.first.get_attribute("value")  # the oldest may leave the store any moment
    page.get_by_label("Beside an earlier snapshot").select_option(version)
    page.get_by_role("button", name="Compare").click()
    expect(page.locator("#beside section")).to_have_count(2)
    expect(page.locator("#beside section").last).to_contain_text(f"Snapshot {version}")
    expect(page.locator("#beside .items > li")).to_have_count(20)
    assert not grave_faults(page)
    _picture(page, "beside")

    page.get_by_role("link", name="Change").click()
    earlier = page.get_by_role("link", name=re.compile("Roll back to")).nth(1)
    version = re.findall(r"\d+-\d+", earlier.inner_text())[0]
    earlier.click()
    page.get_by_label("Reason, for the history").fill("worse since noon")
    page.get_by_role("button", name="Roll back").click()
    expect(page.locator("#outcome")).to_contain_text(f"recorded: rollback-{version}-")
    _picture(page, "rollback")
    page.get_by_role("link", name="See the history").click()
    timeline = page.locator(".timeline")
    expect(timeline).to_contain_text(f"this machine asked: rollback {version}")
    expect(timeline).to_contain_text("adopted")
    expect(timeline).to_contain_text("this machine: worse since noon")
    _picture(page, "history")


def test_an_operator_pauses_learning_and_forgets_a_user(page: Page) -> None:
    expect.set_options(timeout=SLOW_MS)
    for verb in ("Pause", "Resume"):
        page.goto("/change")
        page.get_by_label("Reason, for the history").fill("tests come")
        page.get_by_role("button", name=f"{verb} learning").click()
        expect(page.locator("#outcome")).to_contain_text(f"recorded: {verb.lower()}-")
        page.goto("/")
        finding = page.locator(".findings", has_text="learning is paused by a person")
        expect(finding).to_have_count(int(verb == "Pause"))

    user = _somebody()
    page.goto(f"/ask?user={user}")
    page.get_by_role("link", name="Forget this user").click()
    page.get_by_label("Reason, for the history").fill("asked by mail")
    page.get_by_role("button", name="Forget").click()
    expect(page.locator("#outcome")).to_contain_text(f"{user} is removed")


def _somebody() -> str:
    """The first user of the data that the demo plays."""
    return next(event.user for event in open_dataset("shop").events() if isinstance(event, Interaction))


@pytest.mark.parametrize(("style", "size"), [*product(STYLES, SIZES)])
def test_no_page_has_a_grave_fault_of_accessibility(
    browser: Browser, demo: str, style: str, size: str
) -> None:
    width, height = SIZES[size]
    context = browser.new_context(
        base_url=demo,
        locale="en-GB",
        color_scheme="dark" if style == "dark" else "light",
        viewport={"width": width, "height": height},
    )
    page = context.new_page()
    page.set_default_timeout(SLOW_MS)
    paths = {
        "now": "/",
        "ask": f"/ask?user={_somebody()}",
        "items": "/ask/items?q=bowl",
        "models": "/change",
        "rollback": "/change/rollback?version=1-1",
        "forget": "/change/forget?user=u1",
        "history": "/change/history",
        "policies": "/change/policies",
        "rules": "/change/rules",
        "letters": "/change/letters",
        "fault": "/nowhere",
    }
    faults = {}
    for name, path in paths.items():
        page.goto(path)
        if name == "ask":
            page.locator("summary").first.click()
        faults[name] = grave_faults(page)
        if page.evaluate("document.documentElement.scrollWidth") > width:
            faults[name].append("it is wider than the screen")
        _picture(page, f"{name}-{style}-{size}")
    context.close()
    assert not {name: found for name, found in faults.items() if found}


def test_the_checker_finds_a_grave_fault(browser: Browser) -> None:
    page = browser.new_page(locale="en-GB")
    page.set_content('<html lang="en"><title>x</title><main><h1>x</h1><img src="x.png"></main></html>')
    assert any(fault.startswith("image-alt") for fault in grave_faults(page))
    page.close()
