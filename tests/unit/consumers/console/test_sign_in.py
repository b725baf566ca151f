"""Signing in at an OpenID provider: who gets in as whom, and what is refused; signing out ends every copy."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr, ValidationError

from consumers.console.access import ATTEMPT_COOKIE, COOKIE, MOST_FAILURES, Access
from consumers.console.provider import Provider
from pipeline.config import ConsoleConfig, OidcConfig
from pipeline.errors import InvalidSettings
from pipeline.sealing import open_record
from tests.support.console_harness import VIEWER_KEY, ConsoleHarness, keyed, token_in
from tests.support.openid import CLIENT, SECRET, MadeUpProvider, made_up_provider
from tests.support.serve_harness import World
from tests.support.serve_tools import wait_until


@pytest.fixture
def provider() -> Iterator[MadeUpProvider]:
    with made_up_provider() as running:
        yield running


def settings_for(provider: MadeUpProvider, **changes: Any) -> ConsoleConfig:
    oidc = OidcConfig(
        issuer=provider.issuer,
        client_id=CLIENT,
        client_secret=SecretStr(SECRET),
        url="http://127.0.0.1",
        operators=("shop-admins",),
        readers=("staff",),
    )
    return ConsoleConfig(oidc=oidc.replace(**changes))


def sign_in(browser: TestClient, provider: MadeUpProvider, goal: str = "/", **brought: str) -> Any:
    """Go to the provider and back, as a browser does."""
    sent = browser.get("/sign-in/provider", params={"next": goal}, follow_redirects=False)
    assert sent.status_code == 303, sent.text
    return browser.get(
        "/sign-in/callback", params={**provider.authorize(sent.headers["Location"]), **brought}
    )


def test_who_is_an_operator_at_the_provider_may_act(open_shop: World, provider: MadeUpProvider) -> None:
    console = ConsoleHarness(open_shop, settings_for(provider))
    browser = console.browser()
    page = browser.get("/change/rules", follow_redirects=True)
    assert "Sign in at 127.0.0.1" in page.text and "API key" not in page.text
    done = sign_in(browser, provider, "/change/rules")
    assert 'content="0;url=/change/rules"' in done.text
    rules = browser.get("/change/rules").text
    assert "olga" in rules and "looks only" not in rules


def test_who_is_a_reader_may_look_only(open_shop: World, provider: MadeUpProvider) -> None:
    provider.claims = {"groups": "staff", "preferred_username": None}
    browser = ConsoleHarness(open_shop, settings_for(provider)).browser()
    sign_in(browser, provider)
    page = browser.get("/").text
    assert "1001" in page and "looks only" in page


def test_a_stranger_to_the_settings_is_kept_out(open_shop: World, provider: MadeUpProvider) -> None:
    provider.claims = {"groups": ["guests"]}
    browser = ConsoleHarness(open_shop, settings_for(provider)).browser()
    answer = sign_in(browser, provider)
    assert answer.status_code == 401 and "console.oidc.readers" in answer.text
    assert COOKIE not in browser.cookies


@pytest.mark.parametrize(
    ("claims", "config"),
    [
        ({"realm_access": {"roles": ["shop-admins"]}}, {"roles_claim": "realm_access.roles"}),
        (
            {"email": "olga@example.com", "email_verified": True},
            {"roles_claim": "email", "operators": ("olga@example.com",)},
        ),
        (
            {"https://shop.example.com/roles": ["shop-admins"]},
            {"roles_claim": "https://shop.example.com/roles"},
        ),
        ({"aud": [CLIENT, "other"], "azp": CLIENT}, {}),
    ],
)
def test_roles_are_where_providers_put_them(
    open_shop: World, provider: MadeUpProvider, claims: dict[str, Any], config: dict[str, Any]
) -> None:
    provider.claims = claims
    browser = ConsoleHarness(open_shop, settings_for(provider, **config)).browser()
    sign_in(browser, provider)
    page = browser.get("/").text
    assert "olga" in page and "looks only" not in page


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"aud": "another"}, "claim aud"),
        ({"aud": [CLIENT, "another"]}, "claim azp"),
        ({"aud": [CLIENT, "another"], "azp": "another"}, "claim azp"),
        ({"exp": 1_700_000_000}, "claim exp"),
        ({"exp": None}, "claim exp"),
        ({"nonce": "of another sign-in"}, "claim nonce"),
        ({"nonce": None}, "claim nonce"),
        ({"iss": "https://evil.example.com"}, "claim iss"),
        ({"sub": None}, "claim sub"),
    ],
)
def test_a_token_that_is_not_for_this_sign_in_is_refused(
    open_shop: World, provider: MadeUpProvider, claims: dict[str, Any], said: str
) -> None:
    provider.claims = claims
    browser = ConsoleHarness(open_shop, settings_for(provider)).browser()
    answer = sign_in(browser, provider)
    assert answer.status_code == 401
    assert said in answer.text
    assert COOKIE not in browser.cookies


@pytest.mark.parametrize("signing", ["none", "HS256", "stranger"])
def test_a_token_without_the_providers_signature_is_refused(
    open_shop: World, provider: MadeUpProvider, signing: str
) -> None:
    provider.signing = signing
    browser = ConsoleHarness(open_shop, settings_for(provider)).browser()
    answer = sign_in(browser, provider)
    assert answer.status_code == 401 and "does not hold: it is not signed" in answer.text
    assert COOKIE not in browser.cookies


def test_an_address_that_is_not_verified_names_nobody(open_shop: World, provider: MadeUpProvider) -> None:
    provider.claims = {"email": "olga@example.com", "email_verified": False}
    config = settings_for(provider, roles_claim="email", operators=("olga@example.com",))
    assert sign_in(ConsoleHarness(open_shop, config).browser(), provider).status_code == 401


def test_an_answer_is_taken_once_and_by_the_browser_that_asked(
    open_shop: World, provider: MadeUpProvider
) -> None:
    console = ConsoleHarness(open_shop, settings_for(provider))
    browser, other = console.browser(), console.browser()
    sent = browser.get("/sign-in/provider", follow_redirects=False)
    attempt = browser.cookies[ATTEMPT_COOKIE]
    brought = provider.authorize(sent.headers["Location"])
    assert other.get("/sign-in/callback", params=brought).status_code == 401, "another browser"
    wrong = {**brought, "state": "another"}
    assert browser.get("/sign-in/callback", params=wrong).status_code == 401, "another state"
    assert browser.get("/sign-in/callback", params=brought).status_code == 200
    again = other.get("/sign-in/callback", params=brought, headers={"Cookie": f"{ATTEMPT_COOKIE}={attempt}"})
    assert again.status_code == 401 and "has been used" in again.text
    assert COOKIE not in other.cookies


def test_an_answer_of_another_provider_is_refused(open_shop: World, provider: MadeUpProvider) -> None:
    browser = ConsoleHarness(open_shop, settings_for(provider)).browser()
    assert "another provider" in sign_in(browser, provider, iss="https://evil.example.com").text
    assert "the provider says access_denied" in sign_in(browser, provider, error="access_denied").text
    assert "the provider says nothing" in sign_in(browser, provider, error="<b>").text


def test_a_provider_that_is_away_leads_back_to_the_sign_in(
    open_shop: World, provider: MadeUpProvider
) -> None:
    console = ConsoleHarness(open_shop, settings_for(provider).replace(named_keys=keyed().named_keys))
    browser = console.browser()
    provider.status = 503
    answer = sign_in(browser, provider)
    assert answer.status_code == 503
    assert "cannot be asked: it answers 503" in answer.text and "API key" in answer.text
    away = settings_for(provider, issuer="http://127.0.0.1:9")
    answer = ConsoleHarness(open_shop, away).browser().get("/sign-in/provider")
    assert answer.status_code == 503
    assert "Connection refused" in answer.text and "try again later" in answer.text


def test_a_wrong_secret_and_a_wrong_issuer_are_named(open_shop: World, provider: MadeUpProvider) -> None:
    wrong = settings_for(provider, client_secret=SecretStr("w" * 16))
    answer = sign_in(ConsoleHarness(open_shop, wrong).browser(), provider)
    assert answer.status_code == 401 and "console.oidc.client_id and client_secret" in answer.text
    provider.metadata = {"issuer": "https://other.example.com"}
    answer = ConsoleHarness(open_shop, settings_for(provider)).browser().get("/sign-in/provider")
    assert answer.status_code == 503 and "copy its issuer" in answer.text


def test_secrets_are_not_sent_to_an_address_less_safe_than_the_issuers(
    open_shop: World, provider: MadeUpProvider
) -> None:
    provider.metadata = {"authorization_endpoint": "ftp://127.0.0.1/auth"}
    answer = ConsoleHarness(open_shop, settings_for(provider)).browser().get("/sign-in/provider")
    assert "no authorization_endpoint that can be used" in answer.text


def test_failed_sign_ins_are_slowed_down(open_shop: World, provider: MadeUpProvider) -> None:
    browser = ConsoleHarness(open_shop, settings_for(provider)).browser()
    answers = [browser.get("/sign-in/callback").status_code for _ in range(MOST_FAILURES + 2)]
    assert answers[0] == 401 and answers[-1] == 429


def test_no_token_and_no_secret_is_logged(
    open_shop: World, provider: MadeUpProvider, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    browser = ConsoleHarness(open_shop, settings_for(provider)).browser()
    sign_in(browser, provider)
    provider.claims = {"aud": "another"}
    sign_in(browser, provider)
    assert "a sign-in failed: the provider's ID token does not hold: its claim aud is wrong" in caplog.text
    ours = "".join(record.getMessage() for record in caplog.records if not record.name.startswith("http"))
    assert len(provider.sent) == 8 and not [one for one in provider.sent if one in ours]


def test_who_signs_out_ends_every_copy_of_the_cookie(open_shop: World) -> None:
    console = ConsoleHarness(open_shop)
    browser, copy = console.browser(VIEWER_KEY), console.browser()
    copy.cookies.set(COOKIE, browser.cookies[COOKIE])
    assert copy.get("/", follow_redirects=False).status_code == 200
    browser.post("/sign-out", data={"csrf": token_in(browser.get("/"))})
    assert copy.get("/", follow_redirects=False).status_code == 303
    assert console.browser(VIEWER_KEY).get("/", follow_redirects=False).status_code == 200


@contextmanager
def following(console: ConsoleHarness) -> Iterator[Access]:
    """The access of a console that has read which sign-ins ended, and goes on."""
    access, stop = console.parts.access, Event()
    thread = Thread(target=access.sign_outs.follow, args=(stop,))
    thread.start()
    wait_until(lambda: access.sign_outs.are_known)
    yield access
    stop.set()
    thread.join()


def test_a_sign_out_holds_at_other_consoles_and_after_a_restart(world: World) -> None:
    world.open()
    config = keyed().replace(secret=SecretStr("s" * 32))
    console = ConsoleHarness(world, config)
    browser, stays = console.browser(VIEWER_KEY), console.browser(VIEWER_KEY).cookies[COOKIE]
    ended = browser.cookies[COOKIE]
    with following(ConsoleHarness(world, config)) as other:
        assert other.visitor(ended) is not None
        browser.post("/sign-out", data={"csrf": token_in(browser.get("/"))})
        wait_until(lambda: other.visitor(ended) is None)
        assert other.visitor(stays) is not None
    with following(ConsoleHarness(world, config)) as restarted:
        assert restarted.visitor(ended) is None
        assert restarted.visitor(stays) is not None
    assert console.records() == [], "signing out is no news of the model"


def test_what_stands_in_the_log_does_not_reveal_the_cookie(world: World) -> None:
    world.open()
    console = ConsoleHarness(world)
    browser = console.browser(VIEWER_KEY)
    browser.post("/sign-out", data={"csrf": token_in(browser.get("/"))})
    (record,) = world.records(world.topics.control)
    assert record.value is not None
    assert set(open_record(record.value)) == {"kind", "v", "session"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"issuer": "http://login.example.com"},
        {"issuer": "ftp://login.example.com"},
        {"issuer": "https://login.example.com"},
        {"issuer": "https://login.example.com", "client_id": "a", "url": "http://console.example.com"},
    ],
)
def test_settings_that_are_unsafe_or_incomplete_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        OidcConfig(**wrong)


def test_a_provider_lets_the_console_listen_to_others(provider: MadeUpProvider) -> None:
    assert settings_for(provider).replace(host="0.0.0.0").needs_sign_in


def test_a_ca_that_cannot_be_read_is_named(provider: MadeUpProvider, tmp_path: Any) -> None:
    with pytest.raises(InvalidSettings, match=r"console\.oidc\.authority"):
        Provider(settings_for(provider, authority=tmp_path / "none.pem").oidc)
