"""What hosts report of themselves in the audit topic: manifests of what they sent, and losses that they found.

Enters: the audit topic, and the partitions that this worker owns. Leaves: claims for each of them, with the offsets at which
its topics ended after the claim was read; and, by the owner of partition 0, the losses as findings of its state. Every
worker reads the topic; who owns partition 0 goes on where its state says, all others read what comes from now on. Never
judges a claim.

Bound: `RECORDS_MAX` messages are read at once; of all their manifests only the greatest seqs are kept.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from contracts.errors import Unavailable
from contracts.settings import KafkaOptions
from monitor.fleet.partition import Partition
from prediction_log.finding import Finding
from prediction_log.kafka.client import client_options
from prediction_log.kafka.consumer import demand_alive, let_go
from prediction_log.kafka.message import Control, read_message
from prediction_log.kafka.topics import topics_of
from prediction_log.spool.segment import Kind

POLL_MS: Final = 500
RECORDS_MAX: Final = 2_000
PAUSE_SECONDS: Final = 5.0
KEEPER: Final = 0
"""The partition whose state keeps what is found in the audit topic, and how far it was read."""

_LOG = logging.getLogger("pointsman.monitor")


class ManifestLog(msgspec.Struct, frozen=True):
    """One log of a host; `lanes` are the last seq that Kafka acknowledged, by topic-partition: `p3`, `l0`, `a0`."""

    log_id: str
    lanes: dict[str, int] = {}


class Manifest(msgspec.Struct, frozen=True):
    """What a host says every few seconds."""

    host: str
    logs: list[ManifestLog] = []


class Loss(msgspec.Struct, frozen=True):
    """What a host found when it read its spool."""

    log_id: str
    kind: str
    segment: int = 0
    offset: int = 0
    first: int | None = None
    last: int | None = None
    detail: str = ""


class HostReports:
    """Reads the audit topic beside the group. `partitions` gives those that are owned now."""

    def __init__(
        self,
        address: str,
        options: KafkaOptions,
        partitions: Callable[[], Sequence[Partition]],
        *,
        make_consumer: Any = AIOKafkaConsumer,
    ) -> None:
        self._address = address
        self._options = options
        self._partitions = partitions
        self._make_consumer = make_consumer
        self._topics = topics_of(options.prefix)
        self._place = TopicPartition(self._topics.audit, 0)
        self._keeper: tuple[Partition, int] | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Read until `stop` is set; again and again where Kafka is away."""
        while not stop.is_set():
            try:
                await self._follow(stop)
            except (KafkaError, Unavailable, OSError) as error:
                _LOG.info("the hosts' reports cannot be read: %r; they are asked for again", error)
            except Exception:  # noqa: BLE001  a bug of ours must not stop the counting
                _LOG.exception("the hosts' reports are not followed; they are asked for again")
            if not stop.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), PAUSE_SECONDS)

    async def _follow(self, stop: asyncio.Event) -> None:
        consumer = self._make_consumer(
            **client_options(self._address, self._options),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
        )
        self._keeper = None
        try:
            await consumer.start()
            consumer.assign([self._place])
            await consumer.seek_to_end(self._place)
            while not stop.is_set():
                self._go_where_the_keeper_is(consumer)
                demand_alive(consumer)
                fetched = await consumer.getmany(timeout_ms=POLL_MS, max_records=RECORDS_MAX)
                await self._tell(consumer, fetched.get(self._place, []))
        finally:
            await let_go(consumer)

    def _go_where_the_keeper_is(self, consumer: Any) -> None:
        """To where its state has read, each time that it is opened."""
        keeper = next(((one, one.openings) for one in self._counting() if one.number == KEEPER), None)
        if keeper is not None and keeper != self._keeper:
            consumer.seek(self._place, keeper[0].positions.get(self._topics.audit, 0))
        self._keeper = keeper or self._keeper

    def _counting(self) -> list[Partition]:
        return [one for one in self._partitions() if one.standing == "counting"]

    async def _tell(self, consumer: Any, records: Sequence[Any]) -> None:
        lanes: dict[str, dict[str, int]] = {}
        losses: list[Finding] = []
        for record in records:
            found = read_message(Kind.AUDIT, record.key, record.value, record.headers)
            if isinstance(found, Control):
                try:
                    if found.kind == "manifest":
                        _add(lanes, msgspec.convert(found.content, Manifest))
                    elif found.kind == "loss":
                        losses.append(_finding(msgspec.convert(found.content, Loss)))
                except (msgspec.ValidationError, ValueError) as error:
                    _LOG.warning("audit offset %d: a %s that cannot be read: %s", record.offset, found.kind, error)
        if records and self._keeper is not None and self._keeper[1] == self._keeper[0].openings:
            self._keeper[0].found(losses, self._topics.audit, records[-1].offset + 1)
        if lanes:
            await self._claim(consumer, lanes)

    async def _claim(self, consumer: Any, lanes: Mapping[str, Mapping[str, int]]) -> None:
        """The ends are asked for after the manifests were read: what they speak of is before them."""
        owned = self._counting()
        topics = {"p": self._topics.predictions, "l": self._topics.labels}
        places = [TopicPartition(topic, one.number) for one in owned for topic in topics.values()]
        ends = await consumer.end_offsets(places) if places else {}
        for one in owned:
            claims = {
                f"{letter}:{log_id}": own[f"{letter}{one.number}"]
                for log_id, own in lanes.items()
                for letter in topics
                if f"{letter}{one.number}" in own
            }
            if claims:
                one.claimed(claims, {topic: ends[TopicPartition(topic, one.number)] for topic in topics.values()})


def _add(lanes: dict[str, dict[str, int]], manifest: Manifest) -> None:
    """Logs only grow: of two manifests the greater seq is the later."""
    for log in manifest.logs:
        own = lanes.setdefault(log.log_id, {})
        for lane, last in log.lanes.items():
            own[lane] = max(last, own.get(lane, 0))


def _finding(loss: Loss) -> Finding:
    content = {
        "kind": loss.kind,
        "log_id": loss.log_id,
        "segment": loss.segment,
        "offset": loss.offset,
        "first_seq": loss.first,
        "last_seq": loss.last,
        "detail": f"its host reports: {loss.detail}",
    }
    return msgspec.convert(content, Finding)
