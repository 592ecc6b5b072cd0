"""Random lives of a spool against a list: append, rotate, crash, reopen, read in any order."""

import asyncio
import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from prediction_log.certificate.spool import verify
from prediction_log.finding import FindingKind
from prediction_log.spool.places import segment_numbers, segment_path
from prediction_log.spool.reader import SpoolReader
from prediction_log.spool.segment import Kind, encode_batch, root_of, seed_of
from prediction_log.spool.writer import open_writer

KINDS = st.sampled_from([Kind.PREDICTION, Kind.LABEL, Kind.AUDIT])
PAYLOADS = st.binary(max_size=700)


class Standing:
    """A clock that is moved by a rule."""

    ns = 10**9

    def now_us(self):
        return self.ns // 1000

    def mono_ns(self):
        return self.ns


def quick(operation, /, *args, **kwargs):
    return None if operation in {os.fsync, os.fdatasync} else operation(*args, **kwargs)


class Spool(RuleBasedStateMachine):
    """`written` is the model: what every log holds, by log_id. `read` is what the reader under test has given so far."""

    @initialize(durability=st.sampled_from(["process", "power"]))
    def begin(self, durability):
        self.directory = Path(tempfile.mkdtemp())
        self.runner = asyncio.Runner()
        self.clock = Standing()
        self.durability = durability
        self.written, self.read, self.torn = {}, {}, set()
        self.writer = None
        self.reader = SpoolReader(self.directory, {})
        self.open()

    def teardown(self):
        if hasattr(self, "runner"):
            if self.writer is not None:
                self.close()
            self.drain()
            assert self.read == self.written
            certificate = verify(self.directory, {log: [(1, len(r))] for log, r in self.written.items() if r})
            assert certificate.ok
            assert certificate.records == sum(map(len, self.written.values()))
            self.runner.close()
            shutil.rmtree(self.directory)

    def open(self):
        terms = {"durability": self.durability, "segment_bytes": 4096, "disk_reserve_bytes": 0}
        opening = open_writer(self.directory, "worker-0", clock=self.clock, disk=quick, **terms)
        self.writer = self.runner.run(opening)
        self.written[self.writer.log_id] = []
        self.read[self.writer.log_id] = []

    def take(self, entries):
        for entry in entries:
            self.read[entry.log_id].append((entry.kind, entry.payload))
            assert entry.seq == len(self.read[entry.log_id])

    def drain(self):
        while entries := self.reader.poll(100):
            self.take(entries)
            self.check_findings()
        self.check_findings()

    def check_findings(self):
        kinds = {FindingKind.TORN_TAIL} if self.torn else set()
        assert {finding.kind for finding in self.reader.findings} <= kinds

    @precondition(lambda self: self.writer is None)
    @rule()
    def reopen(self):
        self.open()

    @precondition(lambda self: self.writer is not None)
    @rule(records=st.lists(st.tuples(KINDS, PAYLOADS), min_size=1, max_size=6), later=st.integers(0, 6))
    def append(self, records, later):
        """Some in one tick; the first `later` of them without anybody waiting."""

        async def together():
            for kind, payload in records[:later]:
                assert self.writer.append_later(kind, payload[2:], payload[:2])
            await asyncio.gather(*(self.writer.append(kind, payload) for kind, payload in records[later:]))
            self.writer._tick()
            await self.writer._world.background.settle()

        self.runner.run(together())
        self.written[self.writer.log_id] += records

    @rule(seconds=st.sampled_from([1, 61]))
    def wait(self, seconds):
        self.clock.ns += seconds * 10**9

    @precondition(lambda self: self.writer is not None)
    @rule()
    def close(self):
        self.runner.run(self.writer.aclose())
        self.writer = None

    @precondition(lambda self: self.writer is not None)
    @rule(part=st.floats(0, 0.9))
    def crash(self, part):
        """Die by kill -9 in the middle of a write: the first `part` of a batch is there."""

        async def die():
            await self.writer._world.background.settle()
            self.writer._supply.stop()
            self.writer._world.background.close()

        self.runner.run(die())
        segment = self.writer._segment
        if segment is not None:
            raw_id = bytes.fromhex(self.writer.log_id)
            seq = self.writer.last_seq
            batch = encode_batch(seed_of(raw_id), seq, seq, 0, [(1, b"", b"never answered")], root_of(raw_id))
            torn = batch.data[: int(len(batch.data) * part)]
            os.pwrite(segment._fd, torn, segment.offset)
            if torn:
                self.torn.add(self.writer.log_id)
            segment.close()
        os.close(self.writer._home.lock_fd)
        self.writer = None

    @rule(records_max=st.integers(1, 9))
    def poll(self, records_max):
        self.take(self.reader.poll(records_max))
        self.check_findings()

    @rule()
    def restart_reader(self):
        self.reader = SpoolReader(self.directory, self.reader.positions)

    @invariant()
    def what_was_read_is_a_prefix_of_what_was_written(self):
        for log_id, records in getattr(self, "read", {}).items():
            assert records == self.written[log_id][: len(records)]

    @invariant()
    def the_slots_former_writers_hold_no_spare_space(self):
        if getattr(self, "writer", None) is not None:
            for log in self.directory.glob("worker-0/*"):
                if log.name != self.writer.log_id:
                    sizes = [segment_path(log, number).stat().st_size for number in segment_numbers(log)]
                    assert sum(sizes) <= 4096 * (1 + len(sizes))


TestSpool = Spool.TestCase
TestSpool.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
