"""`pointsman log ls|cat|verify`: what is in the prediction log, and the proof that nothing is missing.

Enters: the state directory, and Kafka where the log goes there. Leaves: tables, JSON, or the certificate and an exit code: 0
where everything is there, 1 where something is missing, damaged, in doubt or not counted once. Only reads; a running
gateway is not disturbed.
"""

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from contracts.errors import InvalidRecord
from contracts.prediction import split_row
from contracts.settings import Settings
from pointsman.configuration import load_settings
from prediction_log.certificate.spool import Certificate, LogCertificate, compare, verify
from prediction_log.finding import HARMLESS, Finding
from prediction_log.intervals import Interval, size
from prediction_log.spool.listing import SegmentRow, list_segments
from prediction_log.spool.reader import Entry, SpoolReader
from prediction_log.spool.segment import RECORDS, Kind

log_app = typer.Typer(name="log", help="The prediction log: what is in it, and the proof that it is complete.")

_POLL_RECORDS: Final = 1000
_FOLLOW_SECONDS: Final = 0.2
_KINDS: Final = tuple(kind.name.lower() for kind in RECORDS.values())
_GAPS_SHOWN: Final = 20

StateDir = Annotated[
    Path, typer.Option("--state-dir", envvar="POINTSMAN_STATE_DIR", help="Where Pointsman keeps its state.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DEFAULT_STATE_DIR: Final = Path("pointsman-state")


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `log cat`: where the record stands, and the record as JSON."""

    log_id: str
    seq: int
    kind: str
    record: msgspec.Raw


class Keys(msgspec.Struct, frozen=True, kw_only=True):
    """What `log cat` selects by; labels name no model, audit records no prediction."""

    model: str | None = None
    prediction_id: str | None = None


@log_app.command("ls")
def list_log(*, state_dir: StateDir = DEFAULT_STATE_DIR, as_json: AsJson = False) -> None:
    """List writers and their segments."""
    rows = list_segments(state_dir / "spool")
    if as_json:
        typer.echo(msgspec.json.encode(rows))
        return
    table = Table("writer", "log", "state", "level", "segment", "bytes", "up to seq", "since (UTC)")
    for row in rows:
        table.add_row(*_segment_cells(row))
    Console().print(table if rows else f"no log in {state_dir / 'spool'} yet")


def _segment_cells(row: SegmentRow) -> tuple[str, ...]:
    since = datetime.fromtimestamp(row.since_us / 1e6, UTC).isoformat(" ", "seconds")[:19] if row.since_us else "?"
    last_seq = "?" if row.last_seq is None else f"{row.last_seq:,}"
    return (row.slot, row.log_id[:8], row.state, row.level or "?", str(row.segment), f"{row.bytes:,}", last_seq, since)


@log_app.command("cat")
def cat_log(
    *,
    state_dir: StateDir = DEFAULT_STATE_DIR,
    model: Annotated[str | None, typer.Option(help="Only records of this model.")] = None,
    prediction_id: Annotated[str | None, typer.Option(help="Only this prediction, its shadows and its labels.")] = None,
    kind: Annotated[str | None, typer.Option(help=f"Only records of this kind: {', '.join(_KINDS)}.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after this many records.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for further records.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines, as always.")] = True,  # noqa: ARG001 - every list has it
) -> None:
    """Print records, one JSON object a line, in order of seq within each log."""
    if kind is not None and kind not in _KINDS:
        raise typer.BadParameter(f"{kind!r} is no kind of record; use one of {', '.join(_KINDS)}")
    printed = 0
    for entry in _entries(state_dir / "spool", follow=follow):
        if _is_asked_for(entry, kind, model, prediction_id):
            record = msgspec.Raw(entry.payload)
            line = Line(log_id=entry.log_id, seq=entry.seq, kind=entry.kind.name.lower(), record=record)
            typer.echo(msgspec.json.encode(line))
            printed += 1
            if printed == limit:
                return


def _entries(spool: Path, *, follow: bool) -> Iterator[Entry]:
    reader = SpoolReader(spool, {})
    while True:
        entries = reader.poll(_POLL_RECORDS)
        yield from _as_json(entries)
        for finding in reader.findings:
            typer.echo(_finding_line(finding), err=True)
        if not entries and not follow:
            return
        if not entries:
            time.sleep(_FOLLOW_SECONDS)


def _as_json(entries: Sequence[Entry]) -> Iterator[Entry]:
    """The entries with JSON for payloads; where a record cannot be read, that is told and the others go on."""
    from prediction_log.rendering import rendered  # noqa: PLC0415 - it takes a while to import numpy; only cat needs it

    predictions = [entry.payload if entry.kind is Kind.PREDICTION else b"" for entry in entries]
    for entry, value in zip(entries, rendered(predictions), strict=True):
        if isinstance(value, InvalidRecord):
            typer.echo(f"log {entry.log_id}, seq {entry.seq}: {value}", err=True)
        else:
            yield entry._replace(payload=value) if value else entry


def _is_asked_for(entry: Entry, kind: str | None, model: str | None, prediction_id: str | None) -> bool:
    if kind is not None and entry.kind.name.lower() != kind:
        return False
    if model is None and prediction_id is None:
        return True
    keys = msgspec.json.decode(entry.payload, type=Keys)
    if model is not None and keys.model != model:
        return False
    return prediction_id is None or (
        keys.prediction_id is not None and split_row(keys.prediction_id)[0] == prediction_id
    )


@log_app.command("verify")
def verify_log(
    *,
    state_dirs: Annotated[
        list[Path] | None,
        typer.Option("--state-dir", help="Where Pointsman keeps its state; with Kafka once for each host."),
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", help="A TOML file of settings.")] = None,
    kafka: Annotated[str | None, typer.Option("--kafka", help="Kafka's bootstrap servers.")] = None,
    kafka_options: Annotated[
        list[str] | None, typer.Option("--kafka-option", help="One of kafka_options, as name=value; may be repeated.")
    ] = None,
    wait_seconds: Annotated[
        float, typer.Option("--wait", min=0, help="With Kafka: how long forwarder and monitor may take to come as far.")
    ] = 10.0,
    as_json: AsJson = False,
) -> None:
    """Certify that every record is in the log and was counted by the monitor exactly once; exit 1 where not.

    Where the log goes to Kafka: that every record answered for until now arrived there, and was counted from there.
    """
    settings = load_settings(config, {} if kafka is None else {"kafka": kafka})
    if settings.kafka:
        given = state_dirs or [state_dir for state_dir in (settings.state_dir,) if (state_dir / "spool").is_dir()]
        _verify_kafka(settings, kafka_options or (), given, wait_seconds, as_json=as_json)
    elif len(state_dirs or ()) > 1:
        raise typer.BadParameter("several only make sense with Kafka", param_hint="--state-dir")
    else:
        _verify_spool(state_dirs[0] if state_dirs else settings.state_dir, as_json=as_json)


def _verify_kafka(
    settings: Settings, given_options: Sequence[str], state_dirs: Sequence[Path], wait_seconds: float, *, as_json: bool
) -> None:
    from pointsman import kafka_log  # noqa: PLC0415 - it takes a while to import, and the other commands need no Kafka

    for state_dir in state_dirs:
        if not (state_dir / "spool").is_dir():
            raise typer.BadParameter(f"there is no spool in {state_dir}", param_hint="--state-dir")
    options = kafka_log.with_options(settings.kafka_options, given_options)
    certificate = kafka_log.certify(settings.kafka, options, state_dirs, wait_seconds, quiet=as_json)
    if as_json:
        typer.echo(msgspec.json.encode(certificate))
    else:
        kafka_log.show(Console(), certificate, asked_spools=bool(state_dirs))
    if not certificate.complete:
        raise typer.Exit(1)


def _verify_spool(state_dir: Path, *, as_json: bool) -> None:
    certificate = verify(state_dir / "spool")
    state_path = state_dir / "monitor.sqlite"
    if state_path.exists():
        from monitor.counts.state import counted  # noqa: PLC0415 - only this command, and only here, needs the monitor

        certificate = compare(certificate, counted(state_path))
    if as_json:
        typer.echo(msgspec.json.encode(certificate))
    else:
        _show(Console(), certificate, state_path)
    if not certificate.ok:
        raise typer.Exit(1)


def _show(console: Console, certificate: Certificate, state_path: Path) -> None:
    table = Table("writer", "log", "state", "records", "seqs", "chain", "counted once")
    for log in certificate.logs:
        table.add_row(*_log_cells(log))
    if certificate.logs:
        console.print(table)
    for line in _troubles(certificate):
        console.print(line, style="bold red" if line.startswith("MISSING") else "yellow", markup=False, highlight=False)
    if certificate.counted is None:
        note = f"the monitor's part is not certified: there is no {state_path}"
        console.print(note, style="yellow", markup=False, highlight=False, soft_wrap=True)
    style = "bold green" if certificate.ok else "bold red"
    console.print(verdict(certificate), style=style, markup=False, highlight=False, soft_wrap=True)


def verdict(certificate: Certificate) -> str:
    """The certificate in one sentence."""
    whole = certificate.records + certificate.missing
    gap = "no gap" if not certificate.missing else f"{certificate.missing} missing"
    chain = "hash chain ok" if all(log.chain_ok for log in certificate.logs) else "hash chain broken"
    words = [f"{certificate.records} of {whole} records", gap, chain]
    if certificate.counted is not None:
        once = not certificate.vanished and all(log.counted is None or log.counted.ok for log in certificate.logs)
        words.append("each counted exactly once" if once else "not each counted exactly once")
    return ("" if certificate.ok else "NOT COMPLETE: ") + ", ".join(words)


def _log_cells(log: LogCertificate) -> tuple[str, ...]:
    seqs = f"{log.first_seq:,} to {log.last_seq:,}" if log.first_seq is not None else ""
    counted = "" if log.counted is None else f"{log.counted.records:,}" if log.counted.ok else "[red]no[/]"
    chain = "ok" if log.chain_ok else "[red]broken[/]"
    return (log.slot, log.log_id[:8], log.state, f"{log.records:,}", seqs, chain, counted)


def _troubles(certificate: Certificate) -> Iterator[str]:
    """One line for everything that keeps the certificate from being clean, and for what is harmless but worth telling."""
    for log in certificate.logs:
        name = f"{log.slot}/{log.log_id[:8]}"
        if log.gaps:
            yield f"MISSING {name}: seq {_spell(log.gaps)}: {size(log.gaps)} records cannot be read"
        for finding in log.findings[:_GAPS_SHOWN]:
            yield f"{'note' if finding.kind in HARMLESS else 'DAMAGE'} {name}: {_finding_line(finding)}"
        if log.counted is not None:
            if log.counted.missing:
                yield f"MISSING {name}: seq {_spell(log.counted.missing)}: in the log, not counted by the monitor"
            if log.counted.twice:
                yield f"COUNTED TWICE {name}: seq {_spell(log.counted.twice)}"
            if log.counted.unknown:
                yield f"MISSING {name}: seq {_spell(log.counted.unknown)}: counted by the monitor, not in the log"
    for log_id in certificate.vanished:
        yield f"MISSING log {log_id}: counted by the monitor, its directory is gone"


def _spell(intervals: Sequence[Interval]) -> str:
    shown = [str(first) if first == last else f"{first} to {last}" for first, last in intervals[:_GAPS_SHOWN]]
    more = len(intervals) - _GAPS_SHOWN
    return ", ".join(shown) + (f" and {more} more ranges" if more > 0 else "")


def _finding_line(finding: Finding) -> str:
    where = f"segment {finding.segment}, byte {finding.offset}"
    seqs = "" if finding.first_seq is None else f", from seq {finding.first_seq}"
    if finding.first_seq is not None and finding.last_seq is not None:
        seqs = f", seq {_spell([(finding.first_seq, finding.last_seq)])}"
    return f"{finding.kind.value} ({where}{seqs}): {finding.detail}"
