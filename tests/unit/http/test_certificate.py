"""Certificates of servers: what cannot be used is refused at the start, with its table and the remedy."""

from __future__ import annotations

from pathlib import Path
from threading import Event

import pytest
from fastapi import FastAPI

from pipeline.config import HttpConfig, ServeConfig
from pipeline.errors import InvalidSettings
from pipeline.http.certificate import check_certificate
from pipeline.http.listening import serve_beside
from tests.support.certificates import Authority


def test_a_server_without_a_certificate_or_with_a_good_one_may_start(tmp_path: Path) -> None:
    check_certificate(HttpConfig(), "serve")
    check_certificate(HttpConfig(certificate=Authority(tmp_path).issue("one")), "serve")


def test_a_certificate_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    one, other = authority.issue("one"), authority.issue("other")
    for http in (
        HttpConfig(certificate=tmp_path / "none.pem"),
        HttpConfig(certificate=one, private_key=other),
        HttpConfig(certificate=authority.file),
        HttpConfig(certificate=authority.issue("locked", password="secret")),
    ):
        with pytest.raises(
            InvalidSettings, match=rf"serve\.http: {http.certificate} cannot be used with .*PEM"
        ):
            serve_beside(FastAPI(), ServeConfig(port=0), "serve", [], Event(), http=http)
