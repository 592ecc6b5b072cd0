"""Whatever the split, the order and the crashes: all partitions' publications add up to the counts of a single pass."""

import asyncio
import random
from contextlib import asynccontextmanager

import pytest

from contracts.settings import KafkaOptions
from monitor.counts import summary_store
from monitor.fleet import publication as publication_module
from monitor.fleet import view as view_module
from monitor.fleet import view_store
from monitor.fleet.exchange import Message, key_of
from monitor.fleet.summaries_topic import Read
from monitor.fleet.view import View
from monitor.fleet.view_standing import standing_of_view
from monitor.pages.queries import open_reader
from tests.monitor.core import conftest as world
from tests.monitor.fleet.exchange_world import (
    OWNER,
    ListTopic,
    Worker,
    counts,
    day_totals,
    dealt,
    history,
    kinds,
    references,
    view_of,
)


def counted_alone(tmp_path, records):
    """The state of one monitor that counted everything."""
    (entries,) = dealt(records, 1)
    worker = Worker(tmp_path / "alone", entries)
    worker.count()
    return tmp_path / "alone" / "monitor.sqlite"


def workers_of(tmp_path, records, partitions):
    return [Worker(tmp_path / str(p), entries) for p, entries in enumerate(dealt(records, partitions))]


@pytest.mark.parametrize("seed", range(4))
def test_any_split_adds_up_to_the_counts_of_a_single_pass(tmp_path, seed):
    dice = random.Random(seed)
    records = history(dice)
    partitions = dice.choice([1, 2, 5])
    workers, topic = workers_of(tmp_path, records, partitions), ListTopic(partitions)
    store = view_store.open_view(tmp_path / "tailing.sqlite", partitions)
    left = [p for p in range(partitions) for _ in range(len(workers[p].entries) // 7 + 2)]
    dice.shuffle(left)
    for p in left:
        workers[p].count(records_max=7)
        if dice.random() < 0.6:
            topic.publish(p, workers[p].directory)
        if dice.random() < 0.5:
            store.receive(p, topic.numbered(p, store.offsets()[p]), len(topic.messages[p]))
    for p, worker in enumerate(workers):
        while worker.count(1000):
            pass
        topic.publish(p, worker.directory)
        store.receive(p, topic.numbered(p, store.offsets()[p]), len(topic.messages[p]))
        assert not store.at_end(p)
    store.close()

    expected = world.oracle([entry for worker in workers for entry in worker.entries], references())
    alone = counted_alone(tmp_path, records)
    assert counts(alone) == expected
    views = [
        tmp_path / "tailing.sqlite",
        view_of(tmp_path / "new.sqlite", topic),
        view_of(tmp_path / "compacted.sqlite", topic, compacted=True),
    ]
    for view in views:
        assert counts(view) == expected
        assert day_totals(view) == day_totals(alone)
        assert world.read_counters(view) == world.read_counters(alone)


def test_a_publication_tells_only_what_changed(tmp_path):
    records = history(random.Random(5))
    (worker,) = workers_of(tmp_path, records, 1)
    topic = ListTopic(1)
    worker.count(len(worker.entries) - 1)
    first = topic.publish(0, worker.directory)
    assert topic.publish(0, worker.directory) == [], "nothing was counted since"

    worker.count(1)
    second = topic.publish(0, worker.directory)

    assert kinds(first)["pane"] > 50
    assert kinds(second)["pane"] <= 4, "one record touches one pane in few slices"
    assert kinds(second)["generation"] == kinds(second)["group"] == 0
    assert kinds(second)["marker"] == 1


def test_a_reader_never_sees_half_a_publication(tmp_path):
    records = history(random.Random(6))
    (worker,) = workers_of(tmp_path, records, 1)
    topic = ListTopic(1)
    worker.count(40)
    topic.publish(0, worker.directory)
    view = view_of(tmp_path / "view.sqlite", topic)
    before = counts(view)
    worker.count()
    told = topic.publish(0, worker.directory)
    expected = world.oracle(worker.entries, references())
    assert before != expected

    store = view_store.open_view(view, 1)
    start = len(topic.messages[0]) - len(told)
    for at in range(start, len(topic.messages[0])):
        assert counts(view) == before, "the marker is not there yet"
        store.receive(0, [(at, topic.messages[0][at])], at + 1)
        if at % 5 == 0:
            store.close()
            store = view_store.open_view(view, 1)
            assert store.offsets() == {0: at + 1}
    store.close()

    assert counts(view) == expected


def test_nothing_is_answered_before_every_partition_was_read_once(tmp_path):
    workers = workers_of(tmp_path, history(random.Random(7)), 3)
    topic = ListTopic(3)
    for p, worker in enumerate(workers):
        worker.count()
        topic.publish(p, worker.directory)
    store = view_store.open_view(tmp_path / "view.sqlite", 3)

    for p in range(3):
        reader = open_reader(tmp_path / "view.sqlite")
        assert not reader.progress().tick
        reader.close()
        store.receive(p, topic.numbered(p), len(topic.messages[p]))
        store.at_end(p)
    store.close()

    reader = open_reader(tmp_path / "view.sqlite")
    assert reader.progress().tick
    assert reader.progress().caught_up
    reader.close()


def test_a_topic_that_lost_messages_is_read_again_then_added_up_as_it_is_and_says_so(tmp_path):
    (worker,) = workers_of(tmp_path, history(random.Random(8)), 1)
    topic = ListTopic(1)
    worker.count(50)
    topic.publish(0, worker.directory)
    view = view_of(tmp_path / "view.sqlite", topic)
    lost = next(i for i, message in enumerate(topic.messages[0]) if b'"pane"' in message.key)
    worker.count()
    topic.publish(0, worker.directory)
    stored = topic.messages[0][lost]
    topic.messages[0][lost] = Message(b"not ours", None)
    topic.messages[0] = [
        message if message.key != stored.key else Message(b"gone", None) for message in topic.messages[0]
    ]

    store = view_store.open_view(tmp_path / "damaged.sqlite", 1)
    store.receive(0, topic.numbered(0), len(topic.messages[0]))
    assert store.at_end(0), "it does not add up: read again"
    assert store.offsets() == {0: 0}
    store.receive(0, topic.numbered(0), len(topic.messages[0]))
    assert not store.at_end(0), "and then it is what it is"
    store.close()

    reader = open_reader(tmp_path / "damaged.sqlite")
    assert [one.whole for one in standing_of_view(reader, tmp_path / "damaged.sqlite").partitions] == [False]
    reader.close()
    expected = world.oracle(worker.entries, references())
    assert counts(tmp_path / "damaged.sqlite") != expected
    store = view_store.open_view(view, 1)
    assert not store.receive(0, topic.numbered(0, store.offsets()[0]), len(topic.messages[0])), "it had read it in time"
    store.close()
    assert counts(view) == expected


def test_messages_of_others_change_nothing(tmp_path):
    (worker,) = workers_of(tmp_path, history(random.Random(9)), 1)
    topic = ListTopic(1)
    worker.count()
    topic.publish(0, worker.directory)
    clean = counts(view_of(tmp_path / "clean.sqlite", topic))
    noise = [
        Message(b"", b"x"),
        Message(b'[9,"marker",0]', b"{}"),
        Message(b'[0,"marker",0]', b"garbage"),
        Message(b'[0,"future",1]', b"{}"),
        Message(key_of(1, "pane", ("m",) * 6), b"{}"),
    ]
    topic.messages[0] = noise + topic.messages[0] + noise

    assert counts(view_of(tmp_path / "noisy.sqlite", topic)) == clean


def test_panes_that_are_no_longer_kept_go_and_their_days_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(summary_store, "PANES_KEPT_DAYS", 2)
    monkeypatch.setattr(summary_store, "SETTLE_TICKS_MAX", 3)
    dice = random.Random(10)
    records = sorted(
        history(dice, n=80, days=8), key=lambda record: getattr(record, "event_us", 0) or record.received_us
    )
    workers, topic = workers_of(tmp_path, records, 2), ListTopic(2)
    store = view_store.open_view(tmp_path / "tailing.sqlite", 2)
    for _ in range(12):
        for p, worker in enumerate(workers):
            worker.count(11)
            topic.publish(p, worker.directory)
            store.receive(p, topic.numbered(p, store.offsets()[p]), len(topic.messages[p]))
    for p, worker in enumerate(workers):
        while worker.count(50):
            pass
        topic.publish(p, worker.directory)
        store.receive(p, topic.numbered(p, store.offsets()[p]), len(topic.messages[p]))
        store.at_end(p)
    store.close()

    alone = counted_alone(tmp_path, records)
    assert day_totals(tmp_path / "tailing.sqlite") == day_totals(alone)
    assert day_totals(view_of(tmp_path / "new.sqlite", topic)) == day_totals(alone)
    assert day_totals(view_of(tmp_path / "compacted.sqlite", topic, compacted=True)) == day_totals(alone)
    live = [message for p in range(2) for _, message in topic.compacted(p) if message.value is not None]
    assert kinds(live)["day"] > 10
    oldest = min(m.key for m in live if b'"pane"' in m.key)
    assert oldest, "some panes are still kept"
    taken_back = [message for messages in topic.messages for message in messages if message.value is None]
    assert kinds(taken_back)["pane"] > 20


def test_the_owner_stands_in_the_view_with_what_waits(tmp_path):
    workers, topic = workers_of(tmp_path, history(random.Random(11)), 2), ListTopic(2)
    workers[0].count()
    topic.publish(0, workers[0].directory)
    view = view_of(tmp_path / "view.sqlite", topic)
    store = view_store.open_view(view, 2)
    store.write_ends("topic", {0: (0, len(workers[0].entries) + 7), 1: (5, 9)})
    store.close()

    reader = open_reader(view)
    standing = standing_of_view(reader, view)
    reader.close()

    assert [(one.owner, one.lag_records, one.whole) for one in standing.partitions] == [(OWNER, 7, True), ("", 4, True)]
    assert standing.counted_records == len(workers[0].entries)
    assert standing.lag_records == 11
    assert standing.logs == [], "nothing is missing"
    assert publication_module.FILE_NAME != "monitor.sqlite"


def test_a_reader_that_comes_back_to_a_compacted_topic_is_never_shown_a_mixture(tmp_path):
    (worker,) = workers_of(tmp_path, history(random.Random(12), days=1), 1)
    topic = ListTopic(1)
    worker.count(30)
    topic.publish(0, worker.directory)
    view = view_of(tmp_path / "view.sqlite", topic)
    before = counts(view)
    while worker.count(15):
        topic.publish(0, worker.directory)
    after = world.oracle(worker.entries, references())
    last = {message.key: offset for offset, message in enumerate(topic.messages[0])}
    halfway = [
        (offset, message)
        for offset, message in topic.numbered(0, view_offset(view))
        if offset == last[message.key] or b'"marker"' in message.key
    ]

    store, seen = view_store.open_view(view, 1), []
    for offset, message in halfway:
        store.receive(0, [(offset, message)], offset + 1)
        if b'"marker"' in message.key:
            seen.append(counts(view))
    assert not store.at_end(0)
    store.close()

    assert len(seen) > 3
    assert all(one in (before, after) for one in seen), "older markers stand behind rows that are gone"
    assert seen[-1] == after


def view_offset(path):
    store = view_store.open_view(path, 1)
    offset = store.offsets()[0]
    store.close()
    return offset


@pytest.mark.parametrize("content", [b"no database" * 1000, None])
def test_a_file_that_is_of_no_use_is_read_again(tmp_path, content):
    workers, topic = workers_of(tmp_path, history(random.Random(13)), 2), ListTopic(2)
    for p, worker in enumerate(workers):
        worker.count()
        topic.publish(p, worker.directory)
    view = view_of(tmp_path / "view.sqlite", topic)
    expected = counts(view)
    if content is None:
        other = view_store.open_view(view, 3)
        assert other.offsets() == dict.fromkeys(range(3), 0), "a fleet of another size begins anew"
        other.close()
    else:
        view.write_bytes(content)

    assert counts(view_of(view, topic)) == expected


class Tailed:
    """A reader of a ListTopic, as a view asks it."""

    def __init__(self, topic):
        self.topic, self.at = topic, {}

    async def ends(self, _name, partitions):
        return {p: (0, len(self.topic.messages[p])) for p in partitions}

    async def seek(self, offsets):
        self.at = dict(offsets)
        return dict(offsets)

    async def seek_to_beginning(self, p):
        self.at[p] = 0

    async def poll(self, _timeout_ms):
        await asyncio.sleep(0.01)
        found = {p: Read(self.topic.numbered(p, at), len(self.topic.messages[p])) for p, at in self.at.items()}
        self.at = {p: read.next_offset for p, read in found.items()}
        return found


def test_a_file_whose_pages_turn_out_damaged_while_it_follows_is_read_again(tmp_path, monkeypatch):
    workers, topic = workers_of(tmp_path, history(random.Random(17)), 2), ListTopic(2)
    for p, worker in enumerate(workers):
        worker.count()
        topic.publish(p, worker.directory)
    path = view_of(tmp_path / "view.sqlite", topic)
    expected, whole = counts(path), path.read_bytes()
    page_bytes = 8192
    path.write_bytes(whole[:page_bytes] + b"\xff" * (len(whole) - page_bytes))
    view_store.open_view(path, 2).close()  # its first page does not tell

    @asynccontextmanager
    async def opened(*_):
        yield Tailed(topic)

    async def follow():
        stop = asyncio.Event()
        view = View("kafka", KafkaOptions(prefix="p", partitions=2), path)
        following = asyncio.create_task(view.run(stop))
        async with asyncio.timeout(60):
            while not view.caught_up:
                await asyncio.sleep(0.01)
        stop.set()
        await following

    monkeypatch.setattr(view_module, "opened", opened)
    asyncio.run(follow())

    assert counts(path) == expected
