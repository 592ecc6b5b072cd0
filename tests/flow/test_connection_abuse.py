"""Thousands of clients that hold connections without asking anything do not touch those that ask."""

import asyncio
import contextlib
import json
import re
import resource
import time

import httpx
import numpy as np
import pytest

from prediction_log.spool.segment import Kind

SILENT, HELD, DRIPPING = 1200, 600, 200
ADDRESSES = [f"127.0.0.{number}" for number in range(2, 8)]
HEAD = b"POST /v2/models/flight-delay/infer HTTP/1.1\r\nhost: t\r\n"


@pytest.fixture(autouse=True)
def files():
    """Room for the connections of this process."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, before[1]), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def ask(host, port, body, latencies, answers, stop):
    """A good client on one connection; an answer that does not come, or is no 200, fails the test."""
    reader, writer = await asyncio.open_connection(host, port)
    payload = json.dumps(body).encode()
    while not stop.is_set():
        began = time.perf_counter()
        writer.write(HEAD + b"content-length: %d\r\n\r\n" % len(payload) + payload)
        head = await reader.readuntil(b"\r\n\r\n")
        reply = await reader.readexactly(int(re.search(rb"content-length: (\d+)", head)[1]))
        latencies.append(time.perf_counter() - began)
        assert head.startswith(b"HTTP/1.1 200"), head
        answers.append(json.loads(reply)["parameters"]["prediction_id"])
        await asyncio.sleep(0.005)
    writer.close()


async def during(host, port, body, work):
    """The latencies and prediction ids of four good clients while `work` runs."""
    latencies, answers, stop = [], [], asyncio.Event()
    asking = [asyncio.create_task(ask(host, port, body, latencies, answers, stop)) for _ in range(4)]
    await work()
    stop.set()
    await asyncio.gather(*asking)
    return latencies, answers


def test_good_traffic_goes_on_during_a_slowloris(start, records, flight, until):
    running = start("serve")
    host, port = running.data.removeprefix("http://").split(":")
    lines = []

    async def attack():
        async def connect(number, beginning):
            local = (ADDRESSES[number % len(ADDRESSES)], 0)
            reader, writer = await asyncio.open_connection(host, port, local_addr=local)
            writer.write(beginning)
            lines.append((reader, writer))

        beginnings = [b""] * SILENT + [HEAD + b"x: "] * HELD + [HEAD + b"content-length: 1000\r\n\r\n"] * DRIPPING
        for first in range(0, len(beginnings), 100):
            await asyncio.gather(*(connect(first + n, one) for n, one in enumerate(beginnings[first : first + 100])))
        dripping = asyncio.create_task(drip(lines[-DRIPPING:]))
        ended = await asyncio.wait_for(asyncio.gather(*(read_to_end(reader) for reader, _ in lines)), 120)
        dripping.cancel()
        return ended

    async def drip(some):
        while True:
            for _, writer in some:
                with contextlib.suppress(OSError):
                    writer.write(b"y")
            await asyncio.sleep(1)

    async def read_to_end(reader):
        first = await reader.read(12)
        with contextlib.suppress(ConnectionError):  # who drips on after the end may be told so before the end is read
            await reader.read()
        return first

    async def story():
        quiet, first = await during(host, port, flight(), lambda: asyncio.sleep(2))
        ended = []

        async def work():
            ended.extend(await attack())

        loaded, second = await during(host, port, flight(), work)
        for _, writer in lines:
            writer.close()
        return quiet, loaded, first + second, ended

    quiet, loaded, answers, ended = asyncio.run(story())

    quiet_p99, loaded_p99 = (float(np.percentile(one, 99)) * 1000 for one in (quiet, loaded))
    print(f"\np99 of good traffic: {quiet_p99:.1f} ms alone, {loaded_p99:.1f} ms beside {len(ended)} slow connections")
    counts = {one: ended.count(one) for one in set(ended)}
    assert counts == {b"": SILENT, b"HTTP/1.1 408": HELD + DRIPPING}
    assert len(loaded) > 100, "those who ask are answered all the time"
    metrics = httpx.get(f"{running.data}/metrics").text
    closed = dict(re.findall(r'connections_closed_total\{reason="(\w+)"\} (\d+)\.0', metrics))
    assert closed == {"silent": str(SILENT), "head_timeout": str(HELD), "body_timeout": str(DRIPPING)}
    assert running.stop() == 0
    logged = [record.prediction_id for record in records(running.state, Kind.PREDICTION) if record.answered]
    assert sorted(logged) == sorted(answers)


def answered(running, request):
    """Whether a new connection is taken and answered: as long as others are not seen to be closed it may be one too many."""
    with contextlib.suppress(httpx.TransportError):
        return httpx.post(f"{running.data}/v2/models/flight-delay/infer", json=request).status_code == 200
    return False


def test_a_worker_that_may_open_few_files_takes_few_connections_and_goes_on_answering(start, flight, until):
    """The limit of files is inherited; what is left of it after models, log and stores is what connections may take."""
    running = start("serve", files=500)
    host, port = running.data.removeprefix("http://").split(":")

    async def story():
        good_reader, good_writer = await asyncio.open_connection(host, port)
        payload = json.dumps(flight()).encode()
        lines = [await asyncio.open_connection(host, port, local_addr=("127.0.0.2", 0)) for _ in range(700)]
        refused = 0
        for reader, _ in lines[-100:]:
            try:
                refused += (await asyncio.wait_for(reader.read(12), 60)) in {b"HTTP/1.1 503", b""}
            except ConnectionResetError:
                refused += 1
        statuses = []
        for _ in range(20):
            good_writer.write(HEAD + b"content-length: %d\r\n\r\n" % len(payload) + payload)
            head = await good_reader.readuntil(b"\r\n\r\n")
            await good_reader.readexactly(int(re.search(rb"content-length: (\d+)", head)[1]))
            statuses.append(head[:12])
        for _, writer in [*lines, (None, good_writer)]:
            writer.close()
        return refused, statuses

    refused, statuses = asyncio.run(story())

    assert (refused, statuses) == (100, [b"HTTP/1.1 200"] * 20)
    until(lambda: answered(running, flight()), what="an answer now that all are gone")
    assert running.stop() == 0
