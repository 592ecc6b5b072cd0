"""`pointsman explain PREDICTION_ID`: who decided this, on what, under which plan, and what turned out to be true.

Enters: the id that a reply carried, state directories, Kafka's address. Leaves: one screen, or JSON; exit code 1 where
nobody recorded it.
Only reads; a running gateway is not disturbed.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import typer
from rich.console import Console

from contracts.errors import NotFound, Unavailable
from contracts.settings import Settings
from pointsman.configuration import load_settings

if TYPE_CHECKING:
    from pointsman.explaining import Asked, Evidence

DOUBTS_SHOWN: Final = 3


def explain(
    prediction_id: Annotated[
        str, typer.Argument(metavar="PREDICTION_ID", help="As the reply had it; ID#2 for its third row.")
    ],
    *,
    state_dirs: Annotated[
        list[Path] | None, typer.Option("--state-dir", help="Where a host keeps its state; once for each host.")
    ] = None,
    kafka: Annotated[str | None, typer.Option("--kafka", help="Kafka's bootstrap servers.")] = None,
    kafka_options: Annotated[
        list[str] | None, typer.Option("--kafka-option", help="One of kafka_options, as name=value; may be repeated.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    config: Annotated[Path | None, typer.Option(help="A TOML file of settings.")] = None,
) -> None:
    """Explain one prediction: version, digest, features, plan, who shifted the traffic, label, shadows.

    It reads the log of this machine from when the prediction was made, and Kafka's topics where the log goes there.
    """
    from pointsman.explain_view import explain_view  # noqa: PLC0415  with what follows: numpy, for this alone
    from pointsman.explaining import Evidence, read_id, read_spool  # noqa: PLC0415  likewise

    asked = read_id(prediction_id)
    settings = load_settings(config, {} if kafka is None else {"kafka": kafka})
    folders = state_dirs or [settings.state_dir]
    evidence = Evidence(asked)
    with Console(stderr=True).status(f"reading the log from {asked.made} on"):
        for folder in folders:
            read_spool(evidence, folder / "spool", asked.made_us)
    if settings.kafka:
        _read_kafka(evidence, asked, settings, kafka_options or (), quiet=as_json)
    found = evidence.explained()
    if found is None:
        raise NotFound(_nowhere(asked.prediction_id, folders, settings.kafka, evidence.doubts))
    if as_json:
        typer.echo(msgspec.json.encode(found))
    else:
        Console().print(explain_view(found))


def _read_kafka(evidence: "Evidence", asked: "Asked", settings: Settings, given: Sequence[str], *, quiet: bool) -> None:
    """Add what Kafka holds. Where it does not answer, what the spools said is all there is."""
    from pointsman import kafka_log  # noqa: PLC0415  it takes a while to import, and most look at the spool alone

    options = kafka_log.with_options(settings.kafka_options, given)
    try:
        looked = kafka_log.looked_up(settings.kafka, options, asked.prediction_id, asked.made_us, quiet=quiet)
    except Unavailable as error:
        if not evidence.found:
            raise
        evidence.doubt(f"not read: {error}")
        return
    for reason in looked.unread:
        evidence.doubt(reason)
    for entry in looked.entries:
        evidence.take(entry)


def _nowhere(prediction_id: str, folders: Sequence[Path], kafka: str, doubts: Sequence[str]) -> str:
    where = ", ".join(str(folder) for folder in folders) + (f", nor in Kafka at {kafka}" if kafka else "")
    ask = "another host (--state-dir)" if kafka else "another host (--state-dir, or --kafka for all of them)"
    said = f"prediction {prediction_id} is not in the log of {where}: was it answered by {ask}, or is it older than"
    said += " what is kept?"
    return "; ".join([said, *(f"could not be read: {doubt}" for doubt in doubts[:DOUBTS_SHOWN])])
