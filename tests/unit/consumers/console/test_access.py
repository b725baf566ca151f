"""Sign-in by keys, roles, and cookies that cannot be forged."""

from __future__ import annotations

from unittest.mock import create_autospec

import pytest
from fastapi import HTTPException
from pydantic import SecretStr, ValidationError

from consumers.console.access import MOST_FAILURES, Access
from consumers.console.sign_outs import SignOuts
from pipeline.config import ConsoleConfig, KeyConfig, Scope
from pipeline.eventlog.port import EventLog
from pipeline.eventlog.topics import Topics
from tests.support.console_harness import OPERATOR_KEY, VIEWER_KEY, keyed

SECRET = SecretStr("s" * 32)


def access_of(config: ConsoleConfig) -> Access:
    """The access of a console at which nobody signs out."""
    return Access(config, SignOuts(create_autospec(EventLog), Topics("shop"), 60))


def signed_in(access: Access, key: str) -> str:
    cookie = access.sign_in(key)
    assert cookie is not None
    return cookie


@pytest.mark.parametrize(("key", "name", "acts"), [(OPERATOR_KEY, "olga", True), (VIEWER_KEY, "vera", False)])
def test_a_key_says_who_it_is_and_whether_they_may_act(key: str, name: str, acts: bool) -> None:
    access = access_of(keyed())
    visitor = access.visitor(signed_in(access, key))
    assert visitor is not None
    assert (visitor.name, visitor.is_operator) == (name, acts)


@pytest.mark.parametrize("key", ["", "wrong", "i" * 16])
def test_what_allows_nobody_to_look_lets_nobody_in(key: str) -> None:
    assert access_of(keyed()).sign_in(key) is None


def test_a_key_that_lets_nobody_in_is_a_fault_of_the_settings() -> None:
    shop = KeyConfig(secret=SecretStr("i" * 16), scopes=(Scope.INGEST,))
    with pytest.raises(ValidationError, match=r"console\.named_keys\.shop lets nobody in"):
        ConsoleConfig(named_keys={"shop": shop})


def test_an_unnamed_key_may_act() -> None:
    access = access_of(ConsoleConfig(api_keys=(SecretStr(OPERATOR_KEY),)))
    visitor = access.visitor(signed_in(access, OPERATOR_KEY))
    assert visitor is not None and visitor.is_operator


def test_without_keys_everybody_on_this_machine_may_act() -> None:
    access = access_of(ConsoleConfig())
    visitor = access.visitor(signed_in(access, ""))
    assert visitor is not None and visitor.is_operator


def test_without_keys_only_this_machine_may_be_listened_to() -> None:
    with pytest.raises(ValidationError, match="name keys in"):
        ConsoleConfig(host="0.0.0.0")
    assert ConsoleConfig(host="0.0.0.0", api_keys=(SecretStr(OPERATOR_KEY),)).host == "0.0.0.0"


def test_a_forged_or_foreign_cookie_is_nobodys() -> None:
    access, other = access_of(keyed()), access_of(keyed())
    cookie = signed_in(other, OPERATOR_KEY)
    assert access.visitor(cookie) is None, "each start draws a secret"
    signed, _, signature = signed_in(access, VIEWER_KEY).rpartition(".")
    # The last character would not do: two of its bits are padding, which says nothing.
    assert access.visitor(f"{signed}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}") is None
    assert access.visitor("") is None


def test_a_sign_in_outlives_a_restart_with_a_secret_unless_its_key_is_gone() -> None:
    with_secret = keyed().replace(secret=SECRET)
    cookie = signed_in(access_of(with_secret), OPERATOR_KEY)
    assert access_of(with_secret).visitor(cookie) is not None
    left = {name: key for name, key in with_secret.named_keys.items() if name != "olga"}
    assert access_of(with_secret.replace(named_keys=left)).visitor(cookie) is None


def test_a_cookie_of_a_console_without_keys_opens_none_that_has_keys() -> None:
    cookie = signed_in(access_of(ConsoleConfig(secret=SECRET)), "")
    assert access_of(keyed().replace(secret=SECRET)).visitor(cookie) is None


def test_a_sign_in_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    access = access_of(keyed().replace(session_hours=1))
    cookie = signed_in(access, OPERATOR_KEY)
    monkeypatch.setattr("itsdangerous.timed.time.time", lambda: 4e9)
    assert access.visitor(cookie) is None


def test_two_sign_ins_have_tokens_of_their_own() -> None:
    access = access_of(keyed())
    one, other = (access.visitor(signed_in(access, OPERATOR_KEY)) for _ in range(2))
    assert one and other and one.forgery_token != other.forgery_token


def test_guessing_is_slowed_down() -> None:
    access = access_of(keyed())
    with pytest.raises(HTTPException) as refused:
        for _ in range(MOST_FAILURES + 2):
            access.sign_in("wrong")
    assert refused.value.status_code == 429
    assert access.sign_in(OPERATOR_KEY) is not None, "who has a key gets in"
