"""A disk that fails at its n-th call, for every n: what was acknowledged is there, what is not there was refused."""

import asyncio
import errno
import logging
import os
import threading

import pytest

from contracts.errors import LogUnavailable
from prediction_log.certificate.spool import verify
from prediction_log.finding import HARMLESS, FindingKind
from prediction_log.spool.reader import SpoolReader
from prediction_log.spool.segment import Kind

pytestmark = pytest.mark.anyio

FOR_EVER = 10**9
ERRORS = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC, "short write": None}


async def answer(open_log, disk, durability):
    """Serve a while on this disk: what was acknowledged, and what was refused."""
    acknowledged, refused = [], []

    async def one(writer, payload):
        try:
            await writer.append(Kind.PREDICTION, payload)
        except LogUnavailable:
            refused.append(payload)
        else:
            acknowledged.append(payload)

    try:
        writer = await open_log(disk=disk, durability=durability, segment_bytes=4096)
    except LogUnavailable:
        return acknowledged, refused
    for tick in range(7):
        batch = [b'{"tick":%d,"n":%d,"pad":"%s"}' % (tick, number, b"x" * 400) for number in range(3)]
        await asyncio.gather(*(one(writer, payload) for payload in batch))
    await writer.aclose()
    assert len(acknowledged) + len(refused) == 21
    return acknowledged, refused


async def calls_of(open_log, fault_disk, durability):
    disk = fault_disk(range(0), None)
    acknowledged, _ = await answer(open_log, disk, durability)
    assert len(acknowledged) == 21
    return disk.calls


def check(spool, acknowledged, refused):
    """Every acknowledged record is read, once, in order; whatever else is read had been refused, not made up."""
    entries = SpoolReader(spool, {}).poll(10_000)
    read = [entry.payload for entry in entries]
    assert [payload for payload in read if payload in set(acknowledged)] == acknowledged
    assert set(read) - set(acknowledged) <= set(refused)
    assert len(set(read)) == len(read)
    certificate = verify(spool)
    assert certificate.missing == 0
    found = {finding.kind for log in certificate.logs for finding in log.findings}
    assert found <= HARMLESS | {FindingKind.ROT}  # the half of a witness that a failing disk took
    return certificate


@pytest.mark.parametrize("durability", ["process", "power"])
@pytest.mark.parametrize("failure", ERRORS)
async def test_one_failed_call_wherever_it_strikes_loses_no_acknowledged_record(
    open_log, fault_disk, tmp_path, durability, failure, caplog
):
    caplog.set_level(logging.CRITICAL)
    calls = await calls_of(open_log, fault_disk, durability)
    assert calls > 50
    for n in range(1, calls + 1):
        spool = tmp_path / "spool"
        spool.rename(tmp_path / f"before {n}")

        acknowledged, refused = await answer(open_log, fault_disk(range(n, n + 1), ERRORS[failure]), durability)

        certificate = check(spool, acknowledged, refused) if spool.exists() else None
        if failure == "short write":
            assert refused == []
            assert certificate.ok
        spool.mkdir(exist_ok=True)


@pytest.mark.parametrize("durability", ["process", "power"])
@pytest.mark.parametrize("failure", ["EIO", "ENOSPC"])
async def test_a_disk_that_fails_for_good_refuses_everything_from_then_on(
    open_log, fault_disk, tmp_path, durability, failure, caplog
):
    caplog.set_level(logging.CRITICAL)
    calls = await calls_of(open_log, fault_disk, durability)
    for n in range(1, calls + 1, 2):
        spool = tmp_path / "spool"
        spool.rename(tmp_path / f"before {n}")

        acknowledged, refused = await answer(open_log, fault_disk(range(n, FOR_EVER), ERRORS[failure]), durability)

        check(spool, acknowledged, refused)
        spool.mkdir(exist_ok=True)


@pytest.mark.parametrize("durability", ["process", "power"])
@pytest.mark.parametrize("operation", [os.pwrite, os.posix_fallocate, os.open, os.rename, os.statvfs, os.fdatasync])
async def test_a_disk_that_comes_back_is_written_again_without_a_restart(
    open_log, fault_disk, tmp_path, until, clock, durability, operation, caplog
):
    caplog.set_level(logging.CRITICAL)
    disk = fault_disk(range(0), errno.ENOSPC, operation)
    writer = await open_log(disk=disk, durability=durability, segment_bytes=4096)
    payload = b"x" * 1000
    acknowledged = refused = 0
    await writer.append(Kind.PREDICTION, payload)
    for _ in range(3):
        disk.failing = range(disk.calls + 1, FOR_EVER)
        for _ in range(12):
            clock.ns += 300_000_000
            try:
                await writer.append(Kind.PREDICTION, payload)
            except LogUnavailable:
                refused += 1
            else:
                acknowledged += 1
        disk.failing = range(0)
        await until(lambda: writer.available)
        await writer.append(Kind.PREDICTION, payload)
    await writer.aclose()

    (log,) = verify(tmp_path / "spool").logs
    assert refused > 0 or (durability, operation) == ("process", os.fdatasync)
    assert log.records >= acknowledged + 4
    assert log.gaps == []
    assert {finding.kind for finding in log.findings} <= HARMLESS
    assert log.state == "sealed"


async def test_a_spare_that_is_taken_while_its_disk_is_looked_at_is_not_handed_out_twice(open_log, tmp_path, clock):
    """A retry that found a spare in place gave it back a second time: two batches then overwrote each other."""
    gate, watched = threading.Event(), []

    def disk(operation, /, *args, **kwargs):
        if operation is os.statvfs and watched:
            assert gate.wait(30)
        return operation(*args, **kwargs)

    writer = await open_log(disk=disk, segment_bytes=4096)
    await writer.append(Kind.PREDICTION, b"x" * 1000)
    await writer._world.background.settle()
    watched.append(True)
    writer._supply.prepare()
    for _ in range(4):
        writer.append_later(Kind.PREDICTION, b"x" * 1000)
    writer._tick()
    gate.set()
    for _ in range(12):
        await writer.append(Kind.PREDICTION, b"x" * 1000)
    await writer.aclose()

    (log,) = verify(tmp_path / "spool").logs
    assert (log.records, log.ok) == (17, True)
