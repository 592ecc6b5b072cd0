"""`pointsman demo`: the main job on real flights, from training to the certificate, in one command.

Enters: options. Leaves: exit code 0 where every figure stood up to the recount and the log is complete, else 1. What is
shown and done is told in `examples/flights`.
"""

import shutil
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import typer
from rich.console import Console

from contracts.errors import InvalidSettings
from pointsman.claims import sole_owner

if TYPE_CHECKING:
    from examples.flights.result import Result

STATE_DIR: Final = Path("demo-state")
MARK: Final = ".made-by-pointsman-demo"
_LOCKS: Final = ("worker.lock", "admin.lock", "forward.lock", "monitor.lock")


def demo(
    *,
    predictions: Annotated[int, typer.Option(min=1, help="How many flights to replay.")] = 20_000,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the result to this file.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Go on serving when everything was shown.")] = False,
    state_dir: Annotated[Path, typer.Option(help="Plans, log, counts; an earlier demo's are removed.")] = STATE_DIR,
    registry: Annotated[Path | None, typer.Option(help="Where to put the models.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Which flights; which labels come late.")] = 7,
    kafka: Annotated[str, typer.Option(help="Send the log to this Kafka (HOST:PORT), and count from there.")] = "",
    redis: Annotated[str, typer.Option(help="Keep plans in this Redis (an empty database of it).")] = "",
) -> None:
    """Real flight data, three trained versions, traffic split and measured, every figure counted twice."""
    try:
        from examples.flights import demo as flights  # noqa: PLC0415  scikit-learn and pandas, for this command only
        from examples.flights.fleet import Fleet  # noqa: PLC0415  likewise
        from examples.flights.view import PlainView, TerminalView  # noqa: PLC0415  likewise
    except ModuleNotFoundError as error:
        raise InvalidSettings(f"the demo needs {error.name}: pip install 'pointsman[demo]'") from None
    empty(state_dir)
    console = Console()
    view = TerminalView(console) if console.is_terminal else PlainView(console)
    fleet = Fleet(kafka, redis, f"demo-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}")
    options = flights.Options(predictions, seed, registry or state_dir / "registry", state_dir, keep, fleet)
    results: list[Result] = []

    def finished(result: "Result") -> None:
        results.append(result)
        if json_file is not None:
            json_file.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=2))

    try:
        flights.run(options, view, finished)
    except flights.FAILURES as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        if not results:
            raise typer.Exit(130) from None
    if not results[0].ok:
        raise typer.Exit(1)


def empty(state_dir: Path) -> None:
    """Remove what an earlier demo left; `InvalidSettings` where somebody else made it, or it is in use."""
    mark = state_dir / MARK
    state_dir.mkdir(parents=True, exist_ok=True)
    if not mark.exists() and any(state_dir.iterdir()):
        raise InvalidSettings(f"{state_dir} holds what no demo made: name another with --state-dir, or remove it")
    mark.touch()
    with ExitStack() as owned:
        for lock in _LOCKS:
            owned.enter_context(sole_owner(state_dir, lock))
        for entry in state_dir.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry.name not in {MARK, *_LOCKS}:
                entry.unlink()
