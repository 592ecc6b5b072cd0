"""Leaves in a partition's directory a state that goes on from what was published.

Enters: a partition number and its directory, maybe with a state in it. Open the publisher first: it keeps earlier owners
from publishing anything after this has read. Leaves:

    the state that is there      where it is the published one, at its marker or beyond: this worker had the partition last
    a restored one               from the published counts; its join store is rebuilt by reading predictions and labels again
    an empty one with a finding  where the published counts are not whole: it counts again what Kafka still retains

Raises Unavailable and StoreUnavailable; begun again, it ends as well. Never publishes, never counts.
"""

import asyncio
import logging
import shutil
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from contracts.errors import InvalidRecord
from contracts.settings import KafkaOptions
from monitor.counts.rejoin import Rejoin
from monitor.counts.state import FILE_NAME as STATE_FILE_NAME
from monitor.counts.state import Progress
from monitor.counts.state_export import Marker, import_state, standing_of
from monitor.fleet import live_rows
from monitor.fleet.catching_up import OffLoop, catch_up, read_again
from monitor.fleet.exchange import Mark
from monitor.fleet.publication import FILE_NAME, Claim, Live, open_live
from monitor.fleet.reassembly import Reassembly
from monitor.fleet.retained import read_retained
from monitor.fleet.summaries_topic import opened
from prediction_log.finding import Finding, FindingKind
from prediction_log.kafka.topics import topics_of
from prediction_log.position import Entry

DAY_US: Final = 86_400_000_000

_LOG = logging.getLogger("pointsman.monitor")


async def restore(address: str, options: KafkaOptions, p: int, directory: Path, horizon_days: float) -> None:
    """Leave a state in `directory` that goes on from what is published of partition p."""
    with ThreadPoolExecutor(1, thread_name_prefix=f"restore-{p}") as thread:

        async def off_loop(work: Callable[..., Any], *given: Any) -> Any:
            """In the one thread that the files belong to."""
            return await asyncio.get_running_loop().run_in_executor(thread, partial(work, *given))

        live: Live = await off_loop(open_live, directory / FILE_NAME, p)
        try:
            published = await _published(address, options, live, directory, off_loop)
            mark = None if published is None else published.mark
            if published is None or mark is None:
                return
            rejoin = await _imported(live, directory, published, off_loop)
            if rejoin is None:
                topic = topics_of(options.prefix).summaries
                await off_loop(_begin_anew, live, directory, mark, published.amiss, topic)
                return
            since_us = mark.progress.received_us - int(horizon_days * DAY_US)
            await _rejoined(rejoin, read_retained(address, options, p, rejoin.positions, since_us), off_loop)
            await off_loop(partial(_claim, live, directory, mark, whole=False))
            _LOG.info("partition %d: restored from what %s published", p, mark.owner)
        finally:
            await off_loop(live.close)


async def _published(
    address: str, options: KafkaOptions, live: Live, directory: Path, off_loop: OffLoop
) -> live_rows.Standing | None:
    """What is published, with all its counts at hand; null where the state that is there goes on from it."""
    async with opened(address, options) as topic:
        published = await catch_up(topic, live, off_loop)
        if await off_loop(_goes_on, live, directory, published.mark):
            return None
        if await off_loop(live_rows.lacks_counts, live.connection, live.p):
            published = await read_again(topic, live, off_loop)
        return published


def _goes_on(live: Live, directory: Path, mark: Mark | None) -> bool:
    """Whether the state that is there goes on from what is published; without a marker any does, and none is needed."""
    if mark is None:
        return True
    local = standing_of(directory / STATE_FILE_NAME)
    if local is None:
        return False
    claim = live.claim()
    if claim is not None and claim[:3] == (local[0], mark.lineage, mark.progress.tick):
        return True
    return local[0] == mark.lineage and local[1] >= mark.progress.tick


async def _imported(live: Live, directory: Path, published: live_rows.Standing, off_loop: OffLoop) -> Rejoin | None:
    """The state as published, its join store empty and open to be rebuilt; null where that is not whole."""
    if published.amiss != live_rows.Amiss():
        return None
    try:
        await off_loop(_import, live, directory, published.mark)
    except InvalidRecord:
        _LOG.exception("partition %d: a published count cannot be read", live.p)
        return None
    rejoin = Rejoin(directory / STATE_FILE_NAME)
    try:
        await off_loop(rejoin.open)
    except BaseException:
        await off_loop(rejoin.close)
        raise
    return rejoin


def _import(live: Live, directory: Path, mark: Mark) -> None:
    _remove_state(directory)
    reassembly = Reassembly(live.connection, live.p)
    marker = reassembly.marker(mark)
    import_state(directory / STATE_FILE_NAME, marker, reassembly.parts())


async def _rejoined(rejoin: Rejoin, entries: AsyncGenerator[list[Entry], None], off_loop: OffLoop) -> None:
    try:
        async with aclosing(entries):
            async for some in entries:
                await off_loop(rejoin.take, some)
        await off_loop(rejoin.finish)
    except BaseException:
        await off_loop(rejoin.close)
        raise


def _begin_anew(live: Live, directory: Path, mark: Mark, amiss: live_rows.Amiss, topic: str) -> None:
    """An empty state that says why it is empty, and takes the place of what is published."""
    detail = (
        f"what {mark.owner} published of partition {live.p} is not whole ({amiss.rows:+d} messages): it is counted again"
        " from what Kafka retains of predictions and labels; was the topic's cleanup.policy always compact?"
    )
    _LOG.error("%s: %s", topic, detail)
    finding = Finding(
        kind=FindingKind.LOSS,
        log_id=f"{topic}/{live.p}",
        segment=0,
        offset=0,
        first_seq=None,
        last_seq=None,
        detail=detail,
    )
    nothing = Marker(
        lineage="",
        progress=Progress(),
        positions={},
        seen={},
        counters=[],
        findings=[msgspec.json.encode(finding).decode()],
        groups=[],
        switches=[],
    )
    _remove_state(directory)
    import_state(directory / STATE_FILE_NAME, nothing, ())
    rejoin = Rejoin(directory / STATE_FILE_NAME)
    rejoin.open()
    rejoin.finish()
    _claim(live, directory, mark, whole=True)


def _claim(live: Live, directory: Path, mark: Mark, *, whole: bool) -> None:
    """The state that was just finished goes on from the marker."""
    local = standing_of(directory / STATE_FILE_NAME)
    assert local is not None, "it was just made"
    live.write_claim(Claim(local[0], mark.lineage, mark.progress.tick, whole))


def _remove_state(directory: Path) -> None:
    """Also the files beside the state's own, which begin with its name."""
    stem = STATE_FILE_NAME.removesuffix(".sqlite")
    for path in directory.glob(f"{stem}.*"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
