"""A history of a fleet, dealt to partitions by the law, and a topic of summaries that is only a list.

The records, the slow oracle and the ways to read counts are those of the counting tests.
"""

import json
from collections import Counter

from monitor.counts.consume import Consumer, Reading
from monitor.counts.state import FILE_NAME as STATE_FILE_NAME
from monitor.fleet.exchange import Message, name_of
from monitor.fleet.publication import FILE_NAME, Publication, open_live
from monitor.fleet.view_store import open_view
from monitor.pages.queries import open_reader
from prediction_log.kafka.partitioning import partitions_of
from prediction_log.position import Entry
from prediction_log.spool.segment import Kind
from tests.monitor.core import conftest as world

OWNER = "worker-a"


def references():
    """Two versions, one of which is counted in bins of its own."""
    return {("m", version): world.make_reference("binary", version, reference_hash=f"r{version}") for version in "12"}


def history(dice, n=60, days=3):
    """Records of n predictions with labels that are early, late, corrected, taken back, invalid, or without prediction."""
    records = []
    for i in range(n):
        event_us = world.T0 + dice.randrange(days * world.DAY_US)
        prediction_id = world.uuid7(world.T0 // 1000 + i, i)
        given = {
            "event_us": event_us,
            "version": dice.choice("12"),
            "variant": dice.choice(["champion", "canary-2", 'ünïcode "2"']),
            "features": {
                "x": [dice.choice([None, -2.0, 0.05, 3.0])],
                "c": [dice.choice(["a", "rare", "new", 7, True])],
            },
            "outputs": world.make_output([dice.random()], 1),
            "status": dice.choices(["ok", "error"], [9, 1])[0],
        }
        of_one = [world.make_prediction(prediction_id, **given)]
        for version in range(dice.randrange(4)):
            op = dice.choices(["upsert", "retract"], [4, 1])[0]
            value = None if op == "retract" else dice.choice([0, 1, 1, "nonsense"])
            times = {"observed_us": event_us + 1000, "received_us": event_us + 2000 + version}
            of_one.append(world.make_label(prediction_id, value, op=op, label_version=version, **times))
        dice.shuffle(of_one)
        records += of_one
    records.append(world.make_label(world.uuid7(1, 1), 1))
    for _ in range(n // 10):
        one = dice.randrange(len(records))
        other = dice.randrange(len(records))
        records[one], records[other] = records[other], records[one]
    return records


def dealt(records, partitions):
    """Entries by partition number, as a stream hands them out: two logs, linked by `after`."""
    seqs, last, found = Counter(), Counter(), [[] for _ in range(partitions)]
    for i, record in enumerate(records):
        log = "ab"[i % 2] * 32
        seqs[log] += 1
        key = record.prediction_id.partition("#")[0].encode()
        (p,) = partitions_of([key], partitions)
        made = world.entry(log, seqs[log], record)
        stream = f"{'p' if made.kind is Kind.PREDICTION else 'l'}:{log}"
        found[p].append(Entry(stream, made.seq, made.kind, made.payload, 1, last[p, stream]))
        last[p, stream] = made.seq
    return found


class Worker:
    """One partition's counting: its directory, and how far its stream was read."""

    def __init__(self, directory, entries, refs=None):
        self.directory = directory
        self.entries = entries
        self.refs = references() if refs is None else refs
        self.consumer = Consumer(
            directory / STATE_FILE_NAME, world.make_catalogue(self.refs), horizon_days=world.HORIZON_DAYS
        )

    def open(self):
        """Open the state; how many entries it has counted."""
        return json.loads(self.consumer.open().get("topic", b"0"))

    def count(self, records_max=10_000):
        """Count the next entries; how many."""
        at = self.open()
        some = self.entries[at : at + records_max]
        done = at + len(some) == len(self.entries)
        self.consumer.take(Reading(some, {"topic": b"%d" % (at + len(some))}, (), done), world.T0)
        self.consumer.close()
        return len(some)


class ListTopic:
    """The topic of summaries, in memory: committed messages by partition. `live` files lie in the workers' directories."""

    def __init__(self, partitions):
        self.messages = [[] for _ in range(partitions)]

    def publish(self, p, directory, owner=OWNER):
        """One publication; whether there was anything."""
        live = open_live(directory / FILE_NAME, p)
        try:
            publication = Publication(live, directory, owner, world.T0)
            told = [message for chunk in publication.chunks() for message in chunk]
            if told:
                self.messages[p] += told
                publication.commit(len(self.messages[p]))
        finally:
            live.close()
        return told

    def compacted(self, p):
        """The same with only the last message of each key, as offset and message; without most of what was taken back."""
        last = {message.key: offset for offset, message in enumerate(self.messages[p])}
        kept = sorted(last.values())
        return [(offset, self.messages[p][offset]) for offset in kept]

    def numbered(self, p, start=0):
        """All messages from an offset on."""
        return list(enumerate(self.messages[p]))[start:]


def view_of(path, topic, *, compacted=False):
    """A view that has read everything."""
    store = open_view(path, len(topic.messages))
    for p in range(len(topic.messages)):
        while True:
            at = store.offsets()[p]
            source = topic.compacted(p) if compacted else topic.numbered(p)
            store.receive(p, [pair for pair in source if pair[0] >= at], len(topic.messages[p]))
            if not store.at_end(p):
                break
    store.close()
    return path


def counts(path):
    """All counts that a file adds up to."""
    return world.read_counts(path)


def day_totals(path):
    """All counts by whole days, as `merged` gives them."""
    reader = open_reader(path)
    found = {}
    for group in reader.groups():
        for name in group.slices:
            names = (group.model, group.version, group.digest, group.reference_hash, group.variant, name)
            for start, vector in reader.series(group, name, None, None, world.DAY_US):
                found[(*names, start)] = vector.tolist()
    reader.close()
    return found


def kinds(messages: list[Message]) -> Counter:
    """How many messages of each kind."""
    return Counter(name_of(message.key).kind for message in messages)
