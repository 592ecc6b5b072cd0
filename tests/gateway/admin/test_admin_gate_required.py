"""A plan that requires a gate: who gets no traffic without one, and what is never blocked."""

import pytest

from contracts.plan import VersionRef
from tests.gateway.admin.conftest import MODEL

pytestmark = pytest.mark.anyio


@pytest.fixture
async def strict(desk):
    """Champion 1, and a gate is required."""
    reply = await desk.do("require-gate", required=True, reason="policy 7")
    assert reply["plan"]["gate_required"] is True
    return desk


async def test_without_a_passing_gate_there_is_no_traffic_but_shadow_and_warm(strict):
    for verb, body in (
        ("canary", {"version": "2", "share": "5%"}),
        ("ab", {"version": "2", "share": "5%"}),
        ("switch", {"version": "2"}),
    ):
        said = await strict.refused(verb, **body)
        assert "version '2'" in said
        assert "has no passing gate against the champion, version '1'" in said
        assert "it has none at all" in said
        assert "pointsman gate flight-delay 2 --suite FILE" in said
    await strict.do("shadow", version="2", share=1)
    assert "has no passing gate" in await strict.refused("promote", name="shadow-2")
    await strict.do("warm", version="3")
    assert (await strict.do("remove", name="shadow-2"))["plan"]["champion"]["version"] == "1"


async def test_with_a_passing_gate_every_way_is_open(strict, gates):
    await gates.record("2", "1")
    await strict.do("canary", version="2", share="5%")
    await strict.do("canary", version="2", share="50%")
    assert (await strict.do("promote"))["plan"]["champion"]["version"] == "2"


async def test_a_gate_that_did_not_pass_opens_nothing_and_is_named(strict, gates):
    for outcome in ("fail", "inconclusive", "missing"):
        gate_id = (await gates.record("2", "1", outcome))["gate"]["gate_id"]
        assert f"its last one, {gate_id}, says {outcome}" in await strict.refused("switch", version="2")


async def test_another_champion_makes_gates_stale(strict, gates):
    await gates.record("2", "1")
    await gates.record("3", "1")
    await strict.do("switch", version="3")
    assert "against other champions, which makes them stale" in await strict.refused("switch", version="2")
    await gates.record("2", "3")
    await strict.do("switch", version="2")


async def test_a_gate_is_of_bytes_and_not_of_a_version_s_name(strict, gates):
    await gates.record("2", "1", candidate=VersionRef(version="2", digest="of other files"))
    assert "it has none at all" in await strict.refused("switch", version="2")
    await gates.record("2", "1", baseline=VersionRef(version="1", digest="of other files"))
    assert "stale" in await strict.refused("switch", version="2")
    await gates.record("2", None, "missing")
    await strict.refused("switch", version="2")


async def test_a_rollback_and_less_traffic_never_wait_for_a_gate(strict, gates):
    await gates.record("2", "1")
    first = (await strict.do("canary", version="2", share="50%"))["plan"]["revision"]
    await strict.do("promote")
    assert (await strict.do("rollback"))["plan"]["champion"]["version"] == "1"
    restored = (await strict.do("rollback", to=first))["plan"]
    assert [c["name"] for c in restored["challengers"]] == ["canary-2"]
    await strict.do("rollback")


async def test_who_has_traffic_already_keeps_it_and_gets_no_more(desk):
    await desk.do("canary", version="2", share="20%")
    await desk.do("canary", version="3", share="20%")
    await desk.do("require-gate", required=True)
    await desk.do("canary", version="2", share="10%")
    await desk.do("remove", name="canary-3")
    assert "version '2'" in await desk.refused("canary", version="2", share="11%")
    assert "version '2'" in await desk.refused("promote")
    await desk.do("ab", version="2", share="10%")


async def test_a_plan_written_by_hand_is_held_to_it_too_and_cannot_lift_it_on_the_way(strict, gates):
    plan = (await strict.get(f"/admin/models/{MODEL}/plan")) | {"gate_required": False}
    two = await strict.ref("2")
    plan["champion"] = {"version": "2", "digest": two.digest}
    put = {"url": f"/admin/models/{MODEL}/plan", "json": plan, "headers": {"if-match": str(plan["revision"])}}
    said = await strict.client.put(**put)
    assert said.status_code == 409
    assert "has no passing gate" in said.json()["error"]
    await gates.record("2", "1")
    assert (await strict.client.put(**put)).json()["plan"]["champion"]["version"] == "2"


async def test_an_a_a_comparison_of_the_champion_needs_no_gate(strict):
    await strict.do("ab", version="1", share="50%")


async def test_it_can_be_lifted_and_an_older_plan_does_not_lift_it(desk):
    earlier = (await desk.do("canary", version="2", share="20%"))["plan"]["revision"]
    await desk.do("require-gate", required=True)
    assert (await desk.do("rollback", to=earlier))["plan"]["gate_required"] is True
    await desk.refused("switch", version="3")
    await desk.do("require-gate", required=False)
    await desk.do("switch", version="3")
