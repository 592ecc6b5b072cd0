"""What the join remembers: the records that predictions left behind, the labels of every row, and who waits for whom.

Enters: what a tick joined, and how far the horizon is. Leaves: the records and ballots of given ids, and what became of
labels that never met their prediction. Where it is written, and how it survives a crash, is `monitor.counts.join_store`'s.

Bound: one `expire` drops about DROPPED_AT_ONCE records, and as many waiting rows.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np

from monitor.counts import join_keys as keys
from monitor.counts.ballot import Ballot
from monitor.counts.join import Joined, Known, RowKey, Tally, waits_since
from monitor.counts.join_record import HEAD, HEAD_TYPE, TEXT, JoinRecord, Scorable
from monitor.counts.join_store import Edit, JoinStore
from monitor.counts.panes import PANE_US

DROPPED_AT_ONCE: Final = 10_000
"""Records, and waiting rows, after which `expire` stops; the next one goes on."""

_decode_keys: Final = msgspec.msgpack.Decoder(list[bytes]).decode
_decode_ballot: Final = msgspec.msgpack.Decoder(Ballot).decode
_encode: Final = msgspec.msgpack.Encoder().encode


class Horizon(NamedTuple):
    """What is forgotten: records whose event and receipt are before these two, and rows that wait since before the
    second, which is the start of a pane.
    """

    event_us: int
    received_us: int


class Expired(NamedTuple):
    """What became of labels that never met their prediction. Rows that waited since before `orphaned_us` are dropped; with
    `done` so is everything else before the horizon.
    """

    tally: Tally
    orphaned_us: int
    done: bool


class JoinBook:
    """Reads and writes one store."""

    def __init__(self, store: JoinStore) -> None:
        self._store = store
        self._newest: bytes | None = None

    def known(self, labels: Collection[RowKey], records: Iterable[bytes], gone: bytes | None) -> Known:
        """What is stored of the rows of new labels and of the ids of new records; ids of a time before `gone` are past the
        horizon.
        """
        among = self._with_ballots(records)
        ballots = self._ballots_of([row for row in labels if row[0] not in among], among)
        wanted = {key for key, _ in labels}.union(key for key, _ in ballots)
        return Known(self._records_of(wanted), ballots, gone)

    def write(self, tick: int, records: Sequence[JoinRecord], joined: Joined, known: Known) -> None:
        """Store what a tick joined; `known` is what was stored of it."""
        self._store.write(tick, self._edit(tick, records, joined, known))

    def fill(self, number: int, records: Sequence[JoinRecord], joined: Joined, known: Known) -> None:
        """Store what was joined once before; `number` is another one each time."""
        self._store.fill(self._edit(number, records, joined, known))

    def expire(self, horizon: Horizon) -> Expired:
        """Drop what is past the horizon, as a part of the tick that was written last."""
        edit, expired = self._past(horizon, horizon.received_us)
        self._store.write_more(edit)
        return expired

    def finish(self, horizon: Horizon, orphaned_us: int) -> None:
        """Everything is filled in. Forget again what was forgotten before: it has been tallied already."""
        done = False
        while not done:
            edit, (_, reached_us, done) = self._past(horizon, orphaned_us)
            done = done and reached_us == orphaned_us
            self._store.fill(edit)
        self._store.finished()

    def close(self) -> None:
        """Let go of the store."""
        self._store.close()

    def _with_ballots(self, records: Iterable[bytes]) -> set[bytes]:
        """Which of these ids may have ballots: labels mostly come later, so that newer ids have none."""
        if self._newest is None:
            self._newest = self._store.last_before(keys.BALLOT + bytes([TEXT]))[1:]
        newest = self._newest
        return {key for key in records if key <= newest or key[0] == TEXT}

    def _ballots_of(self, rows: Sequence[RowKey], ids: Iterable[bytes]) -> dict[RowKey, Ballot]:
        found = zip(rows, self._store.read(keys.ballot_keys(rows)), strict=True)
        ballots = {row: _decode_ballot(ballot) for row, ballot in found if ballot is not None}
        for place, ballot in self._store.scan_each(map(keys.ballot_prefix, sorted(ids))):
            ballots[keys.row_of(place)] = _decode_ballot(ballot)
        return ballots

    def _records_of(self, ids: Iterable[bytes]) -> dict[bytes, list[Scorable]]:
        found: dict[bytes, list[Scorable]] = {}
        unpack, size = HEAD.unpack_from, HEAD.size
        for place, body in self._store.scan_each(map(keys.record_prefix, sorted(ids))):
            key, log, seq = keys.place_of(place)
            group, event_us, received_us = unpack(body)
            found.setdefault(key, []).append(Scorable(log, seq, group, event_us, received_us, body[size:]))
        return found

    def _edit(self, number: int, records: Sequence[JoinRecord], joined: Joined, known: Known) -> Edit:
        places = keys.record_keys(records)
        new = zip(places, [record.body for record in records], strict=True)
        edit = Edit(new, _by_pane(number, records, places), {}, {})
        self._newest = max([self._newest or b"", *(key for key, _ in joined.ballots if key[0] != TEXT)])
        for row, ballot in joined.ballots.items():
            had, place = known.ballots.get(row), keys.ballot_key(*row)
            edit.changed[place], edit.old[place] = _encode(ballot), None if had is None else _encode(had)
        for row in (*joined.waiting, *joined.arrived):
            had = known.ballots.get(row)
            if had is not None:
                _drop(edit, keys.waiting_key(waits_since(row[0], had), keys.ballot_key(*row)), b"")
        for row, since_us in joined.waiting.items():
            _put_mark(edit, keys.waiting_key(since_us, keys.ballot_key(*row)))
        return edit

    def _past(self, horizon: Horizon, orphans_before_us: int) -> tuple[Edit, Expired]:
        """What to drop, and what becomes of it."""
        edit = Edit((), {}, {}, {})
        tally, orphaned_us = self._drop_orphans(edit, orphans_before_us)
        dropped: dict[bytes, bytes] = {}
        done = self._take_queued(edit, horizon, dropped) and self._take_held(edit, horizon, dropped)
        for place, body in dropped.items():
            _drop(edit, place, body)
        for place, ballot in self._store.scan_each(map(keys.ballot_prefix, self._left_alone(dropped))):
            _drop(edit, place, ballot)
        return edit, Expired(tally, orphaned_us, done and orphaned_us == orphans_before_us)

    def _drop_orphans(self, edit: Edit, before_us: int) -> tuple[Tally, int]:
        orphans: list[bytes] = []
        reached_us, last_us = before_us, None
        for waiting, _ in self._store.scan(keys.WAITING):
            since_us, ballot = keys.ballot_of_waiting(waiting)
            if since_us >= before_us:
                break
            if len(orphans) >= DROPPED_AT_ONCE and since_us != last_us:
                reached_us = since_us
                break
            last_us = since_us
            orphans.append(ballot)
            _drop(edit, waiting, b"")
        tally: Tally = Counter()
        for place, content in zip(orphans, self._store.read(orphans), strict=True):
            assert content is not None, "who waits has a ballot"
            lost = _decode_ballot(content)
            count = sum(event.copies for event in lost.events) + lost.dropped
            tally["labels_pending", "", ""] -= count
            tally["labels_orphaned", "", ""] += count
            _drop(edit, place, content)
        return tally, reached_us

    def _take_queued(self, edit: Edit, horizon: Horizon, dropped: dict[bytes, bytes]) -> bool:
        """Whether all that was received before the horizon was looked at; what happened after it is held back."""
        places: list[bytes] = []
        done = True
        for queued, content in self._store.scan(keys.QUEUE):
            done = keys.pane_of_queued(queued) * PANE_US >= horizon.received_us
            if done or len(places) >= DROPPED_AT_ONCE:
                break
            places += _decode_keys(content)
            _drop(edit, queued, content)
            done = True
        for place, body in zip(places, self._store.read(places), strict=True):
            if body is None:
                continue  # it was stored twice and is gone since
            event_us = HEAD.unpack_from(body)[1]
            if event_us < horizon.event_us:
                dropped[place] = body
            else:
                _put_mark(edit, keys.held_key(event_us, place))
        return done

    def _take_held(self, edit: Edit, horizon: Horizon, dropped: dict[bytes, bytes]) -> bool:
        held: list[bytes] = []
        done = True
        for key, _ in self._store.scan(keys.HELD):
            event_us, place = keys.record_of_held(key)
            done = event_us >= horizon.event_us
            if done or len(held) >= DROPPED_AT_ONCE:
                break
            held.append(place)
            _drop(edit, key, b"")
            done = True
        bodies = zip(held, self._store.read(held), strict=True)
        dropped.update((place, body) for place, body in bodies if body is not None)
        return done

    def _left_alone(self, dropped: Collection[bytes]) -> list[bytes]:
        """The ids that have no record any more without these."""
        ids = {keys.place_of(place)[0] for place in dropped}
        kept = {
            keys.place_of(place)[0]
            for place, _ in self._store.scan_each(map(keys.record_prefix, sorted(ids)))
            if place not in dropped
        }
        return sorted(ids - kept)


def _by_pane(number: int, records: Sequence[JoinRecord], places: Sequence[bytes]) -> dict[bytes, list[bytes]]:
    """The places of new records, by the pane of their receipt."""
    heads = np.frombuffer(b"".join([record.body[: HEAD.size] for record in records]), HEAD_TYPE)
    panes = heads["received_us"] // PANE_US
    found = np.unique(panes).tolist()
    if len(found) == 1:
        return {keys.queue_key(found[0], number): list(places)}
    lists: dict[bytes, list[bytes]] = {keys.queue_key(pane, number): [] for pane in found}
    for pane, place in zip(panes.tolist(), places, strict=True):
        lists[keys.queue_key(pane, number)].append(place)
    return lists


def _drop(edit: Edit, key: bytes, old: bytes) -> None:
    edit.changed[key], edit.old[key] = None, old


def _put_mark(edit: Edit, key: bytes) -> None:
    """A key without a value; where the same was dropped just now, it stays."""
    edit.changed[key] = b""
    edit.old.setdefault(key, None)
