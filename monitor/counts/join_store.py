"""The join's rows on disk: an ordered map of bytes in RocksDB that never gets out of step with the state's SQLite file.

Enters: edits, each of a tick or a further part of it. Leaves: values by key and in order; after any crash, the map as it was
after the tick that the file saved last. The file's commit is the one that counts: a tick is written here first, in one
batch with everything it takes to undo it; where the file then turns out not to have saved it, it is undone when the map is
opened. A map that is neither where the file is nor one tick ahead, as a power cut may leave it, is refused. Writes go to
RocksDB's log in the kernel, so a killed process loses nothing. Never knows what a row means.

Bounds: memory is that of `JoinMemory`, for all maps of a process together; files open, logs and info logs see below.
"""

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from rocksdict import (
    BlockBasedIndexType,
    BlockBasedOptions,
    Cache,
    DbClosedError,
    DBCompressionType,
    Options,
    Rdict,
    ReadOptions,
    SliceTransform,
    WriteBatch,
    WriteBufferManager,
)

from contracts.errors import StoreUnavailable

FORMAT: Final = 1
CACHE_BYTES: Final = 64 * 2**20
BUFFER_BYTES: Final = 64 * 2**20
"""Written and not yet in a file, of all maps of a process together; above it, whichever is written to next is put into a
file."""
MAP_BUFFER_BYTES: Final = 16 * 2**20
ARENA_BYTES: Final = 64 * 2**10
"""What a map takes at least: of many maps most are small."""
LOG_BYTES_MAX: Final = 64 * 2**20
FILES_OPEN_MAX: Final = 64
BLOCK_BYTES: Final = 8 * 2**10
PREFIX_BYTES: Final = 17
"""Files that hold no key beginning like the one that is looked for, in so many bytes, are passed over: a kind and an id."""
STANDING: Final = b"\x00"
"""The key of the map's own row; all others sort after it."""


class OutOfStep(StoreUnavailable):
    """The map is not where the state is and cannot get there by itself: rebuild it, see `monitor.counts.rejoin`."""


class JoinMemory(NamedTuple):
    """The memory that the maps of one process share."""

    cache: Cache
    buffers: WriteBufferManager


class Edit(NamedTuple):
    """What one step does. `new` pairs were not there before and all their keys are in `lists`: key -> keys of new pairs.
    `changed` are other keys with their values from now on, null for none, and `old` the same keys with those until now.
    """

    new: Iterable[tuple[bytes, bytes]]
    lists: Mapping[bytes, Sequence[bytes]]
    changed: dict[bytes, bytes | None]
    old: dict[bytes, bytes | None]


class _Layer(msgspec.Struct, array_like=True, frozen=True):
    """How to take one edit back: what these lists name goes, and these keys get their old values."""

    lists: list[bytes]
    old: list[tuple[bytes, bytes | None]]


class _Standing(msgspec.Struct, array_like=True, frozen=True):
    """How far the map is, and how to go back one tick, the last layer first. `whole`: nothing is missing in it."""

    format: int
    lineage: str
    tick: int
    whole: bool
    layers: list[_Layer]


class JoinStore:
    """One map, of the state with this lineage and after this tick. One thread at a time may use it."""

    def __init__(self, path: Path, lineage: str, tick: int) -> None:
        self._path = path
        self._lineage = lineage
        self._tick = tick
        self._layers: list[_Layer] = []
        self._rows: Any = None

    def open(self, memory: JoinMemory) -> None:
        """Open it where the state is, undoing what the state did not save; begin one where the state begins. Raises
        StoreUnavailable.
        """
        with self._on_failure_close():
            self._rows = Rdict(str(self._path), _options(memory))
            found = self._found()
            if self._tick == 0 and (found is None or found.lineage != self._lineage):
                self._begin(memory, whole=True)  # what may lie there is of a state that is gone
            else:
                self._settle(found)

    def open_empty(self, memory: JoinMemory) -> None:
        """Open it empty, to be filled; until it is `finished` it can be opened in no other way."""
        with self._on_failure_close():
            self._rows = Rdict(str(self._path), _options(memory))
            self._begin(memory, whole=False)

    def read(self, keys: list[bytes]) -> list[bytes | None]:
        """The values of these keys."""
        with self._told():
            found: list[bytes | None] = self._rows.get(keys) if keys else []
            return found

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Everything whose key begins so, in order."""
        yield from self._scanned([prefix], across_ids=True)

    def scan_each(self, prefixes: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
        """Everything whose key begins like one of these, prefix by prefix; each of them a kind and a whole id."""
        yield from self._scanned(prefixes, across_ids=False)

    def _scanned(self, prefixes: Iterable[bytes], *, across_ids: bool) -> Iterator[tuple[bytes, bytes]]:
        with self._told():
            rows = self._rows.iter(_across_ids() if across_ids else None)
            seek, valid, key_of, value_of, step = rows.seek, rows.valid, rows.key, rows.value, rows.next
            for prefix in prefixes:
                seek(prefix)
                while valid() and (key := key_of()).startswith(prefix):
                    yield key, value_of()
                    step()
                rows.status()  # an iterator that failed says that there is nothing more, and raises here

    def last_before(self, end: bytes) -> bytes:
        """The greatest key before `end`, which itself is none."""
        with self._told():
            rows = self._rows.iter(_across_ids())
            rows.seek_for_prev(end)
            rows.status()
            key: bytes = rows.key()
            return key

    def write(self, tick: int, edit: Edit) -> None:
        """Take the first step of a tick."""
        self._tick, self._layers = tick, []
        self.write_more(edit)

    def write_more(self, edit: Edit) -> None:
        """Take another step of the same tick."""
        self._layers = [*self._layers, _Layer(list(edit.lists), list(edit.old.items()))]
        self._commit(edit, whole=True)

    def fill(self, edit: Edit) -> None:
        """Take a step that cannot be undone, while the map is not whole."""
        self._commit(edit, whole=False)

    def finished(self) -> None:
        """It is whole now."""
        self._commit(Edit((), {}, {}, {}), whole=True)

    def close(self) -> None:
        """Let go of the files."""
        rows, self._rows = self._rows, None
        if rows is not None:
            with self._told():
                rows.close()

    def _commit(self, edit: Edit, *, whole: bool) -> None:
        batch = WriteBatch(raw_mode=True)
        for key, value in edit.new:
            batch.put(key, value)
        for key, named in edit.lists.items():
            batch.put(key, _encode(named))
        _change(batch, edit.changed.items())
        self._write(batch, whole=whole)

    def _write(self, batch: WriteBatch, *, whole: bool) -> None:
        standing = _Standing(FORMAT, self._lineage, self._tick, whole, self._layers)
        batch.put(STANDING, _encode(standing))
        with self._told():
            self._rows.write(batch)

    def _begin(self, memory: JoinMemory, *, whole: bool) -> None:
        self._rows.close()
        shutil.rmtree(self._path)
        self._rows = Rdict(str(self._path), _options(memory))
        self._write(WriteBatch(raw_mode=True), whole=whole)

    def _found(self) -> _Standing | None:
        content = self._rows.get(STANDING)
        return None if content is None else msgspec.msgpack.decode(content, type=_Standing)

    def _settle(self, found: _Standing | None) -> None:
        objection = _objection(found, self._lineage, self._tick)
        if objection or found is None:
            raise OutOfStep(
                f"join store {self._path}: {objection}; it has to be rebuilt from the log, or the state restored from what"
                " was published"
            )
        if found.tick == self._tick + 1:
            self._undo(found.layers)

    def _undo(self, layers: list[_Layer]) -> None:
        """Step by step, the last first; a crash in between finds the steps that are left."""
        self._tick += 1
        while layers:
            *layers, last = layers
            batch = WriteBatch(raw_mode=True)
            for key, named in zip(last.lists, self._rows.get(last.lists), strict=True):
                for new in msgspec.msgpack.decode(named, type=list[bytes]):
                    batch.delete(new)
                batch.delete(key)
            _change(batch, last.old)
            self._layers = layers
            self._tick -= not layers
            self._write(batch, whole=True)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """RocksDB's errors as ours: they have no type of their own."""
        try:
            yield
        except Exception as error:
            if type(error) in {Exception, DbClosedError}:
                cause = OSError(str(error)) if str(error).startswith("IO error") else error
                raise StoreUnavailable(f"join store {self._path}: {error}; {_advice(str(error))}") from cause
            raise

    @contextmanager
    def _on_failure_close(self) -> Iterator[None]:
        try:
            with self._told():
                yield
        except BaseException:
            self.close()
            raise


def join_memory(cache_bytes: int = CACHE_BYTES, buffer_bytes: int = BUFFER_BYTES) -> JoinMemory:
    """Memory for all maps of a process."""
    return JoinMemory(Cache(cache_bytes), WriteBufferManager(buffer_bytes, allow_stall=False))


def _change(batch: WriteBatch, pairs: Iterable[tuple[bytes, bytes | None]]) -> None:
    for key, value in pairs:
        if value is None:
            batch.delete(key)
        else:
            batch.put(key, value)


def _objection(found: _Standing | None, lineage: str, tick: int) -> str:
    if found is None:
        return f"it is empty and the state is at tick {tick}"
    if found.format != FORMAT:
        return f"it has format {found.format}, this version writes {FORMAT}"
    if found.lineage != lineage:
        return "it belongs to another state"
    if not found.whole:
        return "it was left half rebuilt"
    if found.tick not in {tick, tick + 1}:
        return f"it is at tick {found.tick} and the state is at tick {tick}"
    return ""


def _advice(error: str) -> str:
    if "lock hold" in error or "LOCK" in error:
        return "another monitor has it open: run one per state"
    return "if it is damaged move this directory away: it is rebuilt from the log"


def _encode(value: Any) -> bytes:
    return msgspec.msgpack.encode(value)


def _across_ids() -> ReadOptions:
    options = ReadOptions()
    options.set_total_order_seek(v=True)
    return options


def _options(memory: JoinMemory) -> Options:
    tables = BlockBasedOptions()
    tables.set_block_cache(memory.cache)
    tables.set_block_size(BLOCK_BYTES)
    tables.set_format_version(5)
    tables.set_bloom_filter(10, block_based=False)
    tables.set_cache_index_and_filter_blocks(True)  # so that they count as memory, too
    tables.set_index_type(
        BlockBasedIndexType.two_level_index_search()
    )  # and in parts: whole ones outgrow the cache's shards,
    tables.set_partition_filters(True)  # and are then read anew for every key
    tables.set_pin_top_level_index_and_filter(True)
    tables.set_pin_l0_filter_and_index_blocks_in_cache(True)
    options = Options(raw_mode=True)
    options.create_if_missing(create_if_missing=True)
    options.set_block_based_table_factory(tables)
    options.set_prefix_extractor(SliceTransform.create_fixed_prefix(PREFIX_BYTES))
    options.set_write_buffer_manager(memory.buffers)
    options.set_write_buffer_size(MAP_BUFFER_BYTES)
    options.set_max_write_buffer_number(2)
    options.set_arena_block_size(ARENA_BYTES)
    options.set_max_total_wal_size(LOG_BYTES_MAX)
    options.set_max_open_files(FILES_OPEN_MAX)
    options.set_compression_type(DBCompressionType.lz4())
    options.set_bottommost_compression_type(DBCompressionType.lz4())
    options.add_compact_on_deletion_collector_factory(4_096, 2_048, 0.5)  # what was forgotten must not be stepped over
    options.set_keep_log_file_num(2)
    options.set_max_log_file_size(2**20)
    options.set_stats_dump_period_sec(0)
    return options
