"""Power loss: every state that the disk may legally be found in holds everything that level `power` acknowledged.

A recording disk remembers every change and every sync. A crash may strike after any call; of the changes that were not
synced by then each may be there, missing, or there in part; a new name that no directory sync covers may be missing.
"""

import asyncio
import os
from pathlib import Path
from typing import NamedTuple

import pytest

from prediction_log.spool.reader import SpoolReader
from prediction_log.spool.segment import Kind

pytestmark = pytest.mark.anyio

AFTERWARDS = 4711
"""Another boot."""


class Change(NamedTuple):
    """One write to a file, not necessarily on the disk."""

    inode: int
    offset: int
    data: bytes


class RecordingDisk:
    """The real disk, and a history: changes, syncs, names and acknowledgements in the order in which they happened."""

    def __init__(self, *, syncs=True):
        self.history = []
        self.syncs = syncs

    def __call__(self, operation, /, *args, **kwargs):
        event = self.event(operation.__name__, args)
        result = operation(*args, **kwargs)
        if event is not None:
            self.history.append(event)
        return result

    def event(self, name, args):
        if name == "pwrite":
            return "write", Change(os.fstat(args[0]).st_ino, args[2], bytes(args[1]))
        if name in {"fsync", "fdatasync"}:
            if name == "fdatasync" and not self.syncs:
                return None
            return "sync", os.fstat(args[0]).st_ino
        if name == "rename":
            return "name", (args[0].stat().st_ino, args[1])
        return None


class Found(NamedTuple):
    """What a machine finds after a crash."""

    files: dict[Path, bytes]
    acknowledged: set[bytes]


def crash(history, choose):
    """The state found when the machine goes down after `history`; `choose` picks the part of the last unsynced changes
    that happened to reach the disk.
    """
    durable, open_changes, names, open_names, acknowledged = [], [], {}, {}, set()
    for what, detail in history:
        if what == "write":
            open_changes.append(detail)
        elif what == "name":
            open_names[detail[0]] = detail[1]
        elif what == "acknowledged":
            acknowledged.add(detail)
        else:
            durable += [change for change in open_changes if change.inode == detail]
            open_changes = [change for change in open_changes if change.inode != detail]
            synced = {inode for inode, path in open_names.items() if path.parent.stat().st_ino == detail}
            names |= {inode: open_names.pop(inode) for inode in synced}
    durable += choose(open_changes)
    files = {path: content_of(inode, durable) for inode, path in names.items() if path.suffix == ".seg"}
    return Found(files, acknowledged)


def content_of(inode, durable):
    content = bytearray(8192)
    for change in durable:
        if change.inode == inode:
            content[change.offset : change.offset + len(change.data)] = change.data
    return bytes(content)


def half(change):
    return change._replace(data=change.data[: len(change.data) // 2])


CHOICES = {
    "nothing": lambda changes: changes[:0],
    "everything": lambda changes: changes,
    "only the first": lambda changes: changes[:1],
    "only the last": lambda changes: changes[-1:],
    "half of the last": lambda changes: [*changes[:-1], *map(half, changes[-1:])],
    "half of each": lambda changes: list(map(half, changes)),
}


async def record(open_log, disk):
    writer = await open_log(disk=disk, durability="power", segment_bytes=4096)

    async def one(payload):
        await writer.append(Kind.PREDICTION, payload)
        disk.history.append(("acknowledged", payload))

    for tick in range(8):
        await asyncio.gather(*(one(b'{"tick":%d,"n":%d,"pad":"%s"}' % (tick, n, b"y" * 300)) for n in range(2)))
    await writer.aclose()
    return writer.log_id


def lost_after_each_crash(disk, log_id, root):
    """For every crash the acknowledged records that are not found, and what is found and was never written."""
    written = {change.data for what, change in disk.history if what == "write"}
    losses = []
    for number in range(len(disk.history) + 1):
        for name, choose in CHOICES.items():
            found = crash(disk.history[:number], choose)
            directory = root / f"{number} {name}" / "slot" / log_id
            directory.mkdir(parents=True)
            for path, content in found.files.items():
                (directory / path.name).write_bytes(content)
            read = [e.payload for e in SpoolReader(directory.parent.parent, {}, boot=AFTERWARDS).poll(1000)]
            assert len(set(read)) == len(read)
            assert all(any(payload in data for data in written) for payload in read)
            losses.append(found.acknowledged - set(read))
    return losses


async def test_level_power_keeps_every_acknowledged_record_in_every_legal_crash_state(open_log, tmp_path):
    disk = RecordingDisk()
    log_id = await record(open_log, disk)
    assert sum(what == "acknowledged" for what, _ in disk.history) == 16

    losses = lost_after_each_crash(disk, log_id, tmp_path / "states")

    assert len(losses) > 200
    assert not any(losses)


async def test_this_proof_fails_where_the_batches_are_not_synced(open_log, tmp_path):
    disk = RecordingDisk(syncs=False)
    log_id = await record(open_log, disk)

    assert any(lost_after_each_crash(disk, log_id, tmp_path / "states"))
