"""A plan that pins the suite of the gate it requires, over HTTP: who is let through, and how a pin comes, changes and goes."""

import pytest

from contracts.gate_pin import GatePin
from contracts.promotion import AliasBook, Promotion
from tests.gateway.admin.conftest import MODEL

pytestmark = pytest.mark.anyio

PLAN = f"/admin/models/{MODEL}/plan"
EASY, HARD = "e" * 64, "f" * 64
PIN = {"policy_sha256": HARD, "suite": "suites/hard.toml"}


@pytest.fixture
def record(gates):
    """Records what a gate of version 2 against 1 found, by this policy; the reply."""

    async def post(policy, outcome="pass", **more):
        return await gates.record("2", "1", outcome, policy_sha256=policy, **more)

    return post


@pytest.fixture
async def pinned(desk):
    """Champion 1, and a gate of the hard suite is required."""
    await desk.do("require-gate", required=True, pin=PIN, who="ada", reason="policy 7")
    return desk


async def test_an_easier_suite_opens_nothing_and_the_pinned_one_opens_every_way(pinned, record):
    await record(EASY)
    for verb, body in (
        ("canary", {"version": "2", "share": "5%"}),
        ("ab", {"version": "2", "share": "5%"}),
        ("switch", {"version": "2"}),
    ):
        said = await pinned.refused(verb, **body)
        assert "'flight-delay' requires a gate, and version '2'" in said
        assert f"of policy {HARD[:12]} (suites/hard.toml): those that it has are of policy {EASY[:12]} on data" in said
        assert "Run `pointsman gate flight-delay 2 --suite suites/hard.toml` where it can record its result" in said
    await pinned.do("shadow", version="2", share=1)
    assert HARD[:12] in await pinned.refused("promote", name="shadow-2")
    await record(HARD)
    await record(EASY, "fail")
    await pinned.do("canary", version="2", share="5%")
    await pinned.do("canary", version="2", share="50%")
    assert (await pinned.do("promote", name="canary-2"))["plan"]["champion"]["version"] == "2"


async def test_a_ramp_begun_with_any_suite_goes_no_further_once_one_is_pinned(desk, record):
    await desk.do("require-gate", required=True)
    await record(EASY)
    await desk.do("canary", version="2", share="10%")
    await desk.do("require-gate", required=True, pin=PIN)
    assert HARD[:12] in await desk.refused("canary", version="2", share="20%")
    assert HARD[:12] in await desk.refused("promote")
    await desk.do("canary", version="2", share="5%")
    await desk.do("rollback")


async def test_a_gate_that_was_passed_before_the_pin_counts(desk, record):
    await record(HARD)
    await desk.do("require-gate", required=True, pin=PIN)
    assert (await desk.do("switch", version="2"))["plan"]["champion"]["version"] == "2"


async def test_the_rows_may_be_pinned_too(desk, record):
    await desk.do("require-gate", required=True, pin=PIN | {"data_sha256": "d" * 64})
    await record(HARD)
    said = await desk.refused("switch", version="2")
    assert f"(suites/hard.toml) on data {'d' * 12}: those that it has are of policy {HARD[:12]} on data aaaa" in said
    await record(HARD, data_sha256="d" * 64)
    await desk.do("switch", version="2")


async def test_a_result_of_another_suite_is_kept_with_a_warning(pinned, record):
    [warning] = (await record(EASY))["warnings"]
    assert warning.startswith("it opens no traffic: revision 2 of 'flight-delay' wants a gate of policy ffff")
    assert (await record(HARD))["warnings"] == []
    assert len((await pinned.get(f"/admin/models/{MODEL}/gates"))["gates"]) == 2


async def test_a_pin_is_set_changed_and_removed_as_any_change_of_a_plan(pinned):
    assert (await pinned.get(PLAN))["gate_pin"] == PIN | {"data_sha256": None}
    kept = await pinned.do("require-gate", required=True)
    assert kept["plan"]["gate_pin"]["policy_sha256"] == HARD
    moved = await pinned.do("require-gate", status=409, required=True, unpin=True, expected_revision=2)
    assert moved["current_revision"] == 3
    changed = await pinned.do("require-gate", required=True, pin={"policy_sha256": EASY}, expected_revision=3)
    assert changed["plan"]["gate_pin"] == {"policy_sha256": EASY, "data_sha256": None, "suite": ""}
    gone = await pinned.do("require-gate", required=True, unpin=True, who="bob", reason="suite retired")
    assert (gone["plan"]["gate_required"], gone["plan"]["gate_pin"]) == (True, None)

    history = (await pinned.get(f"/admin/models/{MODEL}/history"))["changes"]
    told = [(c["revision"], c["verb"], c["who"], c["reason"], c["after"]["gate_pin"] is not None) for c in history]
    assert told[0] == (5, "require-gate", "bob", "suite retired", False)
    assert told[3] == (2, "require-gate", "ada", "policy 7", True)
    assert [change.after.gate_pin for change in pinned.audited[1:]] == [
        GatePin(**PIN),
        GatePin(**PIN),
        GatePin(policy_sha256=EASY),
        None,
    ]


async def test_lifting_the_requirement_takes_the_pin_along(pinned, record):
    off = await pinned.do("require-gate", required=False)
    assert (off["plan"]["gate_required"], off["plan"]["gate_pin"]) == (False, None)
    assert (await pinned.do("require-gate", required=True))["plan"]["gate_pin"] is None
    await record(EASY)
    await pinned.do("switch", version="2")


async def test_an_older_revision_does_not_bring_its_pin_or_lack_of_one_back(pinned):
    await pinned.do("warm", version="2")
    assert (await pinned.do("rollback", to=1))["plan"]["gate_pin"]["policy_sha256"] == HARD


async def test_a_plan_written_by_hand_cannot_lift_the_pin_on_the_way(pinned, record):
    await record(EASY)
    plan = await pinned.get(PLAN)
    two = await pinned.ref("2")
    crowned = plan | {"gate_pin": None, "champion": {"version": "2", "digest": two.digest}}
    put = {"url": PLAN, "headers": {"If-Match": '"2"'}}
    said = await pinned.client.put(json=crowned, **put)
    assert said.status_code == 409
    assert HARD[:12] in said.json()["error"]
    alone = await pinned.client.put(json=plan | {"gate_pin": None}, **put)
    assert alone.json()["plan"]["gate_pin"] is None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"required": True, "pin": {"policy_sha256": "f" * 63}}, "policy_sha256: 'fff"),
        ({"required": True, "pin": {"policy_sha256": "f" * 65}}, "is not 64 lower-case hexadecimal digits"),
        ({"required": True, "pin": {"policy_sha256": "x" * 64}}, "is not 64 lower-case hexadecimal digits"),
        ({"required": True, "pin": {"policy_sha256": "F" * 64}}, "is not 64 lower-case hexadecimal digits"),
        ({"required": True, "pin": PIN | {"data_sha256": ""}}, "data_sha256: '' is not 64"),
        ({"required": True, "pin": PIN | {"data_sha256": "g" * 64}}, "data_sha256: 'ggg"),
        ({"required": True, "pin": PIN | {"suite": "a\nb"}}, "suite: 'a\\nb' is no name of a file"),
        ({"required": True, "pin": {"data_sha256": HARD}}, "missing required field `policy_sha256`"),
        ({"required": True, "pin": PIN | {"sha": HARD}}, "unknown field `sha`"),
        ({"required": True, "pin": 5}, "pin"),
        ({"required": True, "pin": PIN, "unpin": True}, "unpin and a pin at once"),
        ({"required": False, "pin": PIN}, "required = false and a pin at once"),
    ],
)
async def test_what_is_no_pin_is_400_and_leaves_the_plan_alone(pinned, body, message):
    assert message in (await pinned.do("require-gate", status=400, **body))["error"]
    assert (await pinned.get(PLAN))["revision"] == 2


async def test_a_plan_written_by_hand_with_a_bad_pin_is_400(pinned):
    plan = await pinned.get(PLAN)
    for edit, message in (
        ({"gate_pin": {"policy_sha256": "f"}}, "64 lower-case hexadecimal digits"),
        ({"gate_required": False}, "gate_pin: says which gate counts, but gate_required is false"),
    ):
        response = await pinned.client.put(PLAN, json=plan | edit, headers={"If-Match": '"2"'})
        assert response.status_code == 400
        assert message in response.json()["error"]


async def test_the_promotion_of_a_version_that_passed_another_suite_is_refused(pinned, record):
    await record(EASY)
    one = Promotion(
        promotion_id="p1",
        model=MODEL,
        candidate=await pinned.ref("2"),
        champion=await pinned.ref("1"),
        why="the policy is request",
        requested_us=1,
        seen_by="host/0",
    )
    await pinned.store.write_alias_book(AliasBook(model=MODEL, number=1, promotions=(one,)))
    said = await pinned.refused("promotions/p1/approve")
    assert "--suite suites/hard.toml" in said
    await record(HARD)
    assert (await pinned.do("promotions/p1/approve"))["plan"]["champion"]["version"] == "2"


async def test_a_plan_stored_before_pins_is_held_as_one_without(desk, record):
    await desk.do("require-gate", required=True)
    await desk.store._in_thread(lambda db: db.executescript("UPDATE plans SET plan = json_remove(plan, '$.gate_pin')"))
    assert (await desk.get(PLAN))["gate_pin"] is None
    assert "--suite FILE" in await desk.refused("switch", version="2")
    await record(EASY)
    await desk.do("switch", version="2")


async def test_what_runs_comes_back_with_its_pin_after_the_store_lost_changes(pinned):
    pinned.last_good.save(await pinned.control.plan(MODEL))
    pinned.worker("worker-0", 2)
    await pinned.lose_the_store()
    back = await pinned.do("republish")
    assert back["plan"]["gate_pin"]["policy_sha256"] == HARD


async def test_openapi_describes_the_pin(desk):
    schemas = (await desk.get("/openapi.json"))["components"]["schemas"]
    assert set(schemas["GatePin"]["properties"]) == {"policy_sha256", "data_sha256", "suite"}
    assert {"required", "pin", "unpin"} <= set(schemas["RequireGateBody"]["properties"])
