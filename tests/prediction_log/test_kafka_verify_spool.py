"""The certificate against the spool of a host: what its cursor says is sent must be there, and the rest is under way."""

import asyncio

import pytest

from prediction_log.forward.cursor import Cursor, CursorFile
from prediction_log.position import Position
from prediction_log.spool.disk import boot_of_this_machine
from prediction_log.spool.places import log_directories
from prediction_log.spool.segment import Kind
from prediction_log.spool.tail import LogTail
from tests.prediction_log.kafka_messages import OTHER_LOG, prediction, send, some

pytestmark = pytest.mark.anyio


class Spool:
    """A host's spool, forwarded by hand: what is sent, and how far the cursor says it is."""

    def __init__(self, host, state_dir, open_log, disk):
        self.host = host
        self.state_dir = state_dir
        self.open_log = open_log
        self.disk = disk
        self.writer = None

    async def write(self, number=20):
        self.writer = await self.open_log()
        for each in range(number):
            await self.writer.append(Kind.PREDICTION, prediction(each))
        await self.writer._world.background.settle()

    async def forward(self, acked, *, leave_out=()):
        """Send what is committed but `leave_out`; the cursor then says that everything up to `acked` is there."""
        (log,) = log_directories(self.state_dir / "spool")
        tail = LogTail(log.path, log.log_id, Position(), boot_of_this_machine())
        for entry in tail.read(10_000):
            await send(self.host, entry.kind, entry.payload, entry.seq, log.log_id, leave_out)
        await self.host.producer.flush()
        position = Position(segment=1, offset=128, seq=acked)
        CursorFile(self.disk, log.path, log.log_id).save(Cursor(position=position, segment=1, partitions=4))


@pytest.fixture
async def spool(host, tmp_path, open_log):
    def disk(operation, *args, **kwargs):
        return operation(*args, **kwargs)

    made = Spool(host, tmp_path, open_log, disk)
    yield made
    if made.writer is not None:
        await made.writer.aclose()


async def test_everything_committed_and_forwarded_is_certified_against_the_spool(spool, certify, tmp_path):
    await spool.write()
    await spool.forward(20)

    certificate = await certify(tmp_path)

    (log,) = certificate.logs
    assert (log.slot, log.source, log.records, log.last_seq, log.ok) == ("worker-0", "spool", 20, 20, True)
    assert certificate.complete


async def test_what_the_cursor_says_is_sent_and_is_not_there_is_missing(spool, certify, tmp_path):
    await spool.write()
    await spool.forward(20, leave_out={3, 20})

    (log,) = (await certify(tmp_path)).logs

    assert (log.missing, log.ok) == ([(3, 3), (20, 20)], False)


async def test_what_lies_beyond_the_cursor_is_not_sent_yet(spool, certify, tmp_path):
    await spool.write()
    await spool.forward(12, leave_out=set(range(13, 21)) - {15})

    certificate = await certify(tmp_path)

    (log,) = certificate.logs
    assert (log.missing, log.pending, log.ok) == ([], 7, True)
    assert (certificate.ok, certificate.complete) == (True, False)


async def test_a_log_that_no_forwarder_ever_saw_is_pending_as_a_whole(spool, certify, tmp_path):
    await spool.write()

    certificate = await certify(tmp_path)

    assert (certificate.pending, certificate.records, certificate.ok, certificate.complete) == (20, 0, True, False)


async def test_the_forwarder_is_given_time_for_what_was_committed_before_the_question(spool, certify, tmp_path):
    await spool.write()

    asking = asyncio.create_task(certify(tmp_path, wait_seconds=90))
    await spool.forward(20)

    assert (await asking).complete


async def test_logs_of_hosts_that_were_not_asked_are_named(spool, host, certify, tmp_path):
    await spool.write()
    await spool.forward(20)
    await some(host, OTHER_LOG)

    certificate = await certify(tmp_path)

    assert (certificate.unasked, certificate.complete) == ([OTHER_LOG], True)
