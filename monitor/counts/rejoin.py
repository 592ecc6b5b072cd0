"""The join store of an imported state, rebuilt by reading the log again: records and labels are joined, nothing is counted.

Enters: the state's file, and entries of the log from the earliest that is retained up to the state's positions, in any
order, more than once if need be; those that the state has not counted are left out. Leaves: the join store as it was.

    rejoin = Rejoin(path)
    rejoin.open()                   positions up to which to read: rejoin.positions
    rejoin.take(entries)            again and again
    rejoin.finish()                 now a Consumer can open the state

Every record is joined under the definition by which it was counted, whatever the registry says today. Until `finish` no
Consumer can open the state; after a crash begin again with `import_state`. What the state had forgotten is forgotten again.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import NamedTuple

from monitor.counts.batches import Batch
from monitor.counts.fold import joinable
from monitor.counts.gather import gather
from monitor.counts.generation import Generation, decode_generation
from monitor.counts.intake import Decoded, Seen, chunks, covers, decode, fresh
from monitor.counts.join import join
from monitor.counts.join_book import Horizon, JoinBook
from monitor.counts.join_record import JoinRecord
from monitor.counts.join_store import JoinMemory, JoinStore, join_memory
from monitor.counts.record_type import RecordDecoder
from monitor.counts.sheets import Sheet, VersionKey
from monitor.counts.state import State, join_path, open_counts
from monitor.counts.state_export import Marker, Switch, exported
from monitor.counts.step import GroupTerms
from prediction_log.position import Entry

FIRST_NUMBER = 2**63
"""Of a step; those of ticks are below."""


class _Open(NamedTuple):
    state: State
    book: JoinBook
    groups: "_Groups"
    terms: GroupTerms


class Rejoin:
    """Rebuilds one join store. `memory` is shared by the stores of one process."""

    def __init__(self, path: Path, memory: JoinMemory | None = None) -> None:
        self.positions: Mapping[str, bytes] = {}
        self._path = path
        self._memory = memory
        self._decoder = RecordDecoder()
        self._done: Seen = {}
        self._numbers = count(FIRST_NUMBER)
        self._opened: _Open | None = None

    def open(self) -> None:
        """Open the state with an empty join store. Raises StoreUnavailable."""
        with ExitStack() as on_error:
            with exported(self._path) as export:
                groups = _Groups(export.marker)
            state = open_counts(self._path)
            on_error.callback(state.close)
            store = JoinStore(join_path(self._path), state.lineage, state.progress.tick)
            store.open_empty(self._memory or join_memory())
            book = JoinBook(store)
            state.remember(book)
            self.positions, self._done = dict(state.positions), {}
            self._opened = _Open(state, book, groups, GroupTerms(state))
            on_error.pop_all()

    def take(self, entries: Sequence[Entry]) -> int:
        """Join these entries; how many were taken. Raises StoreUnavailable."""
        state, book, groups, terms = self._now()
        counted = [entry for entry in entries if covers(state.seen.get(entry.log_id, ()), entry.seq)]
        new = fresh(counted, self._done)
        self._done |= new.seen
        for chunk in chunks(new.entries):
            decoded = self._decoded(chunk)
            records = [record for key, batch in decoded.batches for record in groups.joinable(key, batch, state)]
            known = book.known({(label.id, label.row) for label in decoded.labels}, [r.id for r in records], None)
            met = {label.id for label in decoded.labels} | {key for key, _ in known.ballots}
            joined = join(known, [r for r in records if r.id in met], decoded.labels, terms.of, 0)
            book.fill(next(self._numbers), records, joined, known)
        return len(new.entries)

    def finish(self) -> None:
        """The join store is whole. Closes. Raises StoreUnavailable."""
        state, book, _, _ = self._now()
        progress = state.progress
        book.finish(Horizon(*progress.forgotten), progress.orphaned_us)
        self.close()

    def close(self) -> None:
        """Let go of the files."""
        if self._opened is not None:
            self._opened.state.close()
            self._opened = None

    def _now(self) -> _Open:
        assert self._opened is not None, "open it first"
        return self._opened

    def _decoded(self, chunk: Sequence[Entry]) -> Decoded:
        state, _, groups, _ = self._now()
        decoded = decode(chunk, self._decoder, state.log_number)
        if self._decoder.learn(name for key, _ in decoded.batches for name in groups.names(key)):
            decoded = decode(chunk, self._decoder, state.log_number)
        return decoded


class _Groups:
    """The groups of a marker, found by who made a record and when it was counted."""

    def __init__(self, marker: Marker) -> None:
        self._switches: dict[tuple[str, str, str], list[Switch]] = {}
        self._groups: dict[tuple[str, ...], tuple[int, Generation]] = {}
        for switch in marker.switches:
            self._switches.setdefault((switch.model, switch.version, switch.digest), []).append(switch)
        for number, group in enumerate(marker.groups, 1):
            names = group.model, group.version, group.digest
            made = decode_generation(*names, group.definition.encode())
            self._groups[*names, group.variant, made.fingerprint] = number, made

    def names(self, key: VersionKey) -> Iterator[str]:
        """The features that are read of records of this version."""
        for switch in self._switches.get(key[:3], ()):
            found = self._groups.get((*key, switch.fingerprint))
            if found is not None:
                yield from found[1].features.names

    def joinable(self, key: VersionKey, batch: Batch | Sheet, state: State) -> Iterator[JoinRecord]:
        """What these records, all of one version in one variant, leave behind for their labels."""
        fingerprints = self._fingerprints(key, batch, state.log_number)
        for fingerprint in dict.fromkeys(fingerprints):
            found = self._groups.get((*key, fingerprint))
            if found is not None:
                number, generation = found
                own = batch.where([other == fingerprint for other in fingerprints])
                yield from joinable(number, gather(generation, own, Counter()))

    def _fingerprints(self, key: VersionKey, batch: Batch | Sheet, log_number: Callable[[str], int]) -> list[str]:
        """The definition by which each record was counted: the last one that began before the record was."""
        found = [""] * len(batch.seqs)
        for switch in self._switches.get(key[:3], ()):
            before = {log_number(log_id): seen for log_id, seen in switch.seen.items()}
            for place, (log, seq) in enumerate(zip(batch.logs, batch.seqs, strict=True)):
                if log not in before or not covers(before[log], seq):
                    found[place] = switch.fingerprint
        return found
