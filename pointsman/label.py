"""`pointsman label FILE`: sends labels from a file to the gateway, and says which were not taken and why.

Enters: a CSV, JSON Lines or Parquet file. Leaves: labels in the gateway's log, counts on the terminal; the exit code is 1
where any label was refused. Sending a file again is harmless: of equal labels one counts.
"""

import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Final

import httpx
import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from contracts.errors import InvalidInput, PointsmanError, Unavailable
from pointsman.addresses import gateway_address, http_client, reason_of
from pointsman.configuration import load_settings
from pointsman.label_file import Row, count_rows, read_labels

BATCH_LABELS: Final = 1_000
TIMEOUT_SECONDS: Final = 60.0
WAITS_SECONDS: Final = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Before each further try while the gateway is overloaded, restarting or cannot log."""
SHOWN_MAX: Final = 20
KEPT_MAX: Final = 1_000
"""Refusals named in `--json`; of more, only the number is known."""


class Refusal(msgspec.Struct):
    """One label that was not taken: its place in the request, counted from 0, and why."""

    index: int
    reason: str


class Answer(msgspec.Struct):
    """The body of the gateway's 202."""

    accepted: int
    refused: list[Refusal]


class Refused(msgspec.Struct):
    """One label that was not taken; `row` counts the file's labels from 1."""

    row: int
    prediction_id: str
    reason: str


class Outcome(msgspec.Struct):
    """What became of the labels of a file so far."""

    accepted: int = 0
    refused: int = 0
    refusals: list[Refused] = []

    def add(self, batch: list[Row], answer: Answer) -> None:
        """Count the answer to one more batch."""
        before = self.accepted + self.refused
        self.accepted += answer.accepted
        self.refused += len(answer.refused)
        for refusal in answer.refused[: KEPT_MAX - len(self.refusals)]:
            named = str(batch[refusal.index]["prediction_id"])
            self.refusals.append(Refused(before + refusal.index + 1, named, refusal.reason))


def label(
    file: Annotated[Path, typer.Argument(help="CSV, JSON Lines or Parquet.", exists=True, dir_okay=False)],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
    gateway: Annotated[str | None, typer.Option(help="The gateway, such as http://127.0.0.1:8000.")] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file of settings.")] = None,
) -> None:
    """Send labels from a file: columns prediction_id, label, and maybe observed_at, label_version, op."""
    outcome = Outcome()
    try:
        address = gateway or gateway_address(load_settings(config))
        with http_client(address, TIMEOUT_SECONDS) as client, _progress() as progress:
            task = progress.add_task("labels", total=count_rows(file))
            for batch in _batches(read_labels(file), BATCH_LABELS):
                outcome.add(batch, send(client, batch, time.sleep))
                progress.advance(task, len(batch))
            progress.update(task, total=outcome.accepted + outcome.refused)
    except PointsmanError:
        typer.echo(f"stopped early: {_said(outcome)}", err=True)
        raise
    typer.echo(msgspec.json.encode(outcome) if as_json else _said(outcome))
    if outcome.refused:
        raise typer.Exit(1)


def send(client: httpx.Client, batch: list[Row], sleep: Callable[[float], None]) -> Answer:
    """The gateway's answer to one batch; tries again while it says that later may help.

    Raises `Unavailable` where it still does not answer after `WAITS_SECONDS`, `InvalidInput` where it refuses the request.
    """
    body = msgspec.json.encode({"labels": batch})
    problem = ""
    for wait in (*WAITS_SECONDS, None):
        try:
            response = client.post("/v2/labels", content=body, headers={"content-type": "application/json"})
        except httpx.TransportError as error:
            problem = f"the gateway at {client.base_url} does not answer ({error})"
        else:
            if response.status_code == httpx.codes.ACCEPTED:
                return msgspec.json.decode(response.content, type=Answer)
            problem = f"the gateway at {client.base_url} answered {response.status_code}: {reason_of(response)}"
            if response.status_code not in {429, 503}:
                raise InvalidInput(problem)
        if wait is not None:
            sleep(wait)
    raise Unavailable(f"{problem}, after {len(WAITS_SECONDS) + 1} tries")


def _batches(rows: Iterator[Row], size: int) -> Iterator[list[Row]]:
    while batch := list(islice(rows, size)):
        yield batch


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


def _said(outcome: Outcome) -> str:
    lines = [f"{outcome.accepted:,} labels accepted, {outcome.refused:,} refused"]
    lines += [
        f"  row {refused.row} ({refused.prediction_id}): {refused.reason}" for refused in outcome.refusals[:SHOWN_MAX]
    ]
    left_out = outcome.refused - min(len(outcome.refusals), SHOWN_MAX)
    return "\n".join([*lines, *([f"  and {left_out:,} more"] if left_out else [])])
