"""kill -9 of a real writer process under load: every acknowledged record is there."""

import os
import signal
import struct
import subprocess
import sys

import pytest

from prediction_log.certificate.spool import verify
from prediction_log.finding import FindingKind
from prediction_log.spool.reader import SpoolReader

WRITER = """
import asyncio, os, sys
from pathlib import Path
from prediction_log.spool.segment import Kind
from prediction_log.spool.writer import open_writer

async def client(writer, number):
    count = 0
    while True:
        payload = b'{"client":%d,"count":%d,"pad":"%s"}' % (number, count, b"x" * (count * 131 % 1500))
        await writer.append(Kind.PREDICTION, payload)
        os.write(1, number.to_bytes(4, "little") + count.to_bytes(4, "little"))
        count += 1

async def main():
    spool, durability = Path(sys.argv[1]), sys.argv[2]
    writer = await open_writer(
        spool, "worker-0", durability=durability, segment_bytes=128 * 1024, disk_reserve_bytes=0
    )
    await asyncio.gather(*(client(writer, number) for number in range(24)))

asyncio.run(main())
"""


def kill_under_load(spool, durability, after):
    """Run a writer, kill it after so many acknowledgements; all that it gave, as a client would remember them."""
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(spool), durability], stdout=subprocess.PIPE)
    try:
        remembered = b""
        while len(remembered) < 8 * after:
            part = os.read(process.stdout.fileno(), 65536)
            assert part, "the writer ended by itself"
            remembered += part
    finally:
        process.send_signal(signal.SIGKILL)
        remembered += process.stdout.read()
        process.stdout.close()
        process.wait(30)
    whole = len(remembered) // 8 * 8
    return set(struct.iter_unpack("<II", remembered[:whole]))


@pytest.mark.parametrize(("durability", "rounds"), [("process", (50, 777, 2000, 4001)), ("power", (30, 400))])
def test_every_acknowledged_record_is_there_after_kill_9(tmp_path, durability, rounds):
    import msgspec

    class Payload(msgspec.Struct):
        client: int
        count: int

    remembered = [kill_under_load(tmp_path / "spool", durability, after) for after in rounds]

    reader = SpoolReader(tmp_path / "spool", {})
    by_log = {}
    while entries := reader.poll(1000):
        for entry in entries:
            payload = msgspec.json.decode(entry.payload, type=Payload)
            by_log.setdefault(entry.log_id, []).append((payload.client, payload.count))
        assert {finding.kind for finding in reader.findings} <= {FindingKind.TORN_TAIL}
    logs = list(by_log.values())
    assert len(logs) == len(rounds)
    assert all(len(records) == len(set(records)) for records in logs)
    for acknowledged in remembered:
        assert min(len(acknowledged - set(records)) for records in logs) == 0
    certificate = verify(tmp_path / "spool")
    assert certificate.ok
    assert {log.state for log in certificate.logs} == {"ended"}
