"""A Kafka producer that can be trusted to end: opened within a bound, let go within a bound, whatever Kafka does.

Enters: where Kafka is, and options. Leaves: a started producer, or `Unavailable`. What a producer still holds when it is
let go is given up: whoever uses one keeps the truth elsewhere. Never retries anything itself.

Letting go reaches into aiokafka where it has to: its `stop` waits for every batch to be delivered, however long that is,
and holds the batches until then. `tests/prediction_log/test_kafka_producer.py` holds it to leaving nothing behind.
"""

import asyncio
import contextlib
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from contracts.errors import Unavailable
from contracts.settings import KafkaOptions
from prediction_log.kafka.client import client_options

OPEN_SECONDS_MAX: Final = 20.0
REQUEST_MS_MAX: Final = 20_000
_STEP_SECONDS: Final = 1.0


async def open_producer(address: str, options: KafkaOptions, **terms: Any) -> AIOKafkaProducer:
    """A producer whose sends are acknowledged by all in-sync copies and are not repeated within its life.

    Raises Unavailable where Kafka does not answer or does not let us in.
    """
    compression = None if options.compression == "none" else options.compression
    producer = AIOKafkaProducer(
        **client_options(address, options),
        acks="all",
        enable_idempotence=True,
        compression_type=compression,
        request_timeout_ms=REQUEST_MS_MAX,
        **terms,
    )
    try:
        async with asyncio.timeout(OPEN_SECONDS_MAX):
            await producer.start()
    except (KafkaError, OSError, TimeoutError, AssertionError) as error:
        # AssertionError: a broker that has just come back names no brokers, and aiokafka takes that for a bug of its own
        await let_go(producer, 0.0)
        raise Unavailable(f"Kafka at {address}: {error!r}; it is asked again") from error
    except BaseException:
        await let_go(producer, 0.0)
        raise
    return producer


async def let_go(producer: AIOKafkaProducer, seconds: float) -> None:
    """Stop a producer. What is not delivered within `seconds` is given up."""
    stopping = asyncio.ensure_future(producer.stop())
    await asyncio.wait({stopping}, timeout=seconds)
    if not stopping.done():
        await _give_up(producer)
        await asyncio.wait({stopping}, timeout=_STEP_SECONDS)
    stopping.cancel()
    await asyncio.wait({stopping}, timeout=_STEP_SECONDS)
    with contextlib.suppress(asyncio.CancelledError, Exception):  # how a connection ends that nobody uses is no news
        stopping.result()


async def _give_up(producer: AIOKafkaProducer) -> None:
    """End what works for the producer, from the inside out, so that no part is left waiting for another."""
    client, sender, accumulator = producer.client, producer._sender, producer._message_accumulator  # noqa: SLF001
    working = sender.sender_task
    if working is not None:
        working.remove_done_callback(sender._fail_all)  # noqa: SLF001 - it trips over a producer without transactions
        working.cancel()
    closing = asyncio.ensure_future(client.close())  # requests under way fail now, and not at their timeout
    await asyncio.wait({closing}, timeout=_STEP_SECONDS)
    closing.cancel()
    metadata = client._md_update_fut  # noqa: SLF001 - nobody is left to answer it
    if metadata is not None:
        metadata.cancel()
    if working is not None:
        await asyncio.wait({working}, timeout=_STEP_SECONDS)
    batches = accumulator._pending_batches  # noqa: SLF001
    batches.update(batch for queue in accumulator._batches.values() for batch in queue)  # noqa: SLF001 - each leaves it at its end
    for batch in list(batches):
        batch.future.cancel()
