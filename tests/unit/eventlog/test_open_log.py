"""`open_log`: URLs and options."""

from __future__ import annotations

import sqlite3
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest

from pipeline.errors import InvalidSettings
from pipeline.eventlog import open_log
from pipeline.eventlog.kafka.settings import client_options
from pipeline.eventlog.patience import opened


def test_relative_and_absolute_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    open_log("sqlite:///run/log.db").close()
    open_log(f"sqlite:///{tmp_path}/absolute.db").close()
    assert (tmp_path / "run" / "log.db").exists()
    assert (tmp_path / "absolute.db").exists()


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("redis://host", "use sqlite:///path/to/log.db or kafka://host:port"),
        ("log.db", "use sqlite:///path/to/log.db or kafka://host:port"),
        ("sqlite://log.db", "write sqlite:///relative/log.db"),
        ("sqlite:///", "write sqlite:///relative/log.db"),
        ("sqlite:///.", "is a folder; name a file in it"),
        ("sqlite:///..", "is a folder; name a file in it"),
        ("sqlite:////", "is a folder; name a file in it"),
        ("sqlite:////tmp/", "is a folder; name a file in it"),
        ("kafka://", "write kafka://host:port"),
        ("kafka://host", "write kafka://host:port"),
        ("kafka://host:9092,", "write kafka://host:port"),
        ("kafka://user:word@host:9092", "write kafka://host:port"),
    ],
)
def test_a_malformed_url_names_the_remedy(url: str, remedy: str) -> None:
    for create in (True, False):
        with pytest.raises(InvalidSettings, match=remedy) as caught:
            open_log(url, create=create)
        assert "word" not in str(caught.value)


def test_options_are_converted_to_the_types_of_the_client() -> None:
    options = {
        "security_protocol": "SASL_SSL",
        "ssl_check_hostname": "False",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "learner",
        "sasl_plain_password": "1",
    }
    converted = client_options(options)
    context = converted.pop("ssl_context")
    assert isinstance(context, ssl.SSLContext) and not context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert converted == {**options, "ssl_check_hostname": False}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"security_protocol": "TLS"}, "security_protocol: must be one of PLAINTEXT, SSL"),
        ({"sasl_plain_password": "hunter2"}, "sasl_plain_password is for a login: set security_protocol"),
        ({"security_protocol": "SASL_SSL"}, "a login needs sasl_mechanism"),
        (
            {"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN", "sasl_plain_username": "ann"},
            "PLAIN needs sasl_plain_password: set MILLSTREAM_LOG__OPTIONS__SASL_PLAIN_PASSWORD, or a file",
        ),
    ],
)
def test_options_that_make_no_login_are_refused(options: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidSettings, match=words) as caught:
        open_log("kafka://host:9092", options)
    assert "hunter2" not in str(caught.value)


def test_a_wrong_option_is_named_without_its_value(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="sasl_pasword") as caught:
        open_log("kafka://host:9092", {"sasl_pasword": "hunter2"})
    assert "hunter2" not in str(caught.value)
    with pytest.raises(InvalidSettings, match="ssl_check_hostname: must be true or false"):
        open_log("kafka://host:9092", {"ssl_check_hostname": "perhaps"})
    with pytest.raises(InvalidSettings, match="remove ssl_cafile"):
        open_log(f"sqlite:///{tmp_path}/log.db", {"ssl_cafile": "ca.pem"})


def test_sqlite_does_not_import_kafka(tmp_path: Path) -> None:
    code = (
        "import sys; from pipeline.eventlog import open_log;"
        f"open_log('sqlite:///{tmp_path}/log.db').close(); sys.exit('kafka' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def no_database(path: Path) -> None:
    path.write_text("a text that is longer than the header of a database, which has a hundred bytes" * 2)


def torn_schema(path: Path) -> None:
    with open_log(f"sqlite:///{path}"), sqlite3.connect(path) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_master SET sql = 'CREATE TORN' WHERE name = 'records'")
    connection.close()


@pytest.mark.parametrize("breaks", [no_database, torn_schema])
def test_a_file_that_is_no_log_is_refused_and_not_waited_for(
    tmp_path: Path, breaks: Callable[[Path], None]
) -> None:
    breaks(tmp_path / "log.db")
    content = (tmp_path / "log.db").read_bytes()
    with (
        pytest.raises(
            InvalidSettings, match=r"log.db: no event log: .*; restore the log from a backup, or set"
        ),
        opened(f"sqlite:///{tmp_path}/log.db", {}, Event()),
    ):
        pass
    assert (tmp_path / "log.db").read_bytes() == content
