"""Signing in at a certified OpenID provider in a real browser, and what the console's log says of it."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

import pytest
from playwright.sync_api import Browser, Page, expect

from pipeline.config import LogConfig
from pipeline.demo.processes import Daemons, free_port
from pipeline.eventlog import open_log
from pipeline.eventlog.topics import Topics
from tests.e2e.conftest import PICTURES
from tests.support.browser import grave_faults
from tests.support.npm import missing_for_npm
from tests.support.openid import CLIENT, SECRET, certified_provider
from tests.support.serve_tools import wait_until

SLOW_MS = 60_000
COOKIE = "millstream_console"


class Signing(NamedTuple):
    """A console whose visitors sign in at a provider."""

    url: str
    provider: subprocess.Popen[str]
    log: Path


@pytest.fixture
def signing(tmp_path: Path) -> Iterator[Signing]:
    if missing := missing_for_npm():
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    port, log_url = free_port(), f"sqlite:///{tmp_path}/log.db"
    url = f"http://127.0.0.1:{port}"
    with open_log(log_url) as event_log:
        Topics("shop").create(event_log, *LogConfig().topic_sizes)
    with certified_provider(f"{url}/sign-in/callback") as (issuer, process):
        environment = {
            "MILLSTREAM_LOG__URL": log_url,
            "MILLSTREAM_LOG__PREFIX": "shop",
            "MILLSTREAM_CONSOLE__PORT": str(port),
            "MILLSTREAM_CONSOLE__OIDC__ISSUER": issuer,
            "MILLSTREAM_CONSOLE__OIDC__CLIENT_ID": CLIENT,
            "MILLSTREAM_CONSOLE__OIDC__CLIENT_SECRET": SECRET,
            "MILLSTREAM_CONSOLE__OIDC__URL": url,
            "MILLSTREAM_CONSOLE__OIDC__OPERATORS": "admins",
            "MILLSTREAM_CONSOLE__OIDC__READERS": "staff",
        }
        with Daemons(tmp_path, environment) as daemons:
            daemons.start("console")
            wait_until(lambda: _is_up(daemons, url), SLOW_MS / 1000)
            yield Signing(url, process, tmp_path / "console.log")


def _is_up(daemons: Daemons, url: str) -> bool:
    daemons.check("console")
    try:
        with urlopen(f"{url}/healthz"):
            return True
    except OSError:
        return False


def _sign_in(page: Page, name: str) -> None:
    """Sign in and consent at the provider."""
    page.get_by_role("link", name="Sign in at 127.0.0.1").click()
    page.locator("input[name=login]").fill(name)
    page.locator("input[name=password]").fill("any")
    page.get_by_role("button", name="Sign-in").click()
    page.get_by_role("button", name="Continue").click()


def test_people_sign_in_at_the_provider_and_out_for_good(browser: Browser, signing: Signing) -> None:
    context = browser.new_context(base_url=signing.url, locale="en-GB")
    page, addresses = context.new_page(), list[str]()
    page.on("request", lambda request: addresses.append(request.url))
    page.set_default_timeout(SLOW_MS)
    page.goto("/change/rules")
    assert not grave_faults(page)
    page.screenshot(path=PICTURES / "sign-in.png")
    _sign_in(page, "admins-olga")
    expect(page.get_by_role("heading", name="In force")).to_be_visible()
    expect(page.locator(".who")).to_contain_text("admins-olga")
    expect(page.get_by_role("button", name="Put in force")).to_be_visible()
    (cookie,) = [one for one in context.cookies() if one.get("name") == COOKIE]
    copy = browser.new_context(base_url=signing.url)
    copy.add_cookies([{"name": COOKIE, "value": cookie["value"], "url": signing.url}])
    assert copy.request.get("/", max_redirects=0).status == 200
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("link", name="Sign in at 127.0.0.1")).to_be_visible()
    assert copy.request.get("/", max_redirects=0).status == 303

    callback = next(address for address in addresses if "/sign-in/callback?" in address)
    assert page.request.get(callback).status == 401, "the answer is used"
    signing.provider.kill()
    signing.provider.wait()
    page.get_by_role("link", name="Sign in at 127.0.0.1").click()
    expect(page.get_by_role("alert")).to_contain_text("cannot be asked")
    expect(page.get_by_role("link", name="Sign in at 127.0.0.1")).to_be_visible()
    assert not grave_faults(page)
    written = signing.log.read_text()
    codes = re.findall(r"code=([\w-]+)", callback)
    assert codes and "a sign-in failed: " in written
    assert not [one for one in (*codes, cookie["value"], SECRET) if one in written]
    for one in (context, copy):
        one.close()


@pytest.mark.parametrize(("name", "status"), [("staff-vera", 200), ("guests-gus", 401)])
def test_roles_are_those_of_the_provider(browser: Browser, signing: Signing, name: str, status: int) -> None:
    context = browser.new_context(base_url=signing.url, locale="en-GB")
    page = context.new_page()
    page.set_default_timeout(SLOW_MS)
    page.goto("/change/rules")
    _sign_in(page, name)
    if status == 200:
        expect(page.locator(".who")).to_contain_text("looks only")
    else:
        expect(page.get_by_role("alert")).to_contain_text("console.oidc.readers")
    context.close()
