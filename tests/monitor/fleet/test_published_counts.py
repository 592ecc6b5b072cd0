"""The certificate over Kafka with what real monitors published: each record counted exactly once, or the name of what is not."""

import asyncio

from monitor.fleet.published_counts import published_counts
from prediction_log.certificate.kafka_verify import verify_kafka
from tests.monitor.fleet.conftest import LOG_A, LOG_B, LOG_C, PATIENCE_SECONDS, QUICK_MS


async def send(fleet, history, amount, **how):
    async with fleet.filler() as filler:
        predictions = history.predictions(amount)
        await fleet.fill(filler, LOG_A, predictions[::2], **how)
        await fleet.fill(filler, LOG_B, history.labels(predictions))
        await fleet.fill(filler, LOG_C, predictions[1::2])


async def certify(fleet, wait_seconds=PATIENCE_SECONDS):
    async with published_counts(fleet.address, fleet.options) as counts:
        return await verify_kafka(fleet.address, fleet.options, ask_monitors=counts.read, wait_seconds=wait_seconds)


def test_nobody_is_certified_to_have_counted_where_no_monitor_ever_ran(fleet, history):
    asyncio.run(send(fleet, history, 40))

    certificate = asyncio.run(certify(fleet, 0))

    assert (certificate.counted, certificate.records, certificate.complete) == (None, len(fleet.entries), True)


def test_records_that_came_once_or_twice_are_certified_as_counted_once_by_two_workers(fleet, history):
    workers = fleet.worker("first"), fleet.worker("second", session_ms=QUICK_MS)
    fleet.wait_for(lambda: all(map(fleet.partitions, workers)), bool)
    asyncio.run(send(fleet, history, 600))
    workers[1].kill()
    asyncio.run(send(fleet, history, 600))

    fleet.counted_as_the_oracle(workers[0])
    certificate = asyncio.run(certify(fleet))

    assert certificate.complete, certificate
    assert (certificate.counted, certificate.behind) == (len(fleet.entries), 0)


def test_what_came_after_the_last_publication_is_behind(fleet, history):
    worker = fleet.worker("worker")
    asyncio.run(send(fleet, history, 200))
    fleet.counted_as_the_oracle(worker)
    assert worker.stop() == 0
    before = len(fleet.entries)
    asyncio.run(send(fleet, history, 50))

    certificate = asyncio.run(certify(fleet, 0))

    assert certificate.ok
    assert not certificate.complete
    assert certificate.behind == len(fleet.entries) - before
