"""Logins in URLs of the settings, which commands and logs print."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import load_settings, to_toml
from pipeline.config.urls import masked
from pipeline.errors import InvalidSettings

PASSWORD = "hunter2hunter2"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("name", "url", "remedy"),
    [
        ("LOG__URL", f"kafka://shop:{PASSWORD}@broker:9092", "sasl_plain_password"),
        ("LOG__URL", f"kafka://broker:9092,shop:{PASSWORD}/1@other:9092", "sasl_plain_password"),
        ("LOG__URL", f"postgres://shop:{PASSWORD}@host/events", "sasl_plain_password"),
        ("BRIDGE__URL", f"kafka://shop:{PASSWORD}@broker:9092", "sasl_plain_password"),
        ("BRIDGE__REGISTRY", f"https://shop:{PASSWORD}@registry", "registry_login"),
        ("TRACING__ENDPOINT", f"https://shop:{PASSWORD}@collector/v1/traces", "OTEL_EXPORTER_OTLP_HEADERS"),
        ("METRICS__URLS__LEARN", f"http://shop:{PASSWORD}@learn:9101/metrics", "key"),
        ("CONSOLE__SERVER", f"http://shop:{PASSWORD}@serve:8000", "key"),
        ("CONSOLE__OIDC__ISSUER", f"https://shop:{PASSWORD}@login.example.com", "client_secret"),
    ],
)
def test_a_login_in_a_url_is_refused_with_where_it_belongs(
    name: str, url: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"MILLSTREAM_{name}", url)
    with pytest.raises(InvalidSettings, match=f"has a login in it.*{remedy}") as refused:
        load_settings()
    assert PASSWORD not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("LOG__URL", "sqlite:////srv/shop@home/log.db"),
        ("LOG__URL", "kafka://broker:9092,other:9092"),
        ("BRIDGE__REGISTRY", "schemas/@latest"),
        ("METRICS__URLS__LEARN", "http://learn:9101/@shop/metrics?of=a@b"),
    ],
)
def test_an_at_that_begins_no_host_is_no_login(name: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"MILLSTREAM_{name}", url)
    assert url in to_toml(load_settings())


def test_the_password_of_a_store_is_masked_where_it_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    store = f"sftp://shop:{PASSWORD}@host/snapshots"
    monkeypatch.setenv("MILLSTREAM_SNAPSHOTS__STORE", store)
    settings = load_settings()
    assert settings.snapshots.store == store
    assert 'store = "sftp://shop:**********@host/snapshots"' in to_toml(settings)


@pytest.mark.parametrize(
    "url", ["run/snapshots", "s3://bucket/a:b@c", "sftp://shop@host/x", "file:///srv/a:b@c"]
)
def test_what_has_no_password_is_printed_as_it_is(url: str) -> None:
    assert masked(url) == url
