"""The log in Kafka, as people read it: what it holds of one prediction, and the proof that all arrived and was counted.

Enters: Kafka's address and options, state directories of hosts, an id. Leaves: entries; or a table, one line for everything
that keeps the certificate from being clean, one sentence. Never decides what is missing.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from contracts.errors import InvalidSettings
from contracts.settings import KafkaOptions
from prediction_log.certificate.kafka import KafkaCertificate, KafkaLog
from prediction_log.certificate.kafka_counted import Hole
from prediction_log.certificate.kafka_verify import verify_kafka
from prediction_log.intervals import Interval, size
from prediction_log.kafka.lookup import Looked, look_up

RANGES_SHOWN: Final = 20
HOLES_SHOWN: Final = 5
LOGS_NAMED: Final = 3


def with_options(options: KafkaOptions, given: Sequence[str]) -> KafkaOptions:
    """The options with some of them replaced, each given as `name=value`. Raises InvalidSettings."""
    values = msgspec.to_builtins(options, enc_hook=str)
    for text in given:
        name, separator, value = text.partition("=")
        if not separator or name not in values:
            raise InvalidSettings(f"--kafka-option {text!r}: write name=value; the names are {', '.join(values)}")
        values[name] = value
    try:
        return msgspec.convert(values, KafkaOptions, strict=False, dec_hook=lambda kind, value: kind(value))
    except msgspec.ValidationError as error:
        raise InvalidSettings(f"--kafka-option: {error}") from None


def certify(
    address: str, options: KafkaOptions, state_dirs: Sequence[Path], wait_seconds: float, *, quiet: bool
) -> KafkaCertificate:
    """Ask everybody. Raises Unavailable."""
    return asyncio.run(_certify(address, options, state_dirs, wait_seconds, quiet=quiet))


def looked_up(address: str, options: KafkaOptions, prediction_id: str, made_us: int, *, quiet: bool) -> Looked:
    """What the topics hold of a prediction, behind a bar. Raises Unavailable."""
    with _shown_progress(quiet=quiet) as progress:
        return asyncio.run(look_up(address, options, prediction_id, made_us, progress))


async def _certify(
    address: str, options: KafkaOptions, state_dirs: Sequence[Path], wait_seconds: float, *, quiet: bool
) -> KafkaCertificate:
    from monitor.fleet.published_counts import published_counts  # noqa: PLC0415 - only here the command needs the monitor

    with _shown_progress(quiet=quiet) as progress:
        async with published_counts(address, options) as counts:
            return await verify_kafka(
                address, options, state_dirs, ask_monitors=counts.read, wait_seconds=wait_seconds, progress=progress
            )


@contextmanager
def _shown_progress(*, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error, where that is a terminal."""
    console = Console(stderr=True)
    columns: tuple[Any, ...] = (TextColumn("reading Kafka"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task("reading", total=None)
        yield lambda read, whole: bar.update(task, completed=read, total=whole)


def show(console: Console, certificate: KafkaCertificate, *, asked_spools: bool) -> None:
    """Print the certificate."""
    table = Table("writer", "log", "told by", "records", "last seq", "not sent yet", "counted once")
    for log in certificate.logs:
        table.add_row(*_cells(log))
    if certificate.logs:
        console.print(table)
    for line in troubles(certificate, asked_spools=asked_spools):
        style = "bold red" if line.startswith(("MISSING", "COUNTED", "DOUBT")) else "yellow"
        console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)
    style = "bold green" if certificate.complete else "bold yellow" if certificate.ok else "bold red"
    console.print(verdict(certificate), style=style, markup=False, highlight=False, soft_wrap=True)


def verdict(certificate: KafkaCertificate) -> str:
    """The certificate in one sentence."""
    whole = certificate.records + certificate.missing
    words = [f"{certificate.records} of {whole} records in Kafka"]
    words.append("no gap" if not certificate.missing else f"{certificate.missing} missing")
    if certificate.duplicates:
        words.append(f"{certificate.duplicates} duplicates dropped")
    if certificate.pending:
        words.append(f"not yet sent: {certificate.pending}")
    if certificate.behind:
        words.append(f"not yet counted: {certificate.behind}")
    elif certificate.counted is not None:
        once = all(not (log.uncounted or log.counted_unknown or log.twice or log.masked) for log in certificate.logs)
        words.append("each counted exactly once" if once else "not each counted exactly once")
    prefix = "" if certificate.complete else "NOT YET COMPLETE: " if certificate.ok else "NOT COMPLETE: "
    return prefix + ", ".join(words)


def troubles(certificate: KafkaCertificate, *, asked_spools: bool) -> Iterator[str]:
    """One line for everything that keeps the certificate from being clean, and for what is worth telling."""
    for log in certificate.logs:
        yield from _log_troubles(log)
    if certificate.unreadable:
        reasons = ", ".join(f"{number} {reason}" for reason, number in certificate.unreadable.items())
        yield f"note: messages that are no records of these logs: {reasons}; see the topic of dead letters"
    if certificate.external:
        yield f"note: {certificate.external} labels from producers outside"
    if not asked_spools:
        yield "the hosts' part is not certified: no spool was asked; give every host's --state-dir"
    elif certificate.unasked:
        more = len(certificate.unasked) - LOGS_NAMED
        names = ", ".join(log_id[:8] for log_id in certificate.unasked[:LOGS_NAMED])
        yield (
            f"note: {len(certificate.unasked)} logs are in no spool that was asked"
            f" ({names}{f' and {more} more' if more > 0 else ''}): they are certified as far as Kafka itself tells"
        )
    if certificate.counted is None:
        yield "the monitor's part is not certified: no monitor has published anything yet"


def _log_troubles(log: KafkaLog) -> Iterator[str]:
    name = f"{log.slot or '?'}/{log.log_id[:8]}"
    if log.missing:
        yield f"MISSING {name}: seq {spell(log.missing)}: {size(log.missing)} records are nowhere in Kafka"
    for hole in log.holes[:HOLES_SHOWN]:
        yield f"MISSING {name}: lane {hole.lane}: {_within(hole)} a record is not there"
    if log.twice:
        yield f"COUNTED TWICE {name}: seq {spell(log.twice)}: in two partitions"
    if log.masked:
        yield f"MISSING {name}: seq {spell(log.masked)}: there, and readers take it for a duplicate"
    for hole in log.uncounted[:HOLES_SHOWN]:
        yield f"MISSING {name}: lane {hole.lane}: {_within(hole)} a record is in Kafka, not counted by the monitor"
    for hole in log.counted_unknown[:HOLES_SHOWN]:
        yield f"MISSING {name}: lane {hole.lane}: {_within(hole)} the monitor counted what is not in Kafka"
    yield from _log_notes(log, name)


def _log_notes(log: KafkaLog, name: str) -> Iterator[str]:
    for finding in log.findings[:RANGES_SHOWN]:
        yield f"DOUBT {name}: {finding.kind.value} (segment {finding.segment}): {finding.detail}"
    if log.expired:
        yield f"note {name}: {size(log.expired)} records expired with the beginning of a topic"
    if log.refused:
        yield f"note {name}: seq {spell(log.refused)} were refused; whoever waited for them was told so"
    if log.dead:
        yield f"note {name}: seq {spell(log.dead)} cannot be sent; their host keeps them as dead records"


def _cells(log: KafkaLog) -> tuple[str, ...]:
    counted = (
        "" if log.counted is None else "[red]no[/]" if log.uncounted or log.counted_unknown else f"{log.counted:,}"
    )
    last = "" if log.last_seq is None else f"{log.last_seq:,}"
    return (log.slot or "?", log.log_id[:8], log.source, f"{log.records:,}", last, f"{log.pending:,}", counted)


def _within(hole: Hole) -> str:
    return f"within seq {spell(hole.ranges)}" if hole.ranges else f"of {hole.messages} messages"


def spell(intervals: Sequence[Interval]) -> str:
    """Ranges in words."""
    shown = [str(first) if first == last else f"{first} to {last}" for first, last in intervals[:RANGES_SHOWN]]
    more = len(intervals) - RANGES_SHOWN
    return ", ".join(shown) + (f" and {more} more ranges" if more > 0 else "")
