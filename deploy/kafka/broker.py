"""Run one real Kafka broker without Docker: jars from Maven Central, KRaft, one node on localhost.

    python deploy/kafka/broker.py --port 9092 --data .cache/kafka/data

The tests import `Broker`. Jars and the class-data archive are kept in `.cache/kafka`, or in
`$MILLSTREAM_KAFKA_HOME`. Needs Java 17 or newer on the path, and Maven the first time.
"""

from __future__ import annotations

import argparse
import base64
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from pipeline.eventlog.kafka import ready
from pipeline.signals import stop_requested

logger = logging.getLogger("broker")

_POM = Path(__file__).with_name("pom.xml")
_HOME = Path(os.environ.get("MILLSTREAM_KAFKA_HOME") or _POM.parents[2] / ".cache" / "kafka")
_START_SECONDS = 90.0  # after a SIGKILL Kafka recovers the log first
_STOP_SECONDS = 20.0
_LOG4J = """<Configuration status="WARN">
  <Appenders><Console name="out"><PatternLayout pattern="%d %p %m (%c{1})%n%throwable"/></Console></Appenders>
  <Loggers><Root level="WARN"><AppenderRef ref="out"/></Root></Loggers>
</Configuration>
"""
_PROPERTIES = """# Differences from Kafka's defaults, for one small node.
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
controller.listener.names=CONTROLLER
listeners={listeners},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners={listeners}
listener.security.protocol.map={protocols},CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs={logs}
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=16777216
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
"""


class Listener(NamedTuple):
    """One more address of a broker, with TLS or a login.

    Attributes:
        name: in capital letters; `Broker.urls` has its URL.
        protocol: SSL, SASL_PLAINTEXT or SASL_SSL.
        properties: its settings, without the prefix ``listener.name.<name>.``.
    """

    name: str
    protocol: str
    properties: Mapping[str, str]


class BrokerError(Exception):
    """The broker cannot be started; names the missing tool or contains the end of the broker's log."""


def missing_tools(home: Path = _HOME) -> list[str]:
    """Return the missing programs: java, and mvn if the jars have not been downloaded."""
    needed = ["java"] if _jars(home) else ["java", "mvn"]
    return [tool for tool in needed if shutil.which(tool) is None]


class Broker:
    """A broker process on 127.0.0.1; its data folder is kept after the process ends.

    Attributes:
        port: the port it listens on; a free one if 0 was requested.
        url: the URL for `pipeline.eventlog.open_log`.
        urls: the URLs of further listeners, by name.
        data: its data folder; `logs` in it has one folder per partition.
    """

    def __init__(
        self,
        data: Path,
        port: int = 0,
        home: Path = _HOME,
        quick_start: bool = False,
        listeners: Sequence[Listener] = (),
        users: Mapping[str, str] | None = None,
    ) -> None:
        """Prepare a broker.

        Args:
            data: its folder.
            port: where it listens without TLS and login; who comes that way may do everything.
            home: where jars are kept.
            quick_start: whether JIT compilation is reduced, for tests; it costs throughput.
            listeners: further addresses. With any, who comes by them needs rights (ACLs).
            users: passwords of users of SASL/SCRAM-SHA-512, by name; made when the data folder is new.
        """
        self.port = port or _free_port()
        self.url = f"kafka://127.0.0.1:{self.port}"
        self.data = data
        self._home = home
        self._listeners = {_free_port(): listener for listener in listeners}
        self._users = users or {}
        self.urls = {listener.name: f"kafka://127.0.0.1:{at}" for at, listener in self._listeners.items()}
        self._quick = ["-XX:TieredStopAtLevel=1"] if quick_start else []
        self._process: subprocess.Popen[bytes] | None = None
        self._archive = home / "classes.jsa"
        self._new_archive: Path | None = None

    def start(self) -> None:
        """Start the process and wait until it answers.

        Raises:
            BrokerError: Java or Maven is missing, or the broker did not start.
        """
        missing = missing_tools(self._home)
        if missing:
            raise BrokerError(f"{' and '.join(missing)} not found: install Java 17 or newer and Maven")
        _resolve_jars(self._home)
        self.data.mkdir(parents=True, exist_ok=True)
        self._configure()
        with (self.data / "broker.log").open("ab") as log:
            command = self._java("kafka.Kafka", str(self.data / "server.properties"))
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._wait_until_ready()

    def stop(self) -> None:
        """Send SIGTERM, and SIGKILL if the process does not end."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None
        if self._new_archive is not None and self._new_archive.exists():
            self._new_archive.replace(self._archive)

    def kill(self) -> None:
        """Send SIGKILL, to simulate a crash; `start` recovers the data."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def tool(self, main: str, *arguments: str) -> list[str]:
        """Return the command that runs one of Kafka's own tools, by the name of its class."""
        return self._java(main, *arguments, archive=False)

    def signal(self, number: signal.Signals) -> None:
        """Send the process a signal: SIGSTOP freezes it, SIGCONT lets it go on."""
        if self._process is not None:
            self._process.send_signal(number)

    def running(self) -> bool:
        """Return whether the process is running."""
        return self._process is not None and self._process.poll() is None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _configure(self) -> None:
        logs = self.data / "logs"
        protocols = {"PLAINTEXT": "PLAINTEXT"} | {one.name: one.protocol for one in self._listeners.values()}
        addresses = {self.port: "PLAINTEXT"} | {at: one.name for at, one in self._listeners.items()}
        properties = _PROPERTIES.format(
            listeners=",".join(f"{name}://127.0.0.1:{at}" for at, name in addresses.items()),
            protocols=",".join(f"{name}:{protocol}" for name, protocol in protocols.items()),
            controller_port=_free_port(),
            logs=logs,
        )
        (self.data / "server.properties").write_text(properties + "".join(self._security()))
        (self.data / "log4j2.xml").write_text(_LOG4J)
        if not (logs / "meta.properties").exists():
            self._format()

    def _security(self) -> Iterator[str]:
        """Yield the lines of further listeners, and that who comes by them needs rights."""
        if not self._listeners:
            return
        yield "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n"
        yield "super.users=User:ANONYMOUS\n"  # by the listener without login, as the broker itself
        yield "sasl.enabled.mechanisms=SCRAM-SHA-512\n"
        for listener in self._listeners.values():
            for name, value in listener.properties.items():
                yield f"listener.name.{listener.name.lower()}.{name}={value}\n"

    def _format(self) -> None:
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # With "=", because an id may begin with a dash.
        options = ["format", f"--cluster-id={cluster}", f"--config={self.data / 'server.properties'}"]
        for name, password in self._users.items():
            options += ["--add-scram", f"SCRAM-SHA-512=[name={name},password={password}]"]
        done = subprocess.run(
            self._java("kafka.tools.StorageTool", *options, archive=False), capture_output=True, check=False
        )
        if done.returncode:
            raise BrokerError(f"cannot format {self.data}: {_tail(done.stdout + done.stderr)}")

    def _java(self, main: str, *arguments: str, archive: bool = True) -> list[str]:
        return [
            "java",
            *["-Xms384m", "-Xmx384m", "-XX:+UseSerialGC", *self._quick],
            *(self._class_data() if archive else []),
            f"-Dlog4j2.configurationFile={self.data / 'log4j2.xml'}",
            *["-cp", os.pathsep.join(_jars(self._home)), main, *arguments],
        ]

    def _class_data(self) -> list[str]:
        """Options that use the class-data archive, which halves the start time, or write it if missing."""
        if self._archive.exists():
            return [f"-XX:SharedArchiveFile={self._archive}", "-Xlog:cds=off", "-Xlog:cds+dynamic=off"]
        # A name of its own until it is complete, because several brokers may start at the same time.
        self._new_archive = self._archive.with_suffix(f".{os.getpid()}")
        return [f"-XX:ArchiveClassesAtExit={self._new_archive}", "-Xlog:cds=off", "-Xlog:cds+dynamic=off"]

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while self.running() and time.monotonic() < deadline:
            if _listens(self.port) and ready(f"127.0.0.1:{self.port}", timeout_seconds=2.0):
                return
            time.sleep(0.05)
        output = _tail((self.data / "broker.log").read_bytes())
        self.kill()
        raise BrokerError(f"the broker did not start: {output}")


def _resolve_jars(home: Path) -> None:
    if _jars(home):
        return
    logger.info("resolving Kafka's jars into %s (once, about 45 MB)", home)
    partial = home / f"jars.{os.getpid()}"
    partial.mkdir(parents=True)
    goal = ["dependency:copy-dependencies", f"-DoutputDirectory={partial}"]
    done = subprocess.run(["mvn", "-q", "-B", "-f", str(_POM), *goal], capture_output=True, check=False)
    if done.returncode:
        shutil.rmtree(partial)
        raise BrokerError(f"Maven could not resolve Kafka's jars: {_tail(done.stdout + done.stderr)}")
    try:
        partial.rename(home / "jars")
    except OSError:  # another process was faster
        shutil.rmtree(partial)


def _jars(home: Path) -> list[str]:
    # Sorted, because a class-data archive is valid for one class path only.
    return sorted(str(jar) for jar in (home / "jars").glob("*.jar"))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _tail(output: bytes) -> str:
    return output.decode(errors="replace")[-2_000:].strip()


def main() -> int:
    """Run a broker until SIGINT or SIGTERM; return 1 if it cannot start or dies."""
    parser = argparse.ArgumentParser(description="Run one real Kafka broker on 127.0.0.1, without Docker.")
    parser.add_argument("--port", type=int, default=9092)
    parser.add_argument("--data", type=Path, default=_HOME / "data", help="kept between runs")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    stopping = stop_requested()
    try:
        with Broker(arguments.data.resolve(), arguments.port) as broker:
            logger.info("ready: %s, data and log in %s", broker.url, arguments.data)
            while broker.running() and not stopping.wait(0.5):
                pass
            return 0 if stopping.is_set() else 1
    except BrokerError as error:
        logger.error("%s", error)
        return 1


if __name__ == "__main__":
    sys.exit(main())
