"""The admin API over a real folder registry and a real store, asked in-process; workers are status files."""

import asyncio
import os

import httpx
import pytest

from contracts.errors import ModelRejected
from contracts.plan import VersionRef
from contracts.signature import Signature, TensorSpec
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
from registry_client.folder import FolderRegistry
from tests.gateway.admin.gatekeeper import Gatekeeper

MODEL = "flight-delay"
SIGNATURE = Signature(
    inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, 3)),),
    outputs=(TensorSpec(name="p", datatype="FP32", shape=(-1, 1)),),
)


class Desk:
    """What a test needs at hand: the client, and everything behind it."""

    def __init__(self, folder, graphs):
        self.root = folder / "models"
        self.workers = folder / "workers"
        self.graphs = graphs
        self.registry = FolderRegistry(self.root, folder / "cache")
        self.store = SqlitePlanStore(folder / "plans.sqlite", busy_timeout_ms=100_000)
        self.probed = []
        self.probing = asyncio.Event()
        self.probing.set()
        self.broken = set()
        self.audited = []
        self.audit_error = None
        self.ticks = iter(range(1, 10**9))
        self.clock = system_clock()._replace(
            now_us=lambda: 1_700_000_000_000_000, mono_ns=lambda: next(self.ticks) * 1_000_000, new_id=lambda: "salt"
        )
        self.states = VersionStates(self.clock.now_us)
        self.check_version = VersionCheck(self.registry, self.probe, self.states)
        self.fleet = HostFleet(folder, self.clock.now_us)
        self.last_good = LastGood(folder / "last_good")
        self.control = PlanControl(self.store, self.registry, self.check_version, self.audit, self.clock, self.applied)
        gates, signature = GateBook(self.store, self.audit), self.check_version.signature
        self.promotions = PromotionDesk(self.store, self.control, self.check_version, self.audit, self.clock)
        parts = AdminParts(
            self.control,
            gates,
            self.store,
            self.registry,
            self.fleet,
            self.clock,
            "0.1.0",
            signature,
            self.states,
            self.promotions,
        )
        self.app = admin_app(parts)
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8003")

    def register(self, version, model=MODEL, bias=None):
        folder = self.root / model / version
        folder.mkdir(parents=True, exist_ok=True)
        graph = self.graphs.mlp(bias=float(version) if bias is None else bias)
        (folder / "model.onnx").write_bytes(graph.SerializeToString())

    async def ref(self, version):
        return VersionRef(version=version, digest=(await self.registry.fetch(MODEL, version)).digest)

    async def probe(self, path):
        self.probed.append(path)
        await self.probing.wait()
        if path.name in self.broken or "broken" in self.broken:
            raise ModelRejected("it answers its own example with NaN")
        return SIGNATURE

    async def applied(self, model):
        return await applied_of(model, self.last_good, self.fleet)

    async def audit(self, change):
        if self.audit_error:
            raise self.audit_error
        self.audited.append(change)

    def worker(self, slot, revision, *, pid=None, error=None):
        write_status(
            self.workers,
            WorkerStatus(
                slot=slot,
                pid=pid or os.getpid(),
                started_us=1,
                applied={MODEL: revision},
                loaded={MODEL: (VersionRef(version="1", digest="d1"),)},
                errors={MODEL: error} if error else {},
                at_us=1,
            ),
        )

    async def lose_the_store(self):
        """All plans and their history are gone, as after FLUSHALL."""
        await self.store._in_thread(
            lambda db: db.executescript("DROP TRIGGER history_stays; DELETE FROM plans; DELETE FROM history")
        )

    async def written(self, revision):
        while (plan := await self.store.read(MODEL)) is None or plan.revision < revision:
            await self.store.generation()

    async def do(self, verb, status=200, headers=None, model=MODEL, **body):
        response = await self.client.post(f"/admin/models/{model}/{verb}", json=body, headers=headers)
        assert response.status_code == status, response.text
        return response.json()

    async def refused(self, verb, **body):
        """Why a change is not made."""
        return (await self.do(verb, status=409, **body))["error"]

    async def post(self, path, content, status=200):
        response = await self.client.post(path, content=content)
        assert response.status_code == status, response.text
        return response.json()

    async def get(self, path, status=200):
        response = await self.client.get(path)
        assert response.status_code == status, response.text
        return response.json()


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
async def desk(tmp_path, graphs):
    made = Desk(tmp_path, graphs)
    for version in ("1", "2", "3"):
        made.register(version)
    (made.root / MODEL / "aliases.json").write_text('{"champion": "1"}')
    yield made
    await made.client.aclose()
    await made.store.aclose()


@pytest.fixture
def gates(desk):
    return Gatekeeper(desk, MODEL)
