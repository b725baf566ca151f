"""A real broker with TLS, mutual TLS, SASL/SCRAM and ACLs: what works, and what each refusal says."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from kafka.admin import ACLOperation, ResourceType

from deploy.kafka.broker import Broker
from pipeline.errors import DeliveryError, InvalidSettings, LogRefused, MillstreamError, TopicError
from pipeline.eventlog import open_log
from pipeline.eventlog.port import EventLog, TopicPartition
from pipeline.eventlog.topics import Topics
from tests.support.certificates import Authority
from tests.support.secured_broker import PASSWORD, STRANGER, USER, SecuredBroker

HOUR = 3_600_000
SIZES = (2, 24 * HOUR, HOUR)
WRONG = "wrong-secret-wrong-secret"
KEY_PASSWORD = "hunter2-hunter2"
IN_TIME_SECONDS = 10.0


@pytest.fixture(scope="module")
def secured(kafka_broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredBroker]:
    assert kafka_broker.running(), "so one can be started"
    found = SecuredBroker(tmp_path_factory.mktemp("secured"))
    with found.broker:
        yield found


@pytest.fixture
def topics(secured: SecuredBroker, prefix: str) -> Topics:
    """Topics of a prefix on which the user has all rights."""
    topics = Topics(prefix)
    secured.grant(prefix, USER)
    with open_log(secured.broker.urls["SCRAM"], secured.scram()) as log:
        topics.create(log, *SIZES)
    return topics


def used(log: EventLog, topics: Topics) -> int:
    """Do what daemons do: check, append, journal, read; return how many records were read."""
    topics.check(log, *SIZES)
    with closing(log.writer()) as writer:
        writer.append(topics.interactions, "ann", b"{}", partition=0)
        writer.flush()
    with log.fenced_writer(topics.journal, owner="learn") as journal:
        journal.append(b"entry")
    log.report(f"{topics.prefix}.learn", {TopicPartition(topics.interactions, 0): 0})
    assert log.reported(f"{topics.prefix}.learn", [topics.interactions])
    with log.reader({TopicPartition(topics.interactions, 0): 0}) as reader:
        return len(reader.poll(10, 5.0))


def test_a_password_over_tls(secured: SecuredBroker, topics: Topics) -> None:
    with open_log(secured.broker.urls["SCRAM"], secured.scram()) as log:
        assert used(log, topics) == 1


@pytest.mark.parametrize("password", ["", KEY_PASSWORD])
def test_a_certificate_of_its_own(secured: SecuredBroker, topics: Topics, password: str) -> None:
    with open_log(secured.broker.urls["MUTUAL"], secured.mutual(password=password)) as log:
        assert used(log, topics) == 1


def without(options: dict[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in options.items() if name not in names}


def of_another_authority(secured: SecuredBroker) -> dict[str, str]:
    strange = Authority(secured.authority.file.parent / "strange")
    own = str(strange.issue(USER))
    return secured.mutual() | {"ssl_certfile": own, "ssl_keyfile": own}


Options = Callable[[SecuredBroker], dict[str, str]]
REFUSED: dict[str, tuple[str, Options, str]] = {
    "wrong password": ("SCRAM", lambda s: s.scram(sasl_plain_password=WRONG), "sasl_plain_password"),
    "unknown user": ("SCRAM", lambda s: s.scram(sasl_plain_username="nobody"), "sasl_plain_username"),
    "wrong mechanism": ("SCRAM", lambda s: s.scram(sasl_mechanism="SCRAM-SHA-256"), "SCRAM-SHA-512"),
    "unknown authority": ("SCRAM", lambda s: without(s.scram(), "ssl_cafile"), "ssl_cafile"),
    "broker's certificate expired": (
        "EXPIRED",
        lambda s: without(s.mutual(), "ssl_certfile", "ssl_keyfile"),
        "has expired: renew it",
    ),
    "no certificate": (
        "MUTUAL",
        lambda s: without(s.mutual(), "ssl_certfile", "ssl_keyfile"),
        "ssl_certfile",
    ),
    "certificate of another authority": ("MUTUAL", of_another_authority, "ssl_certfile"),
    "own certificate expired": ("MUTUAL", lambda s: s.mutual("late", days=-1), "ssl_certfile"),
    "no TLS there": ("PLAINTEXT", lambda s: s.scram(), "security_protocol"),
    "no login there": ("MUTUAL", lambda s: s.mutual() | s.scram(), "no login is wanted"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_names_setting_and_remedy_at_once_and_no_secret(
    secured: SecuredBroker, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    listener, options, words = REFUSED[case]
    url = secured.broker.urls.get(listener, secured.broker.url)
    began = time.monotonic()
    with open_log(url, options(secured)) as log, pytest.raises(LogRefused) as refused:
        log.ping(IN_TIME_SECONDS)
    assert time.monotonic() - began < IN_TIME_SECONDS
    assert words in str(refused.value) and "\n" not in str(refused.value)
    said = str(refused.value) + caplog.text
    assert not any(secret in said for secret in (PASSWORD, WRONG, KEY_PASSWORD))


def test_a_name_that_the_certificate_does_not_have(secured: SecuredBroker) -> None:
    url = secured.broker.urls["SCRAM"].replace("127.0.0.1", "localhost")
    with open_log(url, secured.scram()) as log, pytest.raises(LogRefused, match=r"in `log\.url`"):
        log.ping(IN_TIME_SECONDS)
    with open_log(url, secured.scram(ssl_check_hostname="false")) as log:
        log.ping(IN_TIME_SECONDS)


def test_topics_that_a_login_may_not_see_are_refused_and_not_missing(
    secured: SecuredBroker, topics: Topics
) -> None:
    with open_log(secured.broker.urls["SCRAM"], secured.scram(sasl_plain_username=STRANGER)) as log:
        with pytest.raises(LogRefused, match=rf"no right to use the topic {topics.prefix}.*kafka-acls"):
            topics.check(log, *SIZES)
        with pytest.raises(LogRefused, match="no right to use the topic"):
            topics.create(log, *SIZES)


def test_missing_topics_are_missing(secured: SecuredBroker, prefix: str) -> None:
    secured.grant(prefix, USER)
    with (
        open_log(secured.broker.urls["SCRAM"], secured.scram()) as log,
        pytest.raises(TopicError, match="missing; run"),
    ):
        Topics(prefix).check(log, *SIZES)


@pytest.mark.parametrize(
    ("left_out", "error", "words"),
    [
        ((ResourceType.TOPIC, ACLOperation.WRITE), DeliveryError, "write to a topic"),
        ((ResourceType.TRANSACTIONAL_ID, ACLOperation.WRITE), LogRefused, "use the transactional id"),
        ((ResourceType.GROUP, ACLOperation.READ), LogRefused, "use the consumer group"),
        ((ResourceType.TOPIC, ACLOperation.READ), LogRefused, "use the topic"),
    ],
)
def test_a_missing_right_is_named(
    secured: SecuredBroker,
    topics: Topics,
    left_out: tuple[ResourceType, ACLOperation],
    error: type[MillstreamError],
    words: str,
) -> None:
    secured.grant(topics.prefix, STRANGER, left_out)
    began = time.monotonic()
    with (
        open_log(secured.broker.urls["SCRAM"], secured.scram(sasl_plain_username=STRANGER)) as log,
        pytest.raises(error, match=f"no right to {words}.*kafka-acls.sh"),
    ):
        used(log, topics)
    assert time.monotonic() - began < IN_TIME_SECONDS
    with open_log(secured.broker.urls["SCRAM"], secured.scram()) as log:
        used(log, topics)  # the others have what they need


def test_files_that_cannot_be_used_are_named(secured: SecuredBroker, tmp_path: Path) -> None:
    for name in ("ssl_cafile", "ssl_certfile"):
        with pytest.raises(InvalidSettings, match=f"{name} names {tmp_path}/none.pem, which cannot be read"):
            open_log("kafka://127.0.0.1:1", secured.mutual() | {name: str(tmp_path / "none.pem")})
    locked = secured.mutual(password=KEY_PASSWORD)
    with pytest.raises(InvalidSettings, match=r"ssl_certfile cannot be used: .*ssl_password") as refused:
        open_log("kafka://127.0.0.1:1", locked | {"ssl_password": WRONG})
    assert WRONG not in str(refused.value)
