"""Daemons on a broker with TLS, a login and ACLs, and their secrets in files: they work, and keep them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.kafka.broker import Broker
from pipeline.config import Settings
from pipeline.demo.processes import Daemons
from tests.support.commands import run
from tests.support.http_client import card
from tests.support.secured_broker import PASSWORD, USER, SecuredBroker
from tests.support.tiny_backbone import tiny_backbone

WRONG = "wrong-password-of-somebody"
PATIENCE_SECONDS = 90.0
IN_TIME_SECONDS = 30.0


@pytest.fixture
def log_url(secured: SecuredBroker) -> str:
    return secured.broker.urls["SCRAM"]


@pytest.fixture
def secured(kafka_broker: Broker, tmp_path: Path, prefix: str) -> Iterator[SecuredBroker]:
    assert kafka_broker.running(), "so one can be started"
    found = SecuredBroker(tmp_path)
    with found.broker:
        found.grant(prefix, USER)
        yield found


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    """The file of the password, in a folder as Kubernetes mounts a Secret."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    file = folder / "MILLSTREAM_LOG__OPTIONS__SASL_PLAIN_PASSWORD"
    file.write_text(PASSWORD + "\n")
    return file


@pytest.fixture
def environment(
    environment: dict[str, str], secured: SecuredBroker, password_file: Path, tmp_path: Path
) -> dict[str, str]:
    options = secured.scram()
    del options["sasl_plain_password"]
    return environment | {
        **{f"MILLSTREAM_LOG__OPTIONS__{name.upper()}": value for name, value in options.items()},
        "MILLSTREAM_SECRETS": str(password_file.parent),
        "MILLSTREAM_MODEL__BACKBONE": str(tiny_backbone(tmp_path / "backbone")),
    }


def test_a_secured_broker_and_a_wrong_password(
    settings: Settings, daemons: Daemons, password_file: Path, tmp_path: Path
) -> None:
    assert run("topics", "create").exit_code == 0
    assert run("topics", "check").exit_code == 0
    daemons.start("learn")
    daemons.start("serve")
    daemons.start("play", "shop:seed=3,events=600")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not card(settings).get("version"):
        daemons.check("learn", "serve")
        assert time.monotonic() < deadline, "nothing is served"
        time.sleep(0.3)

    password_file.write_text(WRONG)
    began = time.monotonic()
    refused = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "retrain", "--follow"],
        capture_output=True,
        text=True,
        check=False,
        timeout=IN_TIME_SECONDS,
    )
    assert time.monotonic() - began < IN_TIME_SECONDS
    assert refused.returncode == 1
    _begun, line = refused.stderr.strip().splitlines()
    assert line.startswith("LogRefused: ") and "sasl_plain_password" in line
    printed = [run("config").output, run("doctor").output, refused.stdout, refused.stderr]
    logs = [file.read_text(errors="replace") for file in tmp_path.glob("*.log")]
    assert len(logs) == 3
    assert not any(secret in text for text in (*printed, *logs) for secret in (PASSWORD, WRONG))
