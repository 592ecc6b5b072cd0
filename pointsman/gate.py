"""`pointsman gate MODEL VERSION --suite FILE`: is this version as good as the champion? And `pointsman gates MODEL`.

Enters: command-line arguments. Leaves: a table or JSON on stdout, the result in a file and at the admin API, an exit code: 0
passed, 1 failed (or could not be run), 3 inconclusive or missing. Never judges and never moves traffic.
"""

import asyncio
import os
from contextlib import AsyncExitStack
from importlib.metadata import version as installed
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import typer
from rich.console import Console
from rich.text import Text

from contracts.errors import InvalidInput, PointsmanError
from contracts.gate import GateResult, worst_of
from contracts.wire import encode
from gateway.admin.bodies import Gates
from pointsman.admin_client import AdminClient, NobodyAnswers, admin_address, admin_client
from pointsman.configuration import load_settings
from pointsman.gate_view import gate_view, gates_view
from pointsman.identity import user_name
from registry_client.choice import is_url, open_registry

if TYPE_CHECKING:
    from pointsman.gate_pair import Pair

EXIT: Final = {"pass": 0, "fail": 1, "inconclusive": 3, "missing": 3}


class Asked(NamedTuple):
    """What the command line asks for; `record` null: if a gateway runs."""

    model: str
    version: str
    suite: Path
    baseline: str | None
    registry: str
    seed: int
    who: str
    record: bool | None
    admin: str
    admin_named: bool
    write_tags: bool


class Done(NamedTuple):
    """The result, who the champion was taken from, and what is left to say."""

    result: GateResult
    chosen: str
    recorded: str
    refused: PointsmanError | None = None


def gate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model's name.", show_default=False)],
    version: Annotated[str, typer.Argument(metavar="VERSION", help="The candidate.", show_default=False)],
    *,
    suite: Annotated[Path, typer.Option(help="A TOML file: rows, and what must hold on them.", show_default=False)],
    baseline: Annotated[str | None, typer.Option(help="The version to compare with; by default the champion.")] = None,
    registry: Annotated[str | None, typer.Option(help="The registry; by default the setting.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the result to this file, as JSON.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    record: Annotated[
        bool | None, typer.Option(help="Keep the result at the admin API; by default where a gateway runs.")
    ] = None,
    write_tags: Annotated[
        bool, typer.Option("--write-tags", help="Write the result as tags of the version at MLflow.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Chooses resamples and turns.")] = 0,
    who: Annotated[str | None, typer.Option(help="Who asks; by default the user of this machine.")] = None,
    admin: Annotated[str | None, typer.Option(help="The admin API, such as http://127.0.0.1:8003.")] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file of settings.")] = None,
) -> None:
    """Hold a version against the champion on the same rows: exit code 0 only where every check passes.

    1 means that a check fails, 3 that the evidence does not decide or is missing.
    """
    settings = load_settings(config)
    root, address = registry or settings.registry, admin or admin_address(settings)
    if write_tags and not is_url(root):
        raise InvalidInput(f"--write-tags: the registry {root!r} is a folder, which has no tags; leave it out")
    asked = Asked(
        model, version, suite, baseline, root, seed, who or user_name(), record, address, admin is not None, write_tags
    )
    done = _gate(asked)
    if as_json:
        typer.echo(encode(done.result))
    else:
        Console().print(gate_view(done.result, done.chosen))
    if out is not None:
        _write(out, done.result)
    Console(stderr=True).print(Text(done.recorded, "dim"), soft_wrap=True)
    if done.refused is not None:
        raise done.refused
    raise typer.Exit(EXIT[done.result.outcome])


def gates(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model's name.", show_default=False)],
    *,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many gates.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    admin: Annotated[str | None, typer.Option(help="The admin API, such as http://127.0.0.1:8003.")] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file of settings.")] = None,
) -> None:
    """Show what the gates of a model found, the last one first."""

    async def ask(address: str) -> Gates:
        async with admin_client(address) as client:
            return await client.gates(model, limit)

    found = asyncio.run(ask(admin or admin_address(load_settings(config))))
    if as_json:
        typer.echo(encode(found))
    else:
        Console().print(gates_view(found.gates) if found.gates else f"no gate of {model!r} is recorded")


def _gate(asked: Asked) -> Done:
    """Run the gate and have the result kept where it should be; outside any event loop, so that Ctrl-C ends it at once."""
    from gateway.clock import system_clock  # noqa: PLC0415  with what follows: scipy and ONNX Runtime, for this alone
    from pointsman.gate_pair import ref_of  # noqa: PLC0415  likewise
    from pointsman.gate_running import run_gate  # noqa: PLC0415  likewise
    from pointsman.gate_suite import read_suite  # noqa: PLC0415  likewise

    file, clock = read_suite(asked.suite), system_clock()
    with TemporaryDirectory(prefix="pointsman-") as cache:
        pair, running = asyncio.run(_loaded(asked, Path(cache)))
        found = run_gate(pair, file, asked.seed, clock.mono_ns)
        result = GateResult(
            gate_id=clock.new_id(),
            model=asked.model,
            candidate=ref_of(pair.candidate),
            baseline=None if pair.baseline is None else ref_of(pair.baseline),
            data_sha256=file.data_sha256,
            policy_sha256=file.policy_sha256,
            rows=found.rows,
            seed=asked.seed,
            checks=found.checks,
            outcome=worst_of(check.outcome for check in found.checks),
            evaluated_us=clock.now_us(),
            who=asked.who,
            pointsman=installed("pointsman"),
        )
        done = _kept(asked, Done(result, pair.chosen, ""), running=running)
        return _tagged(asked, done, Path(cache)) if asked.write_tags else done


def _kept(asked: Asked, done: Done, *, running: bool) -> Done:
    """Have the result recorded where it should be."""
    if asked.record is False:
        return done._replace(recorded="not recorded: --no-record")
    if not running:
        return done._replace(recorded=f"not recorded: no gateway runs at {asked.admin}")
    try:
        return done._replace(recorded=asyncio.run(_recorded(asked.admin, done.result)))
    except PointsmanError as error:
        return done._replace(recorded="not recorded", refused=error)


def _tagged(asked: Asked, done: Done, cache: Path) -> Done:
    """Have the result stand at the version, too; where that fails it is kept all the same, and the command fails."""
    from pointsman.gate_tags import write_tags  # noqa: PLC0415  httpx, for this alone

    try:
        said = asyncio.run(write_tags(asked.registry, cache, os.environ, done.result))
    except PointsmanError as error:
        return done._replace(recorded=f"{done.recorded}; not tagged", refused=done.refused or error)
    return done._replace(recorded=f"{done.recorded}; {said}")


async def _loaded(asked: Asked, cache: Path) -> "tuple[Pair, bool]":
    """Both versions, and whether a gateway runs; it must where the command line names it or wants the result recorded."""
    from pointsman.gate_pair import load_pair  # noqa: PLC0415  ONNX Runtime, for this alone

    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(admin_client(asked.admin))
        registry = open_registry(asked.registry, cache, os.environ)
        stack.push_async_callback(registry.aclose)
        running = await _runs(asked, client)
        names = (asked.model, asked.version, asked.baseline)
        return await load_pair(registry, *names, client if running else None), running


async def _runs(asked: Asked, client: AdminClient) -> bool:
    if asked.record is False and asked.baseline is not None:
        return False
    try:
        await client.gates(asked.model, 1)
    except NobodyAnswers:
        if asked.record or asked.admin_named:
            raise
        return False
    return True


async def _recorded(address: str, result: GateResult) -> str:
    async with admin_client(address) as client:
        kept = await client.keep_gate(result)
    return "; ".join((f"recorded at {address}", *kept.warnings))


def _write(out: Path, result: GateResult) -> None:
    try:
        out.write_bytes(encode(result))
    except OSError as error:
        raise InvalidInput(f"--out {out} cannot be written: {error.strerror}") from error
