"""The first plan of a model: everybody may make it, one does; and what a version must pass to be in it."""

import asyncio

import pytest

from contracts.errors import LogUnavailable, ModelRejected, NotFound
from gateway.admin import version_check
from gateway.plan_store.sqlite import SqlitePlanStore
from gateway.traffic.first_plan import start_plan

pytestmark = pytest.mark.anyio

MODEL = "flight-delay"


def start(desk, store=None):
    return start_plan(MODEL, store or desk.store, desk.registry, desk.check_version, desk.audit, desk.clock)


async def test_of_many_that_start_a_model_at_once_one_wins_and_all_have_its_plan(desk, tmp_path):
    stores = [SqlitePlanStore(tmp_path / "plans.sqlite", busy_timeout_ms=100_000) for _ in range(8)]
    plans = await asyncio.gather(*(start(desk, store) for store in stores))

    assert plans == [await desk.store.read(MODEL)] * 8
    assert [change.verb for change in desk.audited] == ["start"]
    assert len(await desk.store.history(MODEL, 10)) == 1
    await asyncio.gather(*(store.aclose() for store in stores))


async def test_without_an_alias_the_newest_version_is_the_champion(desk):
    (desk.root / MODEL / "aliases.json").unlink()
    desk.register("10")

    assert (await start(desk)).champion.version == "10"
    assert desk.audited[0].reason == "first plan: the newest version"


async def test_a_champion_that_cannot_be_served_makes_no_plan(desk):
    desk.broken.add("broken")
    with pytest.raises(ModelRejected):
        await start(desk)
    (desk.root / MODEL / "aliases.json").write_text('{"champion": "9"}')
    with pytest.raises(NotFound):
        await start(desk)

    assert await desk.store.read(MODEL) is None


async def test_a_plan_that_could_not_be_audited_stands(desk):
    desk.audit_error = LogUnavailable("the disk is full")
    with pytest.raises(LogUnavailable):
        await start(desk)

    assert (await start(desk)).revision == 1


async def test_the_same_files_are_probed_once_however_many_ask(desk):
    desk.probing.clear()
    asking = [asyncio.create_task(desk.check_version(MODEL, "2")) for _ in range(10)]
    while not desk.probed:
        await desk.registry.fetch(MODEL, "2")
    desk.probing.set()
    refs = await asyncio.gather(*asking)

    assert len(set(refs)) == 1
    assert len(desk.probed) == 1


async def test_the_memory_of_probed_files_is_bounded(desk, monkeypatch):
    monkeypatch.setattr(version_check, "PASSED_MAX", 2)
    for version in ("1", "2", "3", "2", "3", "1"):
        await desk.check_version(MODEL, version)

    assert len(desk.probed) == 4, "only the oldest, version 1, had been forgotten"
