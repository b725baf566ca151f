"""Keys: none, a wrong one, one without the scope, one used too often."""

from __future__ import annotations

import hashlib

import pytest
from fastapi import HTTPException
from pydantic import SecretStr, ValidationError

from pipeline.config import GatewayConfig, KeyConfig, Scope, ServeConfig
from pipeline.config.access import Guarded
from pipeline.http.keyring import Keyring, TokenBucket
from pipeline.keys import is_key

SHOP = "the key of the shop"
HASH = hashlib.sha256(SHOP.encode()).hexdigest()


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def shop(*scopes: Scope, **limits: float) -> GatewayConfig:
    return GatewayConfig.model_validate(
        {"named_keys": {"shop": {"sha256": HASH, "scopes": scopes, **limits}}}
    )


def status(ring: Keyring, sent: str | None, scope: Scope) -> int:
    try:
        ring.check(sent, scope)
    except HTTPException as refused:
        return refused.status_code
    return 200


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [
        ((Scope.INGEST,), {Scope.INGEST}),
        ((Scope.READ,), {Scope.READ}),
        ((Scope.INGEST, Scope.READ), {Scope.INGEST, Scope.READ}),
        ((Scope.ADMIN,), set(Scope)),
    ],
)
def test_a_key_allows_its_scopes_and_no_others(scopes: tuple[Scope, ...], allowed: set[Scope]) -> None:
    ring = Keyring(shop(*scopes))
    assert {scope for scope in Scope if status(ring, SHOP, scope) == 200} == allowed
    assert {status(ring, SHOP, scope) for scope in set(Scope) - allowed} <= {403}
    assert {status(ring, sent, scope) for sent in (None, "", "another", HASH) for scope in Scope} == {401}


def test_keys_without_names_allow_everything() -> None:
    ring = Keyring(GatewayConfig(api_keys=(SecretStr("first" * 4),)))
    assert {status(ring, "first" * 4, scope) for scope in Scope} == {200}


def test_without_keys_nothing_is_asked() -> None:
    assert Keyring(GatewayConfig()).guards(Scope.ADMIN) == []


def test_a_key_used_too_often_is_refused_until_its_bucket_fills() -> None:
    clock = Clock()
    ring = Keyring(shop(Scope.INGEST, requests_per_second=0.5, burst=2), clock)
    assert [status(ring, SHOP, Scope.INGEST) for _ in range(3)] == [200, 200, 429]
    with pytest.raises(HTTPException) as refused:
        ring.check(SHOP, Scope.INGEST)
    assert refused.value.headers == {"Retry-After": "2"}
    clock.now = 2.0
    assert [status(ring, SHOP, Scope.INGEST) for _ in range(2)] == [200, 429]


def test_a_wrong_scope_takes_no_token() -> None:
    ring = Keyring(shop(Scope.INGEST, requests_per_second=1, burst=1), Clock())
    assert [status(ring, SHOP, Scope.READ) for _ in range(3)] == [403] * 3
    assert status(ring, SHOP, Scope.INGEST) == 200


def test_a_bucket_never_holds_more_than_its_burst() -> None:
    clock = Clock()
    bucket = TokenBucket(10, 3, clock)
    clock.now = 1_000.0
    assert [bucket.take() == 0 for _ in range(4)] == [True, True, True, False]


@pytest.mark.parametrize(
    "given", [{}, {"sha256": HASH, "secret": SHOP}, {"secret": "short"}, {"sha256": "x"}]
)
def test_a_key_is_given_once_and_in_a_form_that_holds(given: dict[str, str]) -> None:
    with pytest.raises(ValidationError) as refused:
        KeyConfig.model_validate({"scopes": ["read"], **given})
    assert SHOP not in str(refused.value.errors(include_input=False))


def test_metrics_are_closed_where_no_key_may_read_them() -> None:
    config: Guarded = ServeConfig.model_validate(
        {"named_keys": {"shop": {"sha256": HASH, "scopes": ["ingest"]}}}
    )
    assert config.reading_keys and not is_key(SHOP, config.reading_keys)
    assert not is_key("", config.reading_keys)
    assert config.own_key is None
    reader = ServeConfig.model_validate({"named_keys": {"shop": {"sha256": HASH, "scopes": ["read"]}}})
    assert is_key(SHOP, reader.reading_keys)


def test_a_key_says_who_holds_it_and_its_mark_finds_them_again() -> None:
    ring = Keyring(shop(Scope.READ))
    holder = ring.holder(SHOP)
    assert holder is not None
    assert (holder.name, holder.is_admin) == ("shop", False)
    assert HASH not in holder.mark and SHOP not in holder.mark
    assert ring.holder_marked(holder.mark) == holder
    assert Keyring(shop(Scope.INGEST)).holder_marked(holder.mark) is None, "it may not read any more"
    assert ring.holder("wrong") is None and ring.holder_marked("wrong") is None
