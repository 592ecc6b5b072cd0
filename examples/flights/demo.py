"""The main job, end to end, on real flights: train, serve, split, log, measure, prove.

Enters: how many predictions, a seed, folders. Leaves: a result, after everything was shown on the way. This file is the
table of contents of its folder: each step is told in a file of its own.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final, NamedTuple

import httpx
import msgspec

from examples.flights.addresses import Addresses, free_addresses
from examples.flights.bodies import infer_body
from examples.flights.building import build
from examples.flights.certificate import verified
from examples.flights.closing_table import closing_table
from examples.flights.data import load
from examples.flights.fleet import Fleet
from examples.flights.gate_suite import SUITE, lay_suite
from examples.flights.labels import planned_labels
from examples.flights.registration import task_of
from examples.flights.replay import ReplayFailed
from examples.flights.result import Made, Result
from examples.flights.sampling import spread
from examples.flights.settling import settle
from examples.flights.system import SystemFailed, running_system, until_ended
from examples.flights.training import Trained
from examples.flights.travelling import Journey, travel
from examples.flights.versions import MODEL
from examples.flights.view import View
from examples.flights.watching import Watch

MONITOR_SECONDS_MAX: Final = 60.0


FAILURES: Final = (ReplayFailed, SystemFailed)
"""What `run` may end with, beside `PointsmanError`."""


REQUEST: Final = "request.json"
"""In the state directory: one request as the replay sends it, to try with curl."""
GATE: Final = "gate"
"""In the state directory: a suite and its rows, to hold a version against the champion."""
REPORT: Final = "report.html"
"""In the state directory: the report as it was at the end."""


class Options(NamedTuple):
    """What the user may choose. `keep` leaves the system serving until it is interrupted; `fleet` names servers to use
    instead of the embedded parts.
    """

    predictions: int
    seed: int
    registry: Path
    state_dir: Path
    keep: bool
    fleet: Fleet = Fleet()


def run(options: Options, view: View, finished: Callable[[Result], None]) -> None:
    """Everything; `finished` is told the result before a kept system goes on serving.

    Raises `PointsmanError` or one of FAILURES with what went wrong.
    """
    started = time.perf_counter()
    with view.working("reading the flights and the weather of 2013"):
        table = load()
    flights = spread(table, options.predictions, options.seed)
    journey = Journey(flights, planned_labels(flights, options.seed), salt=f"demo-{options.seed}")
    (options.state_dir / REQUEST).write_bytes(msgspec.json.format(infer_body(0, flights[0]), indent=1))
    lay_suite(table, options.state_dir / GATE)
    made = build(table, options.registry, options.seed, view)
    asyncio.run(_serve(options, journey, made, view, finished, started))


async def _serve(
    options: Options,
    journey: Journey,
    made: Sequence[Trained],
    view: View,
    finished: Callable[[Result], None],
    started: float,
) -> None:
    addresses = free_addresses()
    settings = options.fleet.environment
    view.say(options.fleet.words)
    async with AsyncExitStack() as stack:
        monitor = httpx.AsyncClient(base_url=addresses.monitor, timeout=MONITOR_SECONDS_MAX)
        asking = await stack.enter_async_context(monitor)
        watch = Watch(asking)
        with view.working("pointsman up: starting gateway, admin API and monitor"):
            await stack.enter_async_context(running_system(options.registry, options.state_dir, addresses, settings))
        view.say(f"replaying {len(journey.flights):,} flights of April to December through {addresses.gateway}")
        travelled = await travel(journey, addresses, watch, view)
        with view.working("waiting for the monitor, and counting the log a second time"):
            tasks = {trained.recipe.version: task_of(trained) for trained in made}
            closings = await settle(options.state_dir / "spool", tasks, watch)
        with view.working("pointsman log verify"):
            certificate, complete = await verified(options.state_dir, settings)
        result = Result(
            seed=options.seed,
            versions=[_made(trained) for trained in made],
            predictions=travelled.tally.predictions,
            labels=travelled.tally.labels,
            replay_seconds=travelled.seconds,
            predictions_per_second=travelled.tally.predictions / travelled.seconds,
            steps=travelled.steps,
            closings=closings,
            agrees=bool(closings) and all(closing.agrees for closing in closings),
            certificate=certificate,
            complete=complete,
            report=f"{addresses.monitor}/report?model={MODEL}",
            gateway=addresses.gateway,
            admin=addresses.admin,
            monitor=addresses.monitor,
            total_seconds=time.perf_counter() - started,
        )
        view.say(closing_table(result))
        page = await asking.get("/report", params={"model": MODEL})
        await asyncio.to_thread((options.state_dir / REPORT).write_bytes, page.raise_for_status().content)
        view.say(f"the report, as a file to open when all this has stopped: {options.state_dir / REPORT}")
        finished(result)
        if options.keep:
            await _go_on_serving(options, addresses, view)


async def _go_on_serving(options: Options, addresses: Addresses, view: View) -> None:
    view.say(f"still serving at {addresses.gateway}, traffic at {addresses.admin}; Ctrl-C drains and ends it")
    view.say(f"try: curl -s {addresses.gateway}/v2/models/{MODEL}/infer -d @{options.state_dir / REQUEST}")
    place = f"--suite {options.state_dir / GATE / SUITE} --registry {options.registry} --admin {addresses.admin}"
    view.say(f"and: pointsman gate {MODEL} 3 {place}")
    await until_ended()


def _made(trained: Trained) -> Made:
    recipe = trained.recipe
    return Made(recipe.version, recipe.algorithm, recipe.window, trained.threshold, trained.metrics)
