"""An operator's desk: the command line, a real admin API over HTTP, and the folder behind both."""

import asyncio
import json
import os
import sys
import threading
from contextlib import contextmanager

import uvicorn

from contracts.errors import ModelRejected
from contracts.plan import VersionRef
from gateway.admin.app import AdminParts, admin_app
from gateway.admin.gate_book import GateBook
from gateway.admin.plan_control import PlanControl
from gateway.admin.promotion_desk import PromotionDesk
from gateway.admin.version_check import VersionCheck
from gateway.clock import system_clock
from gateway.fleet.seam import HostFleet, applied_of
from gateway.fleet.worker_status import WorkerStatus, write_status
from gateway.models.version_states import VersionStates
from gateway.plan_store.sqlite import SqlitePlanStore
from gateway.traffic.last_good import LastGood
from pointsman.main import main
from registry_client.folder import FolderRegistry

MODEL = "flight-delay"


class Server(uvicorn.Server):
    """In a thread, where signals are not its business."""

    @contextmanager
    def capture_signals(self):
        yield


class Quiet(uvicorn.Config):
    """Logging belongs to the test."""

    def configure_logging(self):
        return


class Traffic:
    """The command line, its admin API, and the folder behind it."""

    def __init__(self, folder, address, capsys, monkeypatch):
        self.folder = folder
        self.address = address
        self._capsys = capsys
        self._monkeypatch = monkeypatch

    def run(self, *words, admin=True):
        arguments = [*words, *(["--admin", self.address] if admin else [])]
        self._monkeypatch.setattr(sys, "argv", ["pointsman", *arguments])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        out, err = self._capsys.readouterr()
        return code, out, err

    def ok(self, *words):
        code, out, err = self.run(*words)
        assert code == 0, err
        return out, err

    def json(self, *words):
        return json.loads(self.ok(*words, "--json")[0])

    def worker(self, slot, revision, error=None):
        write_status(
            self.folder / "workers",
            WorkerStatus(
                slot=slot,
                pid=os.getpid(),
                started_us=1,
                applied={MODEL: revision},
                loaded={MODEL: (VersionRef(version="1", digest="d"),)},
                errors={MODEL: error} if error else {},
                at_us=1,
            ),
        )


def serve(folder, listener):
    """Serve the admin API in a thread; versions fail their probe while there is a file `refused`."""
    registry = FolderRegistry(folder / "models", folder / "cache")
    store = SqlitePlanStore(folder / "plans.sqlite")
    refused = folder / "refused"

    async def probe(path):
        if refused.exists():
            raise ModelRejected("it answers its own example with NaN")

    async def audit(change):
        return

    fleet = HostFleet(folder, system_clock().now_us)

    async def applied(model):
        return await applied_of(model, LastGood(folder / "last_good"), fleet)

    states = VersionStates(system_clock().now_us)
    check = VersionCheck(registry, probe, states)
    control = PlanControl(store, registry, check, audit, system_clock(), applied)
    gates, clock = GateBook(store, audit), system_clock()
    desk = PromotionDesk(store, control, check, audit, clock)
    app = admin_app(AdminParts(control, gates, store, registry, fleet, clock, "0.1.0", check.signature, states, desk))
    server = Server(Quiet(app, lifespan="off", ws="none", log_config=None, access_log=False))

    async def run():
        await server.serve(sockets=[listener])
        await store.aclose()

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    return thread, server
