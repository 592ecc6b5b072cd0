"""What is live in the topic makes the state again: counts, days without panes, counters, findings, order of references."""

import random

import pytest

from contracts.errors import InvalidRecord
from monitor.counts import summary_store
from monitor.counts.state_export import exported, import_state
from monitor.fleet import live_rows
from monitor.fleet.publication import open_live
from monitor.fleet.reassembly import Reassembly
from tests.monitor.core import conftest as world
from tests.monitor.fleet.exchange_world import ListTopic, Worker, counts, day_totals, dealt, history, references


def live_of(path, topic):
    """A file of what is live that has read everything."""
    live = open_live(path, 0)
    messages = [message for _, message in topic.compacted(0)]
    live.connection.execute("BEGIN")
    live_rows.receive(live.connection, 0, messages, len(topic.messages[0]))
    mark = next(found for found in (live_rows.mark_of(message, 0) for message in reversed(messages)) if found)
    amiss = live_rows.amiss_of(live.standing(), mark)
    live_rows.accept(live.connection, 0, mark, amiss)
    live.connection.execute("COMMIT")
    assert amiss == live_rows.Amiss()
    return live


@pytest.mark.parametrize("kept_days", [2, 400])
def test_a_state_comes_back_as_it_was(tmp_path, monkeypatch, kept_days):
    monkeypatch.setattr(summary_store, "PANES_KEPT_DAYS", kept_days)
    monkeypatch.setattr(summary_store, "SETTLE_TICKS_MAX", 3)
    (entries,) = dealt(history(random.Random(51), n=80, days=8), 1)
    later = {key: world.make_reference("binary", key[1], reference_hash=f"later-{key[1]}") for key in references()}
    topic, directory = ListTopic(1), tmp_path / "first"
    for refs in (references(), later):
        worker = Worker(directory, entries, refs)
        for _ in range(5):
            worker.count(13)
            topic.publish(0, directory)
    worker.count()
    topic.publish(0, directory)
    live = live_of(tmp_path / "live.sqlite", topic)

    reassembly = Reassembly(live.connection, 0)
    marker = reassembly.marker(live.standing().mark)
    import_state(tmp_path / "again.sqlite", marker, reassembly.parts())
    live.close()

    with exported(directory / "monitor.sqlite") as first, exported(tmp_path / "again.sqlite") as again:
        was, now = first.marker, again.marker
    assert (now.groups, now.switches, now.progress, now.positions) == (
        was.groups,
        was.switches,
        was.progress,
        was.positions,
    )
    assert (now.seen, sorted(now.counters), sorted(now.findings)) == (
        was.seen,
        sorted(was.counters),
        sorted(was.findings),
    )
    assert day_totals(tmp_path / "again.sqlite") == day_totals(directory / "monitor.sqlite")
    if kept_days == 400:
        assert counts(tmp_path / "again.sqlite") == counts(directory / "monitor.sqlite")
    else:
        assert any(b'"day"' in message.key for message in topic.messages[0])


def test_a_count_that_cannot_be_read_is_refused_and_not_left_out(tmp_path):
    (entries,) = dealt(history(random.Random(52)), 1)
    topic = ListTopic(1)
    worker = Worker(tmp_path / "0", entries)
    worker.count()
    topic.publish(0, worker.directory)
    live = live_of(tmp_path / "live.sqlite", topic)
    ((victim, _), *_), *_ = live_rows.rows_of(live.connection, 0, "pane")
    live.connection.execute("UPDATE live SET value = ? WHERE key = ?", (b"{}", victim))
    reassembly = Reassembly(live.connection, 0)
    reassembly.marker(live.standing().mark)

    with pytest.raises(InvalidRecord):
        list(reassembly.parts())
    live.close()
