"""The topics as a stream of records: one member of the consumer group, and the batches of the partitions it owns.

Enters: the brokers' address, and for each owned partition number the offsets saved with what was made of it. Leaves:
batches, one a partition number, predictions[p] and labels[p] together. Offsets live with whoever saves state and offsets in
one transaction; those in Kafka are only for tools that show lag. A partition gives nothing until `seek` was called for it.
What cannot be read is a dead letter or a finding, never silence. Never blocks the group: what `assigned` starts must not
wait for long, for no heartbeat is sent meanwhile.

Members are dynamic: this client's static ones neither leave a group nor notice that they were fenced.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from contracts.errors import Unavailable
from contracts.settings import KafkaOptions
from prediction_log.collector import collector_paused
from prediction_log.kafka.assignment import LawAssignor, Wishes
from prediction_log.kafka.client import client_options
from prediction_log.kafka.consumer import let_go
from prediction_log.kafka.decoding import Batch, DeadLetter, Decoder, empty_batch
from prediction_log.kafka.fetching import Fetched, Fetching
from prediction_log.kafka.topics import topics_of
from prediction_log.spool.clock import Clock, SystemClock
from prediction_log.spool.segment import Kind

__all__ = ["Batch", "DeadLetter", "KafkaStream"]

SESSION_MS: Final = 10_000
"""A member that is not heard of for so long is gone, and its partitions go to the others."""
HEARTBEAT_MS: Final = 2_000
IDLE_MS_MAX: Final = 300_000
"""A member that does not poll for so long leaves by itself."""

Owned = Callable[[set[int]], Awaitable[None]]


class KafkaStream(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka's classes are untyped
    """`assigned` is told the partition numbers that are this member's from now on, `revoked` those that no longer are,
    and it may take its time; at every change of the group all are revoked first. `kept` says whose state lies on disk. A
    poll gives at most `records_max` records.
    """

    def __init__(
        self,
        address: str,
        options: KafkaOptions,
        *,
        group: str,
        member: str,
        assigned: Owned,
        revoked: Owned,
        records_max: int,
        kept: Callable[[], list[int]] = list,
        clock: Clock | None = None,
    ) -> None:
        self.held: set[int] = set()
        self._address = address
        self._options = options
        self._group = group
        self._member = member
        self._assigned = assigned
        self._revoked = revoked
        self._records_max = records_max
        self._kept = kept
        self._topics = {
            topics_of(options.prefix).predictions: Kind.PREDICTION,
            topics_of(options.prefix).labels: Kind.LABEL,
        }
        self._decoder = Decoder(options.partitions, (clock or SystemClock()).now_us)
        self._consumer: AIOKafkaConsumer | None = None
        self._fetching: Fetching | None = None
        self._last_held: set[int] = set()
        self._seeks: dict[int, Mapping[str, int]] = {}
        self._read_to_end: set[int] = set()
        self._failure: BaseException | None = None

    async def start(self) -> None:
        """Join the group. Raises Unavailable where Kafka or the topics are away; then it may be tried again."""
        assignor = LawAssignor(self._options.partitions, self._wishes)
        consumer = AIOKafkaConsumer(
            **client_options(self._address, self._options),
            client_id=self._member,
            group_id=self._group,
            partition_assignment_strategy=(assignor,),
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            session_timeout_ms=SESSION_MS,
            heartbeat_interval_ms=HEARTBEAT_MS,
            max_poll_interval_ms=IDLE_MS_MAX,
        )
        try:
            await consumer.start()
        except (KafkaError, OSError) as error:
            await let_go(consumer)
            raise Unavailable(f"Kafka at {self._address}: {error!r}; it is asked again") from error
        self._consumer, self._fetching = consumer, Fetching(consumer, self._records_max)
        consumer.subscribe(list(self._topics), listener=self)

    async def poll(self, timeout_ms: int) -> dict[int, Batch]:
        """What came for the partitions that are held, as soon as something came; and an empty batch for each that was
        read to its end just now. Raises Unavailable, and whatever `assigned` or `revoked` raised.
        """
        consumer, fetching = self._started()
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        await self._begin_reading(consumer)
        held = self.held
        with collector_paused():
            fetched = await fetching.fetch(0)
            batches = self._decoded(fetched)
        if not batches:
            fetched = await fetching.fetch(timeout_ms)
            batches = self._decoded(fetched)
        if not batches:
            self._demand_topics(consumer)
        for partition in sorted(batches.keys() | (self.held - self._read_to_end - self._seeks.keys())):
            batch = batches.get(partition) or empty_batch()
            where = await self._where(consumer, partition)
            if where is None:
                continue
            positions, read_to_end = where
            if partition in batches or read_to_end:
                batches[partition] = batch._replace(positions=positions, caught_up=read_to_end)
            (self._read_to_end.add if read_to_end else self._read_to_end.discard)(partition)
        if self.held is not held:  # the group changed meanwhile: every partition begins at a new `seek`
            return {}
        return {p: batch for p, batch in batches.items() if batch.positions and p not in self._seeks}

    def seek(self, partition: int, positions: Mapping[str, int]) -> None:
        """Read on at these offsets, by topic; a topic that is not among them was never read and starts at its
        beginning.
        """
        self._seeks[partition] = dict(positions)

    def pause(self, partition: int) -> None:
        """Give nothing of this partition until `resume`."""
        self._started()[0].pause(*self._parts(partition))

    def resume(self, partition: int) -> None:
        """End a pause; a partition for which `seek` was not called yet goes on waiting for it."""
        if partition not in self._seeks:
            self._started()[0].resume(*self._parts(partition))

    def ends(self, partition: int) -> dict[str, int]:
        """The offsets at which the topics of a partition ended when they were last asked, as far as is known."""
        consumer, _ = self._started()
        known = {tp.topic: consumer.last_stable_offset(tp) for tp in self._parts(partition)}
        return {topic: end for topic, end in known.items() if end is not None}

    async def commit(self, positions: Mapping[tuple[str, int], int]) -> None:
        """Tell Kafka how far partitions are counted, by (topic, partition), for tools that show lag."""
        consumer, _ = self._started()
        try:
            await consumer.commit({TopicPartition(*where): offset for where, offset in positions.items()})
        except (KafkaError, ValueError) as error:  # it will be told again, by this member or the next owner
            logging.getLogger(__name__).debug("offsets not told: %r", error)

    async def aclose(self) -> None:
        """Give up what is held, and leave the group."""
        consumer, self._consumer = self._consumer, None
        if consumer is None:
            return
        try:
            await self.on_partitions_revoked(set())
        finally:
            await let_go(consumer)

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:  # noqa: ARG002 - all are, always
        """Called by the client before a change of the group."""
        held, self.held = self.held, set()
        self._last_held = held or self._last_held
        self._seeks.clear()
        if held:
            await self._tell(self._revoked, held)

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Called by the client after a change of the group."""
        consumer = self._consumer
        if consumer is None:  # on the way out
            return
        consumer.pause(*assigned)
        for tp in assigned:
            consumer.seek(tp, 0)  # any position: else the client looks for one of its own
        numbers = [{tp.partition for tp in assigned if tp.topic == topic} for topic in self._topics]
        self.held = set.intersection(*numbers)
        self._read_to_end.clear()
        await self._tell(self._assigned, set(self.held))

    async def _tell(self, owner: Owned, partitions: set[int]) -> None:
        """The client would swallow what goes wrong here; the next poll raises it."""
        try:
            await owner(partitions)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the poller's
            self._failure = error

    async def _begin_reading(self, consumer: AIOKafkaConsumer) -> None:
        for partition, positions in list(self._seeks.items()):
            if partition not in self.held:
                self._seeks.pop(partition, None)
                continue
            parts = self._parts(partition)
            try:
                for tp in parts:
                    if tp.topic in positions:
                        consumer.seek(tp, positions[tp.topic])
                    else:
                        await consumer.seek_to_beginning(tp)
            except IllegalStateError:  # the group changed meanwhile
                continue
            except KafkaError as error:
                raise Unavailable(f"Kafka does not say where partition {partition} begins: {error!r}") from error
            if self._seeks.get(partition) is positions:
                del self._seeks[partition]
                self._read_to_end.discard(partition)
                consumer.resume(*parts)

    def _decoded(self, fetched: Fetched) -> dict[int, Batch]:
        batches: dict[int, Batch] = {}
        for tp in sorted(fetched.records, key=lambda tp: tp.topic, reverse=True):  # predictions before their labels
            batch = batches.setdefault(tp.partition, empty_batch())
            self._decoder.decode(self._topics[tp.topic], tp, fetched.records[tp], batch)
        for letter in fetched.unreadable:
            batches.setdefault(letter.partition, empty_batch()).undecodable.append(letter)
        for tp, finding in fetched.findings:
            batches.setdefault(tp.partition, empty_batch()).findings.append(finding)
        return batches

    async def _where(self, consumer: AIOKafkaConsumer, partition: int) -> tuple[dict[str, int], bool] | None:
        """The next offsets by topic, and whether nothing more is there; None where the partition is not held any more."""
        positions, at_end = {}, []
        try:
            for tp in self._parts(partition):
                position, end = await consumer.position(tp), consumer.last_stable_offset(tp)
                positions[tp.topic] = position
                at_end.append(end is not None and position >= end)
        except (KafkaError, IllegalStateError):
            return None
        return positions, bool(at_end) and all(at_end)

    def _demand_topics(self, consumer: AIOKafkaConsumer) -> None:
        for topic in self._topics:
            if not consumer.partitions_for_topic(topic):
                raise Unavailable(f"topic {topic} is not there (any more): see who deleted it, or correct the prefix")

    def _parts(self, partition: int) -> list[TopicPartition]:
        return [TopicPartition(topic, partition) for topic in self._topics] if partition in self.held else []

    def _wishes(self) -> Wishes:
        return Wishes(held=sorted(self._last_held), kept=self._kept())

    def _started(self) -> tuple[AIOKafkaConsumer, Any]:
        assert self._consumer is not None, "start() comes first"
        return self._consumer, self._fetching
