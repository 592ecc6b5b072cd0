"""What the tests of the log share: a clock that stands still, disks that fail, a small log on disk, and Kafka's topics."""

import asyncio
import errno
import itertools
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import NewPartitions, NewTopic

from prediction_log.certificate.kafka_verify import verify_kafka
from prediction_log.finding import Finding
from prediction_log.kafka.topics import topics_of
from prediction_log.position import Entry, Position
from prediction_log.spool.disk import boot_of_this_machine
from prediction_log.spool.segment import (
    DATA_START,
    Header,
    Kind,
    Witness,
    encode_batch,
    encode_header,
    encode_seal,
    encode_witness,
    root_of,
    seed_of,
)
from prediction_log.spool.tail import LogTail
from prediction_log.spool.writer import open_writer
from tests.prediction_log.kafka_admin import admin_of
from tests.prediction_log.kafka_messages import Host, small
from tests.prediction_log.stream_member import Member

LOG_ID = bytes(range(16))
SYNCS = {os.fsync, os.fdatasync}


class Clock:
    """Moves only when told to."""

    def __init__(self) -> None:
        self.ns = 1_000_000_000

    def now_us(self) -> int:
        return self.ns // 1000

    def mono_ns(self) -> int:
        return self.ns


class QuickDisk:
    """The real disk without its waiting: for tests in which no power fails."""

    def __call__(self, operation: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        return None if operation in SYNCS else operation(*args, **kwargs)


class FaultDisk(QuickDisk):
    """Lets the calls in `failing` fail with `error`, half of a write being done by then; where the error is None writes are
    one byte short and all else goes well.
    """

    def __init__(self, failing: range, error: int | None, only: Callable[..., Any] | None = None) -> None:
        self.failing = failing
        self.error = error
        self.only = only
        self.count = itertools.count(1)
        self.calls = 0

    def __call__(self, operation: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        if self.only is not None and operation is not self.only:
            return super().__call__(operation, *args, **kwargs)
        number = self.calls = next(self.count)
        if number not in self.failing:
            return super().__call__(operation, *args, **kwargs)
        if operation is os.pwrite:
            fd, data, offset = args
            if self.error is None:
                return os.pwrite(fd, data[: max(1, len(data) - 1)], offset)
            os.pwrite(fd, data[: len(data) // 2], offset)
        elif self.error is None:
            return super().__call__(operation, *args, **kwargs)
        elif operation is os.close:
            os.close(*args)  # a close that fails has closed
        raise OSError(self.error or errno.EIO, "injected")


class SmallLog:
    """A log written by hand, byte for byte what a writer leaves: two batches of two records and one of one. All
    records but those of the first batch share their beginning, which each batch holds for itself.
    """

    payloads = {1: b'{"a":1}', 2: b'{"bb":22}', 3: b'{"ccc":333}', 4: b'{"d":4}', 5: b'{"last":5}'}
    batches = ((1, 2), (3, 4), (5,))

    def __init__(
        self, boot: int | None = None, *, sealed: bool = False, level: str = "process", zeros: int = 16
    ) -> None:
        self.boot = boot_of_this_machine() if boot is None else boot
        self.seed = seed_of(LOG_ID)
        header = encode_header(Header(LOG_ID, self.boot, 0, 0, 1, level))
        data, chain, seq, self.ends = b"", root_of(LOG_ID), 0, []
        for seqs in self.batches:
            batch = encode_batch(self.seed, seq, seq, 7, [self.record(s) for s in seqs], chain)
            data, chain, seq = data + batch.data, batch.chain, seqs[-1]
            self.ends.append(DATA_START + len(data))
        self.end = DATA_START + len(data)
        older = encode_witness(Witness(self.batches[-2][-1], self.ends[-2]), self.seed)
        newest = encode_witness(Witness(seq, self.end), self.seed)
        self.next_batch = encode_batch(self.seed, seq, seq, 7, [(Kind.PREDICTION, b"", b'{"next":6}')], chain).data
        tail = encode_seal(self.seed, seq, 7, chain, final=True) if sealed else bytes(zeros)
        self.bytes = header + older + newest + data + tail

    def record(self, seq: int) -> tuple[int, bytes, bytes]:
        """The record of a seq as a batch is given it."""
        shared = 0 if seq in self.batches[0] else 2
        return Kind.PREDICTION, self.payloads[seq][:shared], self.payloads[seq][shared:]

    def read(
        self, content: bytes, directory: Path, boot: int | None = None
    ) -> tuple[list[Entry], list[Finding], LogTail]:
        """What a reader makes of `content` as the only segment of a log without a living writer."""
        fd = os.open(directory / "00000001.seg", os.O_RDWR | os.O_CREAT)
        os.pwrite(fd, content, 0)  # in place: thousands of truncations take seconds
        if os.fstat(fd).st_size != len(content):
            os.ftruncate(fd, len(content))
        os.close(fd)
        tail = LogTail(directory, LOG_ID.hex(), Position(), self.boot if boot is None else boot)
        return tail.read(1000), tail.findings, tail


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on asyncio."""
    return "asyncio"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def fault_disk() -> type[FaultDisk]:
    return FaultDisk


@pytest.fixture
def small_log() -> type[SmallLog]:
    return SmallLog


@pytest.fixture
def open_log(tmp_path: Path, clock: Clock) -> Callable[..., Any]:
    """Opens a writer with small bounds on a disk that does not wait; give other terms by name."""

    async def opened(slot: str = "worker-0", **terms: Any) -> Any:
        settings = {"segment_bytes": 64 * 1024, "disk_reserve_bytes": 0, "retry_seconds": 0.001, "clock": clock}
        return await open_writer(tmp_path / "spool", slot, **({"disk": QuickDisk()} | settings | terms))

    return opened


@pytest.fixture
def die() -> Callable[[Any], Any]:
    """Ends a writer as kill -9 would: no seal, the lock free, the files as they are."""

    async def dead(writer: Any) -> None:
        await writer._world.background.settle()
        writer._supply.stop()
        if writer._later is not None:
            writer._later.cancel()
        writer._world.background.close()
        os.close(writer._home.lock_fd)

    return dead


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], Any]:
    """Waits for a condition that a thread or a timer brings about; a test that never gets there times out."""

    async def reached(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not condition():
                await asyncio.sleep(0.001)

    return reached


@pytest.fixture
def payloads() -> Iterator[bytes]:
    return (f'{{"n":{number}}}'.encode() for number in itertools.count(1))


@pytest.fixture
def make_topics(kafka: Any) -> Callable[..., Any]:
    """Makes a fleet's topics before the forwarder does, its streams with four partitions and this configuration."""

    async def made(prefix: str, configs: dict[str, str]) -> None:
        topics = topics_of(prefix)
        streams = (topics.predictions, topics.labels)
        async with admin_of(kafka.address) as admin:
            await admin.create_topics([NewTopic(name, 4, 1, topic_configs=configs) for name in streams])
            compacted = {"cleanup.policy": "compact"}
            await admin.create_topics([NewTopic(topics.summaries, 4, 1, topic_configs=compacted)])

    return made


@pytest.fixture
def grow_topics(kafka: Any) -> Callable[..., Any]:
    """Gives a fleet's streams more partitions, as its operator would."""

    async def grown(prefix: str, partitions: int) -> None:
        topics = topics_of(prefix)
        names = (topics.predictions, topics.labels, topics.summaries)
        async with admin_of(kafka.address) as admin:
            await admin.create_partitions({name: NewPartitions(partitions) for name in names})

    return grown


@pytest.fixture
async def host(kafka: Any) -> AsyncIterator[Host]:
    """A sender to topics of this test's own, of four partitions; see `Host`."""
    async with Host(kafka.address, small(kafka.prefix())) as host:
        yield host


@pytest.fixture
def member(kafka: Any, host: Host, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Member]:
    """Makes members that read what `host` sends; see `Member`. None is taken for gone because this machine was slow: a
    change of the group would undo what a test has sought or paused.
    """
    monkeypatch.setattr("prediction_log.kafka.stream.SESSION_MS", 45_000)
    return lambda *more, **named: Member(kafka.address, host.options, *more, **named)


@pytest.fixture
def certify(kafka: Any, host: Host) -> Callable[..., Any]:
    """Asks for the certificate of all that `host` sent, with the spools of these state directories: `certify(*state_dirs)`."""

    async def ask(*state_dirs: Path, **more: Any) -> Any:
        await host.producer.flush()
        return await verify_kafka(kafka.address, host.options, state_dirs, **({"wait_seconds": 0} | more))

    return ask
