"""Set-ups that are broken in earnest: the doctor names the fault and the remedy, and changes nothing."""

from __future__ import annotations

import os
import socket
import sqlite3
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import orjson
import pytest
from pydantic import SecretStr

from pipeline.config import (
    BridgeConfig,
    CheckpointConfig,
    ConsoleConfig,
    GatewayConfig,
    LearnerConfig,
    LogConfig,
    MediaConfig,
    MetricsConfig,
    ModelSizes,
    ServeConfig,
    Settings,
    to_toml,
)
from pipeline.demo.processes import free_port
from pipeline.doctor import certificates, folders, media
from pipeline.doctor.finding import fault, ok, warning
from pipeline.eventlog import open_log
from pipeline.eventlog.topics import Topics
from pipeline.journal.entry import JournalEntry, Verb
from pipeline.metrics import serve_metrics
from pipeline.sealing import seal
from pipeline.snapshots.announcement import Announcement
from pipeline.snapshots.filesystem import FORMAT, MANIFEST
from tests.support.certificates import Authority
from tests.support.commands import run
from tests.support.model_harness import PREFIX, ModelHarness

FILE = "millstream.toml"
TOPICS = Topics(PREFIX)
NOBODY = 65_534
"""The user id that owns nothing."""


class SetUp(NamedTuple):
    """A set-up in the working directory that a test breaks."""

    folder: Path
    settings: Settings
    monkeypatch: pytest.MonkeyPatch

    def set(self, **tables: dict[str, object]) -> None:
        """Set settings by the environment."""
        for table, values in tables.items():
            for key, value in values.items():
                self.monkeypatch.setenv(f"MILLSTREAM_{table}__{key}".upper(), str(value))

    def sql(self, statement: str, *values: object) -> None:
        """Change the log's file behind everybody's back."""
        with sqlite3.connect(self.folder / "log.db") as connection:
            connection.execute(statement, values)
        connection.close()


@pytest.fixture
def healthy(
    settings: Settings, lived_harness: ModelHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> SetUp:
    """A model that has learned and published, whose daemons are not running."""
    lived_harness.log.report(
        f"{PREFIX}.learn", lived_harness.log.end_offsets([TOPICS.interactions, TOPICS.items])
    )
    # Port 0 is not looked at: other processes of a busy machine take and leave ports.
    ports = {
        "serve": ServeConfig(port=0),
        "gateway": GatewayConfig(port=0),
        "bridge": BridgeConfig(port=0),
        "console": ConsoleConfig(port=0),
        "metrics": MetricsConfig(learn=0, retrain=0, media=0),
    }
    changed = settings.model_copy(update=ports)
    (tmp_path / FILE).write_text(to_toml(changed))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    return SetUp(tmp_path, changed, monkeypatch)


def examined() -> dict[str, list[tuple[str, str, str]]]:
    """State, text and remedy of all findings, by check; the exit status follows from them."""
    result = run("doctor", "--json")
    found: dict[str, list[tuple[str, str, str]]] = {}
    for one in orjson.loads(result.output)["findings"]:
        found.setdefault(one["check"], []).append((one["state"], one["text"], one["remedy"]))
    states = {state for lines in found.values() for state, _, _ in lines}
    assert result.exit_code == int("fault" in states)
    return found


def files(folder: Path) -> dict[str, bytes]:
    """All files but those that SQLite makes beside an open one."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }


def test_a_healthy_set_up_has_no_fault_and_stays_as_it_is(healthy: SetUp) -> None:
    before = files(healthy.folder)
    assert {state for lines in examined().values() for state, _, _ in lines} == {"ok"}
    assert files(healthy.folder) == before
    page = run("doctor").output
    assert "✔ topics" in page and "0 faults, 0 warnings" in page and "✘" not in page


def test_a_running_daemon_may_have_its_port(healthy: SetUp) -> None:
    port = free_port()
    healthy.set(metrics={"learn": port})
    assert examined()["ports"] == [("ok", f"metrics.learn: {port} is free", "")]
    serve_metrics("127.0.0.1", port)
    assert examined()["ports"] == [("ok", f"metrics.learn: a millstream daemon answers at {port}", "")]


def test_a_running_console_may_have_its_port(healthy: SetUp) -> None:
    port = free_port()
    healthy.set(console={"port": port})
    assert examined()["ports"] == [("ok", f"console.port: {port} is free", "")]
    serve_metrics("127.0.0.1", port)  # it answers /healthz as a console does
    assert examined()["ports"] == [("ok", f"console.port: a millstream daemon answers at {port}", "")]


def test_running_workers_may_have_their_ports(healthy: SetUp) -> None:
    first = free_port()
    with socket.create_server(("127.0.0.1", 0)) as shared:
        port = shared.getsockname()[1]
        healthy.set(serve={"port": port, "workers": 2}, metrics={"serve": first})
        serve_metrics("127.0.0.1", first)
        found = examined()["ports"]
    assert found[:2] == [
        ("ok", f"serve.port: a millstream daemon answers at {port}", ""),
        ("ok", f"metrics.serve: a millstream daemon answers at {first}", ""),
    ]
    assert f"metrics.serve: {first + 1} " in found[2][1].replace(":127.0.0.1:", ": ")


def test_a_running_daemon_that_knows_only_hashes_of_keys_may_have_its_port(healthy: SetUp) -> None:
    port = free_port()
    healthy.set(metrics={"learn": port})
    serve_metrics("127.0.0.1", port, ["0" * 64])
    assert examined()["ports"] == [("ok", f"metrics.learn: a millstream daemon answers at {port}", "")]


def unknown_key(setup: SetUp) -> None:
    with (setup.folder / FILE).open("a") as file:
        file.write("\n[serving]\nport = 1\n")


def torn_file(setup: SetUp) -> None:
    (setup.folder / FILE).write_text("[log\nurl = 1")


def missing_file(setup: SetUp) -> None:
    setup.monkeypatch.setenv("MILLSTREAM_CONFIG", "elsewhere.toml")


def old_package(setup: SetUp) -> None:
    metadata = setup.folder / "packages" / "torch-1.0.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: torch\nVersion: 1.0\n")
    setup.monkeypatch.syspath_prepend(str(setup.folder / "packages"))


def no_certificate(setup: SetUp) -> None:
    setup.set(gateway={"http__certificate": setup.folder / "nope.pem"})


def no_authority(setup: SetUp) -> None:
    setup.set(metrics={"authority": setup.folder / "ca.pem"})


def old_extra(setup: SetUp) -> None:
    metadata = setup.folder / "packages" / "onnxruntime-1.0.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: onnxruntime\nVersion: 1.0\n")
    setup.monkeypatch.syspath_prepend(str(setup.folder / "packages"))
    setup.set(serve={"runtime": "onnx"})


def missing_log(setup: SetUp) -> None:
    setup.set(log={"url": f"sqlite:///{setup.folder}/other.db"})


def no_database(setup: SetUp) -> None:
    setup.set(log={"url": f"sqlite:///{setup.folder}/{FILE}"})


def log_in_a_folder(setup: SetUp) -> None:
    setup.set(log={"url": "sqlite:///."})


def broker_away(setup: SetUp) -> None:
    setup.set(log={"url": f"kafka://127.0.0.1:{free_port()}"})
    setup.monkeypatch.setattr("pipeline.doctor.examination.PING_SECONDS", 0.5)


def other_partitions(setup: SetUp) -> None:
    setup.set(log={"partitions": 8})


def short_retention(setup: SetUp) -> None:
    setup.sql("UPDATE topics SET retention_ms = 1000 WHERE name = ?", TOPICS.interactions)


def replaced_log(setup: SetUp) -> None:
    for file in setup.folder.glob("log.db*"):
        file.unlink()
    assert run("topics", "create").exit_code == 0


def log_behind_the_checkpoint(setup: SetUp) -> None:
    setup.sql("UPDATE partitions SET end_offset = 1 WHERE topic = ?", TOPICS.journal)


def lost_records(setup: SetUp) -> None:
    with open_log(setup.settings.log.url) as log:
        log.report(f"{PREFIX}.learn", dict.fromkeys(log.end_offsets([TOPICS.interactions]), 0))
    setup.sql("UPDATE partitions SET begin_offset = 5 WHERE topic = ?", TOPICS.interactions)


def restored_copy(setup: SetUp) -> None:
    with open_log(setup.settings.log.url) as log:
        ends = log.end_offsets([TOPICS.interactions])
        log.report(f"{PREFIX}.learn", {source: end + 7 for source, end in ends.items()})


def fast_clock(setup: SetUp) -> None:
    setup.sql("UPDATE records SET append_time = ?", (time.time_ns() // 1_000_000) + 3_600_000)


def many_users(setup: SetUp) -> None:
    setup.sql("UPDATE partitions SET end_offset = 1 << 40 WHERE topic = ?", TOPICS.histories)


def huge_checkpoint(setup: SetUp) -> None:
    folder = setup.folder / "checkpoints" / PREFIX / "9-9"
    folder.mkdir()
    (folder / "manifest.json").write_text("{}")
    with (folder / "state").open("wb") as file:
        file.truncate(8 * 2**40)  # sparse: it takes no room


def file_for_a_folder(setup: SetUp) -> None:
    (setup.folder / "taken").write_text("")
    setup.set(checkpoints={"folder": setup.folder / "taken" / "checkpoints"})


def too_many_threads(setup: SetUp) -> None:
    setup.set(model={"threads": 1_000})


def no_gpu(setup: SetUp) -> None:
    setup.monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    setup.set(model={"device": "cuda"})


def no_backbone(setup: SetUp) -> None:
    setup.monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    setup.set(model={"backbone": "nobody/has-this-model"})


def torn_backbone(setup: SetUp) -> None:
    folder = setup.folder / "copied"
    folder.mkdir()
    for file in Path(setup.settings.model.backbone).iterdir():
        (folder / file.name).write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
    (folder / "config.json").write_text("{}")
    setup.set(model={"backbone": folder})


def no_gguf(setup: SetUp) -> None:
    folder = setup.folder / "quantised"
    folder.mkdir()
    (folder / "weights.gguf").write_bytes(b"GG")
    setup.set(model={"backbone": folder})


def same_ports(setup: SetUp) -> None:
    setup.set(gateway={"port": (port := free_port())}, serve={"port": port})


def a_port_of_every_address(setup: SetUp) -> None:
    setup.set(metrics={"learn": (port := free_port()), "host": "0.0.0.0"}, serve={"port": port})


def unknown_store(setup: SetUp) -> None:
    setup.set(snapshots={"store": "s4://bucket/path"})


def _announced(setup: SetUp) -> str:
    """Announce a version; return it."""
    announced = Announcement(version="1-5", digest="0" * 64, size=1, reason="schedule", published_at=0)
    with open_log(setup.settings.log.url) as log, log.writer() as writer:
        writer.append(TOPICS.snapshots, PREFIX, announced.encode())
    return announced.version


def other_store(setup: SetUp) -> None:
    _announced(setup)
    setup.set(snapshots={"store": setup.folder / "empty"})


def other_release(setup: SetUp) -> None:
    folder = Path(setup.settings.snapshots.store) / PREFIX / _announced(setup)
    folder.mkdir(parents=True)
    (folder / MANIFEST).write_bytes(seal(b"{}", FORMAT - 1))


def torn_mapping(setup: SetUp) -> None:
    (setup.folder / "mapping.toml").write_text("[interactions")
    setup.monkeypatch.setenv("MILLSTREAM_BRIDGE__TOPICS", '{"clicks": {"mapping": "mapping.toml"}}')


BROKEN: dict[Callable[[SetUp], None], tuple[str, str, str]] = {
    unknown_key: ("settings", "serving", "docs/settings.md"),
    torn_file: ("settings", "millstream.toml cannot be read", "docs/settings.md"),
    missing_file: ("settings", "elsewhere.toml, which is no file", "docs/settings.md"),
    old_package: ("packages", "torch 1.0 is not", "`pip install 'torch<2.16,>=2.9'`"),
    no_certificate: ("access", "gateway.http: ", "name files in PEM that this user may read"),
    no_authority: ("access", "ca.pem: it cannot be used (No such file", "name a file in PEM"),
    old_extra: (
        "packages",
        'serve.runtime is "onnx": onnxruntime 1.0 is not',
        "`pip install 'millstream[onnx]'`",
    ),
    missing_log: ("log", "other.db: there is no such file", "`millstream topics create`"),
    no_database: ("log", "no event log: file is not a database", "restore the log from a backup, or set"),
    log_in_a_folder: ("log", ". is a folder", "name a file in it"),
    broker_away: ("log", "does not answer", "start the broker, or set `log.url`"),
    other_partitions: ("topics", "mill.items: 4 partitions instead of 8", "`partitions = 4`"),
    short_retention: ("topics", "keeps records 1000 ms", "`millstream topics alter`"),
    replaced_log: (
        "origin",
        "another log: mill.interactions was deleted and made again",
        "put the old log back",
    ),
    log_behind_the_checkpoint: ("origin", "mill.journal/0 ends at", "`millstream learn --accept-gap`"),
    lost_records: ("retention", "before the learner has read as far", "`millstream learn --accept-gap`"),
    restored_copy: ("retention", "another log, or an old copy", "put the log back"),
    fast_clock: ("clock", "more than 2 s ahead of this clock", "`timedatectl set-ntp true`"),
    many_users: ("memory", "users", "add memory"),
    huge_checkpoint: ("disk", "24,576.0 GiB are needed", "make room"),
    file_for_a_folder: ("folders", "taken is a file", "set `checkpoints.folder`"),
    too_many_threads: ("threads", "1000 torch threads on", "set `model.threads ="),
    no_gpu: ("device", "model.device is cuda, but torch finds no CUDA device", "set `model.device` to auto"),
    no_backbone: ("backbone", "nobody/has-this-model", "set `model.backbone`"),
    no_gguf: ("backbone", "is no GGUF file", "copy the folder again"),
    torn_backbone: ("backbone", "is cut off or damaged", "copy the folder again"),
    same_ports: ("ports", "gateway.port and serve.port are both", "set `gateway.port`"),
    a_port_of_every_address: ("ports", "metrics.learn and serve.port are both", "set `metrics.learn`"),
    unknown_store: ("snapshots", "s4:// cannot be opened", "set `snapshots.store`"),
    torn_mapping: ("mappings", "mapping.toml is not TOML", "set `bridge.topics.clicks.mapping`"),
    other_store: ("snapshots", "announced and is not in the store", "set `snapshots.store`"),
    other_release: ("snapshots", "cannot be read: it has format 5", "start the learner: it publishes again"),
}


@pytest.mark.parametrize("breaks", BROKEN, ids=lambda breaks: breaks.__name__)
def test_a_broken_set_up_is_named_with_its_remedy(healthy: SetUp, breaks: Callable[[SetUp], None]) -> None:
    breaks(healthy)
    check, text, remedy = BROKEN[breaks]
    faults = {
        name: [(said, mends) for state, said, mends in lines if state == "fault"]
        for name, lines in examined().items()
    }
    assert {name for name, lines in faults.items() if lines} == {check}, "one fault, and no other"
    assert any(text in said and remedy in mends for said, mends in faults[check]), faults[check]
    page = run("doctor")
    assert page.exit_code == 1 and f"✘ {check}" in page.output


@pytest.mark.parametrize(
    ("days", "state", "said"),
    [
        (200, "ok", "is valid until "),
        (20, "warning", "expires in 19 days, on "),
        (-1, "fault", "has expired: it was valid until "),
    ],
)
def test_a_certificate_is_named_with_its_last_day(
    healthy: SetUp, tmp_path: Path, days: int, state: str, said: str
) -> None:
    own = Authority(tmp_path / "certificates").issue("server", days=days)
    healthy.set(gateway={"http__certificate": own})
    last = f"{datetime.now(UTC) + timedelta(days=days):%Y-%m-%d}"
    ((found, text, remedy),) = examined()["certificate"]
    assert (found, text) == (state, f"gateway.http.certificate: {own} {said}{last}")
    assert remedy == "" or "`gateway.http.certificate`" in remedy


def test_certificates_of_kafka_and_authorities_are_looked_at(tmp_path: Path) -> None:
    authority, now = Authority(tmp_path), datetime.now(UTC)
    soon, old = authority.issue("client", days=2), authority.issue("old", days=-2)
    both = tmp_path / "both.pem"
    both.write_text(old.read_text() + authority.file.read_text())
    kafka = {"ssl_certfile": SecretStr(str(soon)), "ssl_cafile": SecretStr(str(both))}
    settings = Settings(
        log=LogConfig(url="kafka://a:1", options=kafka),
        bridge=BridgeConfig(url="kafka://b:1", options={"ssl_cafile": SecretStr(str(old))}),
        metrics=MetricsConfig(authority=tmp_path / "missing.pem"),
    )
    found = [(one.state, one.text.partition(": ")[0]) for one in certificates.check(settings)]
    assert found == [
        ("warning", "log.options.ssl_certfile"),
        ("ok", "log.options.ssl_cafile"),  # the old CA beside the new one
        ("fault", "bridge.options.ssl_cafile"),
    ]
    early = list(certificates.check(settings, now - timedelta(days=40_000)))
    assert [one.state for one in early] == ["fault", "fault", "fault"]
    assert "is not valid before" in early[0].text


def test_a_certificate_that_is_cut_off_is_left_to_other_checks(tmp_path: Path) -> None:
    text = Authority(tmp_path).file.read_text()
    der = ssl.PEM_cert_to_DER_cert(text)
    for size in (1, 3, 60):
        with pytest.raises(ValueError, match="cut off"):
            certificates.validities(ssl.DER_cert_to_PEM_cert(der[:size]).encode())
    (whole,) = certificates.validities(text.encode())
    loaded = ssl.create_default_context(cadata=text).get_ca_certs()[0]
    assert whole.end.timestamp() == ssl.cert_time_to_seconds(str(loaded["notAfter"]))
    assert whole.begin.timestamp() == ssl.cert_time_to_seconds(str(loaded["notBefore"]))


def test_sizes_that_the_checkpoint_does_not_have_are_a_warning(healthy: SetUp) -> None:
    (fits,) = examined()["checkpoint"]
    assert fits[0] == "ok"
    healthy.set(learn={"sizes__tuning": "dora"})
    ((state, said, remedy),) = examined()["checkpoint"]
    assert state == "warning"
    assert "learn.sizes.tuning is 'dora' in the settings and 'lora' in it" in said
    assert "set them back" in remedy


def test_texts_that_are_read_otherwise_than_the_checkpoint_says_are_a_fault(healthy: SetUp) -> None:
    healthy.set(model={"max_tokens": 3})
    ((state, said, remedy),) = examined()["checkpoint"]
    assert state == "fault"
    assert said.endswith("model.max_tokens is 3 in the settings and 24 in it")
    assert "another log.prefix" in remedy


def test_an_optimizer_that_the_checkpoint_does_not_have_is_a_warning(healthy: SetUp) -> None:
    healthy.set(learn={"optimizer__kind": "sgd"})
    ((state, said, remedy),) = examined()["checkpoint"]
    assert (state, said.partition(": ")[2]) == (
        "warning",
        "learn.optimizer.kind is sgd in the settings and adamw in it",
    )
    assert "set it back to keep the moments" in remedy


def test_a_snapshot_of_another_log_is_named_beside_the_checkpoint(
    healthy: SetUp, lived_harness: ModelHarness
) -> None:
    with lived_harness.busy(batches=1) as learning:
        learning.publish(lived_harness.publisher())
    assert [state for state, _, _ in examined()["origin"]] == ["ok"]
    replaced_log(healthy)
    named = [text.partition(" ")[0] for _, text, _ in examined()["origin"]]
    assert named == ["checkpoint", "snapshot"]


def test_a_replaced_log_is_none_once_the_gap_is_accepted(healthy: SetUp) -> None:
    replaced_log(healthy)
    skip = JournalEntry.of(1_000, 1_000, Verb.SKIP, "print", {}, through=0, control=0)
    with open_log(healthy.settings.log.url) as log, log.writer() as writer:
        writer.append(TOPICS.journal, None, skip.encode())
    assert [state for state, _, _ in examined()["origin"]] == ["ok"]


def test_topics_without_ids_are_a_warning(healthy: SetUp) -> None:
    healthy.sql("UPDATE topics SET id = ''")
    warned = [line for line in examined()["topics"] if line[0] == "warning"]
    assert [(text[:36], "Kafka 2.8" in remedy) for _, text, remedy in warned] == [
        ("the log gives its topics no ids: nob", True)
    ]


def test_a_port_of_another_program_is_a_fault(healthy: SetUp) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        healthy.set(serve={"port": port})
        (found,) = examined()["ports"]
    assert found[0] == "fault"
    assert f"serve.port: 127.0.0.1:{port} cannot be listened at" in found[1]
    assert "set `serve.port`" in found[2]


def test_a_server_for_strangers_without_keys_is_a_warning(healthy: SetUp) -> None:
    healthy.set(serve={"host": "0.0.0.0"})
    ((state, text, remedy),) = examined()["access"]
    assert (state, text) == ("warning", "serve listens at 0.0.0.0 and asks for no key")
    assert "set `serve.api_keys`" in remedy


@contextmanager
def as_a_stranger() -> Iterator[None]:
    """Run as a user who owns nothing here, because root may write everywhere."""
    if is_root := os.geteuid() == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


def test_folders_that_this_user_may_not_write_are_faults(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    settings = Settings(checkpoints=CheckpointConfig(folder=locked / "checkpoints"))
    with as_a_stranger():
        found = next(folders.check(settings))
    assert found.state == "fault" and "may not be written by this user" in found.text
    assert "`chown" in found.remedy and "set `checkpoints.folder`" in found.remedy


def test_what_keeps_the_media_daemon_from_starting_is_said(healthy: SetUp) -> None:
    healthy.set(media={"hosts": '["example.com"]'})
    hosts_alone = ("fault", "hosts are named, but no medium has an encoder", "set `media.encoders`")
    assert examined()["media"] == [hosts_alone]
    healthy.set(media={"hosts": "[]", "encoders": '{"photo": "efficientnet-lite0"}'})
    no_host = ("fault", "media have encoders, but no host may be asked", "set `media.hosts`")
    assert examined()["media"][0] == no_host


def test_a_medium_that_the_model_does_not_read_is_a_warning() -> None:
    config = MediaConfig(encoders={"photo": "efficientnet-lite0"}, hosts=("example.com",))
    (found,) = media.check(Settings(media=config))
    text = "photo is encoded by efficientnet-lite0 to 256 numbers, but the model does not read it"
    assert found == warning("media", text, "set `learn.sizes.vectors.photo = 256`")
    learn = LearnerConfig(sizes=ModelSizes(vectors={"photo": 256}))
    (good,) = media.check(Settings(media=config, learn=learn))
    assert good == ok("media", "photo is encoded by efficientnet-lite0, and the model reads it")


def test_an_encoder_whose_package_is_missing_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    config = MediaConfig(encoders={"photo": "efficientnet-lite0"}, hosts=("example.com",))
    monkeypatch.setitem(sys.modules, "PIL", None)
    (found,) = media.check(Settings(media=config))
    text = "photo: the package of PIL is not installed"
    assert found == fault("media", text, "pip install 'millstream[media]'")
