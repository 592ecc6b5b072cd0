"""What the forwarder does: records/s from a real spool to a real broker, and its memory over a long backlog.

Enters: a broker's address (or none: one is started), how many records, how large. Leaves: one JSON object: records/s and CPU
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

from contracts.settings import KafkaOptions, Settings, decode_settings, encode_settings
from prediction_log.forward.forwarding import serve_forwarder
from prediction_log.forward.status import ForwarderStatus, read_status
from prediction_log.spool.segment import Kind
from prediction_log.spool.writer import open_writer

WRITERS = 4
CHUNK = 500
VARIABLE = "POINTSMAN_ROLE_BENCHMARK"
WAIT_SECONDS_MAX = 600


def payload(seed: random.Random, size: int) -> bytes:
    """A record as a model with some forty features leaves it; about `size` bytes."""
    head = {
        "schema": 1,
        "prediction_id": str(uuid.UUID(int=seed.getrandbits(128))),
        "received_us": time.time_ns() // 1000,
    }
    features: dict[str, list[float]] = {}
    record = {**head, "model": "flight-delay", "features": features}
    while len(json.dumps(record)) < size:
        features[f"feature_{len(features)}"] = [round(seed.gauss(0, 1), 4)]
    return json.dumps(record, separators=(",", ":")).encode()


async def fill(spool: Path, records: int, size: int) -> None:
    """Write the backlog."""
    seed = random.Random(7)
    samples = [payload(seed, size) for _ in range(1000)]
    for slot in range(WRITERS):
        writer = await open_writer(spool, f"worker-{slot}", disk_reserve_bytes=0)
        for first in range(0, records // WRITERS, CHUNK):
            count = min(CHUNK, records // WRITERS - first)
            ids = [str(uuid.UUID(int=seed.getrandbits(128))).encode() for _ in range(count)]
            batch = [
                sample[:29] + own + sample[65:] for sample, own in zip(seed.choices(samples, k=count), ids, strict=True)
            ]
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
    parser.add_argument("--bytes", type=int, default=1024, help="the size of a record")
    parser.add_argument("--partitions", type=int, default=12)
    parser.add_argument("--directory", type=Path, default=Path(), help="where the spool is made")
    arguments = parser.parse_args()
    with broker(arguments.kafka) as address, tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        prefix = f"benchmark{uuid.uuid4().hex[:8]}"
        options = KafkaOptions(prefix=prefix, partitions=arguments.partitions, backlog_bytes_per_second_max=0)
        settings = Settings(state_dir=Path(directory), kafka=address, kafka_options=options)
        asyncio.run(fill(Path(directory) / "spool", arguments.records, arguments.bytes))
        print(json.dumps(measure(settings, arguments.records, arguments.bytes)))


if __name__ == "__main__":
    main()
