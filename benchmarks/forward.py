"""What the forwarder does: records/s from a real spool to a real broker, and its memory over a long backlog.

Enters: a broker's address (or none: one is started), how many records, how large, in which form. Leaves: one JSON object: records/s and CPU
microseconds a record of the forwarder's own process, its memory soon after the start and at the end. The spool is written
beforehand; the forwarder runs in a process of its own, without a bound on the backlog's speed, until Kafka has everything.
Not measured: gateways writing meanwhile, networks, copies on other brokers.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.compact_records import payload_of
from benchmarks.monitor_fold import prediction
from contracts.prediction import Prediction
from contracts.settings import KafkaOptions, Settings, decode_settings, encode_settings
from contracts.wire import encode
from prediction_log.compact import prefix_in
from prediction_log.forward.forwarding import serve_forwarder
from prediction_log.forward.status import ForwarderStatus, read_status
from prediction_log.spool.segment import Kind
from prediction_log.spool.writer import open_writer

WRITERS = 4
CHUNK = 500
VARIABLE = "POINTSMAN_ROLE_BENCHMARK"
WAIT_SECONDS_MAX = 600


def sample(seed: random.Random, size: int) -> Prediction:
    """A record as a model with some dozen features leaves it; about `size` bytes of JSON."""
    made = prediction(seed, 0)
    features: dict[str, list[float]] = {}
    while len(encode(msgspec.structs.replace(made, features=features))) < size:
        features[f"feature_{len(features)}"] = [float(np.float32(round(seed.gauss(0, 1), 4)))]
    return msgspec.structs.replace(made, features=features)


async def fill(spool: Path, records: int, size: int, *, as_json: bool) -> None:
    """Write the backlog: many copies of a thousand records, each under an id of its own."""
    seed = random.Random(7)
    samples = [payload_of(sample(seed, size), as_json=as_json) for _ in range(1000)]
    own_id = encode(sample(seed, 0)).find(b'"prediction_id":"') + len(b'"prediction_id":"')
    places = [own_id if as_json else len(prefix_in(payload)) for payload in samples]
    for slot in range(WRITERS):
        writer = await open_writer(spool, f"worker-{slot}", disk_reserve_bytes=0)
        for first in range(0, records // WRITERS, CHUNK):
            count = min(CHUNK, records // WRITERS - first)
            batch = []
            for number in seed.choices(range(len(samples)), k=count):
                at, record_id = places[number], str(uuid.UUID(int=seed.getrandbits(128))).encode()
                batch.append(samples[number][:at] + record_id + samples[number][at + len(record_id) :])
            await asyncio.gather(*(writer.append(Kind.PREDICTION, record) for record in batch))
        await writer.aclose()


async def forward(settings: Settings) -> None:
    """The forwarder's process: ends with the CPU it took on its last line."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await serve_forwarder(settings, stop)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"cpu_seconds": usage.ru_utime + usage.ru_stime, "rss_max_kb": usage.ru_maxrss}))


def rss_mb(pid: int) -> float:
    """Resident memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def measure(settings: Settings, records: int, size: int) -> dict[str, object]:
    """Run the forwarder over the backlog."""
    environment = {**os.environ, VARIABLE: encode_settings(settings).decode()}
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.forward"], env=environment, stdout=subprocess.PIPE)
    try:
        marks = watch(settings, process, records)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=30)
    finally:
        process.kill()
    used = json.loads(output)
    (first_at, first, early_mb), (last_at, last, late_mb) = marks[0], marks[-1]
    return {
        "records": records,
        "bytes": size,
        "records_per_second": round((last - first) / (last_at - first_at)),
        "cpu_us_per_record": round(used["cpu_seconds"] / records * 1e6, 2),
        "rss_early_mb": round(early_mb, 1),
        "rss_late_mb": round(late_mb, 1),
        "rss_max_mb": round(used["rss_max_kb"] / 1024, 1),
    }


def watch(settings: Settings, process: "subprocess.Popen[bytes]", records: int) -> list[tuple[float, int, float]]:
    """(when, acknowledged, memory) each time the forwarder tells of progress, until everything is acknowledged."""
    marks: list[tuple[float, int, float]] = []
    end = time.monotonic() + WAIT_SECONDS_MAX
    seen: ForwarderStatus | None = None
    pid = process.pid
    while time.monotonic() < end and process.poll() is None:
        status = read_status(settings.state_dir)
        if status is not None and status.pid == pid and status != seen and status.acked:
            seen = status
            marks.append((status.at_us / 1e6, status.acked, rss_mb(pid)))
            if status.acked >= records:
                return marks
        time.sleep(0.05)
    raise TimeoutError(f"not done after {WAIT_SECONDS_MAX} s: {seen}")


@contextlib.contextmanager
def broker(address: str | None) -> Iterator[str]:
    """The broker to use."""
    if address:
        yield address
        return
    from tests.services.kafka import cluster  # noqa: PLC0415 - only where no address is given

    with tempfile.TemporaryDirectory() as directory:
        one = cluster(Path(directory))
        one.start(quick=False)
        try:
            yield one.address
        finally:
            one.stop()


def main() -> None:
    """Measure and print."""
    if VARIABLE in os.environ:
        asyncio.run(forward(decode_settings(os.environ[VARIABLE].encode())))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kafka", help="a broker's address; none: one is started")
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--bytes", type=int, default=1024, help="the size of a record as JSON")
    parser.add_argument("--json", action="store_true", help="JSON in the spool, instead of what gateways write")
    parser.add_argument("--partitions", type=int, default=12)
    parser.add_argument("--directory", type=Path, default=Path(), help="where the spool is made")
    arguments = parser.parse_args()
    with broker(arguments.kafka) as address, tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        prefix = f"benchmark{uuid.uuid4().hex[:8]}"
        options = KafkaOptions(prefix=prefix, partitions=arguments.partitions, backlog_bytes_per_second_max=0)
        settings = Settings(state_dir=Path(directory), kafka=address, kafka_options=options)
        spool = Path(directory) / "spool"
        asyncio.run(fill(spool, arguments.records, arguments.bytes, as_json=arguments.json))
        print(json.dumps(measure(settings, arguments.records, arguments.bytes)))


if __name__ == "__main__":
    main()
