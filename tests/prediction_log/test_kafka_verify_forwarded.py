"""The certificate of logs that a real forwarder sent: complete while it runs, after it died, and when the spool is gone."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from contracts.settings import Settings
from prediction_log.certificate.kafka_verify import verify_kafka
from prediction_log.forward.forwarding import serve_forwarder
from prediction_log.spool.places import log_directories, segment_numbers, segment_path
from prediction_log.spool.segment import Kind
from tests.prediction_log.kafka_kit import kill, start_process
from tests.prediction_log.kafka_messages import change, label, prediction, small

pytestmark = pytest.mark.anyio


@pytest.fixture
def settings(kafka, tmp_path):
    options = small(kafka.prefix(), spool_retain_hours=0.0)
    return Settings(kafka=kafka.address, kafka_options=options, state_dir=tmp_path)


@asynccontextmanager
async def forwarding(settings):
    stop = asyncio.Event()
    task = asyncio.create_task(serve_forwarder(settings, stop))
    try:
        yield task
    finally:
        stop.set()
        await asyncio.wait({task})


def started(state_dir, process):
    """Whether this forwarder has said a first word."""
    assert process.poll() is None, "it ended by itself"
    status = state_dir / "forwarder.json"
    return status.exists() and f'"pid":{process.pid},' in status.read_text().replace(" ", "")


async def write(open_log, number=300, slot="worker-0"):
    writer = await open_log(slot)
    for each in range(number):
        await asyncio.gather(
            writer.append(Kind.PREDICTION, prediction(each)),
            writer.append(Kind.LABEL, label(each, row=0)),
            writer.append(Kind.AUDIT, change(each)),
        )
    return writer


async def ask(settings, *, spools=True, wait_seconds=90):
    state_dirs = (settings.state_dir,) if spools else ()
    return await verify_kafka(settings.kafka, settings.kafka_options, state_dirs, wait_seconds=wait_seconds)


async def test_a_log_that_is_still_written_is_complete_up_to_the_question(settings, open_log):
    async with forwarding(settings):
        writer = await write(open_log)

        certificate = await ask(settings)

        assert certificate.complete, certificate
        assert (certificate.records, certificate.missing, certificate.pending) == (900, 0, 0)
        (log,) = certificate.logs
        assert (log.source, log.kinds) == ("spool", {"audit": 300, "label": 300, "prediction": 300})
        await writer.aclose()


async def test_what_was_written_while_nobody_forwards_is_not_sent_yet(settings, open_log):
    writer = await write(open_log)
    async with forwarding(settings):
        assert (await ask(settings)).complete
    for each in range(7):
        await writer.append(Kind.PREDICTION, prediction(each))

    certificate = await ask(settings, wait_seconds=0)

    assert (certificate.records, certificate.pending, certificate.ok, certificate.complete) == (900, 7, True, False)
    await writer.aclose()


async def test_a_forwarder_that_dies_and_comes_again_leaves_duplicates_at_most(settings, open_log, until):
    writers = [await write(open_log, 100, f"worker-{number}") for number in range(2)]
    for turn in range(3):
        process = start_process(settings)
        await until(lambda: started(settings.state_dir, process))  # noqa: B023 - asked at once
        await asyncio.sleep(0.05 * turn)  # wherever it is by then
        kill(process)
    async with forwarding(settings):
        certificate = await ask(settings)

    assert certificate.complete, certificate
    assert [log.records for log in certificate.logs] == [300, 300]
    for writer in writers:
        await writer.aclose()


async def test_topics_vouch_for_themselves_when_the_spool_is_gone(settings, open_log, until, monkeypatch):
    monkeypatch.setattr("prediction_log.forward.forwarding.SWEEP_SECONDS", 0.1)
    writer = await write(open_log)
    await writer.aclose()
    async with forwarding(settings):
        assert (await ask(settings)).complete
        await until(lambda: not log_directories(settings.state_dir / "spool"))

    certificate = await ask(settings, spools=False)

    assert (certificate.records, certificate.complete) == (900, True)
    (log,) = certificate.logs
    assert (log.slot, log.holes) == ("worker-0", [])


async def test_a_spool_that_rots_after_it_was_sent_harms_nothing(settings, open_log):
    writer = await write(open_log)
    kept = settings.__class__(
        kafka=settings.kafka, state_dir=settings.state_dir, kafka_options=small(settings.kafka_options.prefix)
    )
    async with forwarding(kept):
        assert (await ask(kept)).complete
    (log,) = log_directories(settings.state_dir / "spool")
    path = segment_path(log.path, segment_numbers(log.path)[0])
    path.write_bytes(path.read_bytes().replace(b'"label"', b'"lAbel"', 5))

    certificate = await ask(kept, wait_seconds=0)

    assert certificate.complete, certificate
    assert certificate.records == 900
    await writer.aclose()
