"""Gate results over HTTP: kept, listed, logged; refused where they say otherwise than their checks."""

import msgspec
import pytest

from contracts.errors import LogUnavailable, StoreUnavailable
from contracts.gate import GateResult
from contracts.wire import decode, encode
from tests.gateway.gate_results import flight_gate

pytestmark = pytest.mark.anyio

GATES = "/admin/models/flight-delay/gates"


def changed(**fields):
    return msgspec.json.encode(msgspec.json.decode(encode(flight_gate())) | fields)


async def test_a_result_is_kept_listed_and_logged(desk):
    assert await desk.get(GATES) == {"gates": []}
    for number in (1, 2):
        reply = await desk.post(GATES, encode(flight_gate(number)))
        assert reply["warnings"] == []
    listed = (await desk.client.get(GATES)).json()["gates"]
    assert [decode(GateResult, msgspec.json.encode(one)) for one in listed] == [flight_gate(2), flight_gate(1)]
    assert len((await desk.get(f"{GATES}?limit=1"))["gates"]) == 1
    assert desk.audited == [flight_gate(1), flight_gate(2)]


async def test_the_same_result_twice_is_kept_and_logged_once(desk):
    await desk.post(GATES, encode(flight_gate()))
    await desk.post(GATES, encode(flight_gate()))
    assert len((await desk.get(GATES))["gates"]) == 1
    assert desk.audited == [flight_gate()]
    said = await desk.post(GATES, changed(who="eve"), 409)
    assert "is kept with another content" in said["error"]


async def test_a_full_log_is_told_and_the_result_is_kept(desk):
    desk.audit_error = LogUnavailable("the disk is full")
    reply = await desk.post(GATES, encode(flight_gate()))
    assert reply["warnings"] == ["the gate is kept, but missing from the log: the disk is full"]
    assert len((await desk.get(GATES))["gates"]) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (encode(flight_gate(model="other")), "the gate is of model 'other'"),
        (changed(outcome="inconclusive"), "the gate says 'inconclusive', its checks say 'pass'"),
        (changed(checks=[]), "the gate says 'pass', its checks say 'missing'"),
        (changed(gate_id="1"), "gate_id: '1' is no UUIDv7"),
        (changed(policy_sha256=""), "64 hexadecimal digits"),
        (changed(approved=True), "unknown field `approved`"),
        (changed(schema=2), "schema"),
        (b"{}", "missing required field"),
    ],
)
async def test_what_is_no_gate_of_this_model_is_refused_and_not_kept(desk, content, message):
    said = await desk.post(GATES, content, 400)
    assert message in said["error"]
    assert await desk.get(GATES) == {"gates": []}
    assert desk.audited == []


async def test_a_result_that_is_missing_from_the_log_comes_there_when_it_is_sent_again(desk):
    desk.audit_error = LogUnavailable("the disk is full")
    await desk.post(GATES, encode(flight_gate()))
    desk.audit_error = None

    for _ in range(2):
        assert (await desk.post(GATES, encode(flight_gate())))["warnings"] == []
    assert desk.audited == [flight_gate()]


async def test_a_result_of_which_the_store_did_not_say_that_it_is_kept_is_logged_when_it_is_sent_again(desk):
    keep = desk.store.keep_gate

    async def unanswered(result):
        await keep(result)
        raise StoreUnavailable("no reply came")

    desk.store.keep_gate = unanswered
    await desk.post(GATES, encode(flight_gate()), 503)
    desk.store.keep_gate = keep

    assert (await desk.post(GATES, encode(flight_gate())))["warnings"] == []
    assert desk.audited == [flight_gate()]


@pytest.mark.parametrize("at_us", [10**18, 2**63, -(10**30)])
async def test_a_result_of_no_time_is_refused_and_not_kept(desk, at_us):
    said = await desk.post(GATES, changed(evaluated_us=at_us), 400)
    assert f"evaluated_us: {at_us} is no time" in said["error"]
    assert await desk.get(GATES) == {"gates": []}
