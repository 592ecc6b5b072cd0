"""The narrow verbs over HTTP: what changes, who did it, and what is refused with which status."""

import asyncio
import itertools
import os
import sys

import pytest
from msgspec.structs import replace

from contracts.errors import LogUnavailable
from contracts.plan import Change, VersionRef
from contracts.wire import decode, encode
from gateway.traffic import shifts

pytestmark = pytest.mark.anyio

MODEL = "flight-delay"
PLAN = "/admin/models/flight-delay/plan"
HISTORY = "/admin/models/flight-delay/history"


def variants(reply):
    return {c["name"]: (c["version"], c["mode"]) for c in reply["plan"]["challengers"]}


async def test_a_model_without_a_plan_starts_with_its_champion_alias_and_then_shifts(desk):
    reply = await desk.do("canary", version="2", share="5%", who="ada", reason="first look")

    assert reply["plan"]["champion"]["version"] == "1"
    assert variants(reply) == {"canary-2": ("2", "canary")}
    assert reply["plan"]["revision"] == 2
    changes = (await desk.get(HISTORY))["changes"]
    assert [(c["verb"], c["who"], c["reason"]) for c in changes] == [
        ("canary", "ada", "first look"),
        ("start", "pointsman", "first plan: the alias champion"),
    ]
    assert changes[0]["before"] == changes[1]["after"]


async def test_every_verb_changes_the_plan_by_its_rule(desk):
    await desk.do("shadow", version="3", share=1)
    await desk.do("canary", version="2", share=0.05)
    assert variants(await desk.do("ab", version="2", share="50%")) == {"shadow-3": ("3", "shadow"), "ab-2": ("2", "ab")}
    promoted = await desk.do("promote")
    assert (promoted["plan"]["champion"]["version"], promoted["plan"]["previous"]["version"]) == ("2", "1")
    back = await desk.do("rollback")
    assert (back["plan"]["champion"]["version"], back["plan"]["previous"]) == ("1", None)
    assert variants(await desk.do("remove", name="shadow-3")) == {}
    switched = await desk.do("switch", version="3")
    assert [kept["version"] for kept in switched["plan"]["warm"]] == ["2", "1"]
    cooled = await desk.do("cool", version="2")
    assert [kept["version"] for kept in cooled["plan"]["warm"]] == ["1"]
    warmed = await desk.do("warm", version="2")
    assert [kept["version"] for kept in warmed["plan"]["warm"]] == ["1", "2"]
    restored = await desk.do("rollback", to=2)
    assert (restored["plan"]["champion"]["version"], variants(restored)) == ("1", {"shadow-3": ("3", "shadow")})
    assert restored["plan"]["revision"] == 11


async def test_the_reply_carries_the_new_revision_as_etag(desk):
    response = await desk.client.post("/admin/models/flight-delay/switch", json={"version": "2"})

    assert response.headers["etag"] == '"2"'
    assert response.json()["change"]["before"]["champion"]["version"] == "1"


async def test_who_comes_from_the_body_else_the_header_else_is_anonymous(desk):
    await desk.do("warm", version="2", who="ada", headers={"X-Pointsman-Actor": "grace"})
    await desk.do("warm", version="3", headers={"X-Pointsman-Actor": "grace"})
    await desk.do("cool", version="3")

    assert [c["who"] for c in (await desk.get(HISTORY))["changes"]] == ["anonymous", "grace", "ada", "pointsman"]


async def test_a_stale_expected_revision_is_409_with_both_plans_and_changes_nothing(desk):
    await desk.do("canary", version="2", share="5%")
    await desk.do("canary", version="2", share="10%")
    refused = await desk.do("switch", 409, version="3", expected_revision=2)

    assert "is at revision 3, not 2" in refused["error"]
    assert (refused["expected_revision"], refused["expected_plan"]["revision"]) == (2, 2)
    assert (refused["current_revision"], refused["current_plan"]["revision"]) == (3, 3)
    assert (await desk.get(PLAN))["revision"] == 3
    await desk.do("switch", 409, version="3", headers={"If-Match": '"2"'})
    assert (await desk.do("switch", 409, version="3", expected_revision=77))["expected_plan"] is None
    await desk.do("switch", version="3", expected_revision=3)


async def test_without_an_expected_revision_every_one_of_many_verbs_at_once_is_applied(desk):
    await asyncio.gather(*(desk.do("shadow", version="2", share=1, name=f"s{n}") for n in range(16)))
    plan = await desk.get(PLAN)

    assert sorted(c["name"] for c in plan["challengers"]) == sorted(f"s{n}" for n in range(16))
    assert plan["revision"] == 17


async def test_a_race_with_other_processes_is_made_anew(desk, monkeypatch):
    """The store takes somebody else's change between our reading and our writing, three times."""
    await desk.do("canary", version="2", share="5%")
    write, rivals = desk.store.write, [3, 2, 1]

    async def late_write(change):
        if rivals:
            rivals.pop()
            theirs = change.before
            await write(
                Change(
                    model=theirs.model,
                    revision=theirs.revision + 1,
                    at_us=1,
                    who="rival",
                    verb="x",
                    reason="",
                    before=theirs,
                    after=type(theirs)(**{**_fields(theirs), "revision": theirs.revision + 1}),
                )
            )
        await write(change)

    monkeypatch.setattr(desk.store, "write", late_write)
    reply = await desk.do("switch", version="3")

    assert reply["plan"]["revision"] == 6
    assert variants(reply) == {"canary-2": ("2", "canary")}


def _fields(struct):
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


async def test_a_version_that_fails_its_probe_is_422_and_the_plan_stays(desk):
    await desk.do("canary", version="2", share="5%")
    desk.broken.add("broken")
    refused = await desk.do("canary", 422, version="3", share="5%")

    assert "answers its own example with NaN" in refused["error"]
    assert (await desk.get(PLAN))["revision"] == 2


async def test_a_version_is_probed_once_and_pinned_by_its_digest(desk):
    await desk.do("canary", version="2", share="5%")
    digest = (await desk.get(PLAN))["challengers"][0]["digest"]
    desk.register("2", bias=99.0)
    reply = await desk.do("canary", version="2", share="50%")

    assert len(digest) == 64
    assert reply["plan"]["challengers"][0]["digest"] == digest
    assert len(desk.probed) == 2, "the champion and the challenger, once each"


async def test_a_rollback_does_not_wait_for_a_version_that_is_being_probed(desk):
    await desk.do("canary", version="2", share="5%")
    desk.probing.clear()
    asking = asyncio.create_task(desk.do("canary", version="3", share="5%"))
    while len(desk.probed) < 3:
        await desk.store.read("flight-delay")
    rolled_back = await desk.do("rollback")
    assert not asking.done()
    desk.probing.set()

    assert rolled_back["plan"]["revision"] == 3
    assert variants(await asking) == {"canary-3": ("3", "canary")}


async def test_a_failed_probe_is_repeated_when_asked_again(desk):
    desk.broken.add("broken")
    await desk.do("canary", 422, version="2", share="5%")
    desk.broken.clear()
    await desk.do("canary", version="2", share="5%")


async def test_what_the_plan_holds_moves_without_the_registry(desk):
    await desk.do("canary", version="2", share="5%")
    await desk.do("shadow", version="3", share="10%")
    desk.root.rename(desk.root.with_name("away"))

    await desk.do("canary", version="2", share="20%")
    await desk.do("promote")
    await desk.do("shadow", version="3", share="100%")
    assert (await desk.do("rollback"))["plan"]["champion"]["version"] == "1"
    assert (await desk.do("rollback", to=2))["plan"]["revision"] == 8


async def test_an_unknown_model_version_variant_or_revision_is_404(desk):
    assert "unknown" in (await desk.do("switch", 404, version="1", model="unknown"))["error"]
    assert "9" in (await desk.do("switch", 404, version="9"))["error"]
    assert "no challenger 'x'" in (await desk.do("remove", 404, name="x"))["error"]
    assert "no earlier revision 9" in (await desk.do("rollback", 404, to=9))["error"]
    assert "no earlier revision 1" in (await desk.do("rollback", 404, to=1))["error"]


@pytest.mark.parametrize(
    ("verb", "body", "message"),
    [
        ("canary", {"version": "2", "share": "5"}, 'ambiguous: write "5%"'),
        ("canary", {"version": "2", "share": 5}, "between 0% and 100%"),
        ("canary", {"version": "2", "share": True}, "share"),
        ("canary", {"version": 2, "share": 0.5}, "version"),
        ("canary", {"version": "2"}, "share"),
        ("canary", {"version": "2", "share": 0.5, "vresion": "3"}, "vresion"),
        ("canary", {"version": "2", "share": 0.5, "name": "champion"}, "champion"),
        ("canary", {"version": "1", "share": 0.5}, "use ab for an A/A"),
        ("promote", {}, "0 challengers"),
        ("rollback", {}, "nothing to roll back"),
        ("switch", {"version": "1"}, "nothing to change"),
        ("switch", {"version": "2", "wait_ms": -1}, "wait_ms"),
        ("switch", {"version": "2", "wait_ms": 1e9}, "wait_ms"),
    ],
)
async def test_a_body_that_cannot_be_meant_is_400_and_names_the_field(desk, verb, body, message):
    assert message in (await desk.do(verb, 400, **body))["error"]


async def test_a_full_plan_is_refused_with_what_is_free(desk):
    await desk.do("canary", version="2", share="60%")
    assert "has 40% to give" in (await desk.do("ab", 400, version="3", share="50%"))["error"]


async def test_every_accepted_change_goes_to_the_log_and_no_refused_one(desk):
    await desk.do("canary", version="2", share="5%")
    await desk.do("switch", 409, version="3", expected_revision=1)
    await desk.do("rollback")

    assert [change.verb for change in desk.audited] == ["start", "canary", "rollback"]
    assert [decode(Change, encode(change)) for change in desk.audited] == desk.audited


async def test_a_log_that_cannot_be_written_does_not_undo_a_change_but_is_said(desk):
    await desk.do("canary", version="2", share="5%")
    desk.audit_error = LogUnavailable("the disk is full")
    reply = await desk.do("rollback")

    assert reply["warnings"] == ["the change stands, but is missing from the log: the disk is full"]
    assert (await desk.get(PLAN))["challengers"] == []


async def test_the_first_plan_stands_without_its_audit_record(desk):
    desk.audit_error = LogUnavailable("the disk is full")
    assert (await desk.do("warm", version="2"))["plan"]["revision"] == 2


async def test_waiting_tells_when_all_living_workers_follow(desk):
    await desk.do("canary", version="2", share="5%")
    desk.worker("worker-0", 2)
    desk.worker("worker-1", 2)
    asking = asyncio.create_task(desk.do("canary", version="2", share="10%", wait_ms=5000))
    await desk.written(3)
    desk.worker("worker-0", 3)
    desk.worker("worker-1", 3)
    reply = await asking

    assert reply["converged"].startswith("2/2 in ")
    assert reply["workers"] == {"worker-0": 3, "worker-1": 3}


async def test_a_worker_that_stays_behind_ends_the_wait_and_says_why(desk):
    await desk.do("warm", version="2")
    desk.worker("worker-1", 1, error="version 2 cannot be loaded")
    desk.ticks = itertools.repeat(0)  # no time goes by until the other one follows
    asking = asyncio.create_task(
        desk.client.post("/admin/models/flight-delay/switch?wait_ms=500", json={"version": "2"})
    )
    await desk.written(3)
    desk.worker("worker-0", 3)
    desk.ticks = iter(range(500, 10**9))
    reply = (await asking).json()

    assert reply["converged"].startswith("1/2 in ")
    assert reply["converged"].endswith("not all")
    assert reply["errors"] == {"worker-1": "version 2 cannot be loaded"}


async def test_dead_workers_are_not_waited_for(desk):
    gone = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await gone.wait()
    desk.worker("worker-0", 1, pid=gone.pid)
    reply = await desk.do("switch", version="2", wait_ms=5000)

    assert reply["converged"] == "0/0: no worker runs; the plan applies when one starts"
    assert reply["workers"] == {}


async def test_nobody_waits_unless_asked(desk):
    await desk.do("warm", version="2")
    desk.worker("worker-0", 2, pid=os.getpid())
    reply = await desk.do("switch", version="2")

    assert (reply["converged"], reply["workers"]) == (None, {"worker-0": 2})


async def test_a_store_that_fell_back_takes_no_change_until_it_is_settled(desk):
    """A failover to an older copy: the workers run revision 3, the store holds 2."""
    await desk.do("canary", version="2", share="5%")
    older = await desk.store.read(MODEL)
    newer = shifts.canary(older, VersionRef(version="2", digest=older.challengers[0].digest), 0.5)
    desk.last_good.save(newer)
    desk.worker("worker-0", 3)

    refused = await desk.do("switch", 409, version="3")
    assert "holds revision 2 of 'flight-delay', though this host runs revision 3" in refused["error"]
    assert "pointsman traffic republish flight-delay" in refused["error"]
    settled = await desk.do("republish", who="ada", reason="the primary was lost")
    assert (settled["plan"]["revision"], settled["plan"]["challengers"][0]["ranges"]) == (4, [[0, 2**31]])
    assert [c["verb"] for c in (await desk.get(HISTORY))["changes"]] == ["republish", "canary", "start"]
    desk.worker("worker-0", 4)
    desk.last_good.save(await desk.store.read(MODEL))
    assert "nothing to settle" in (await desk.do("republish", 400))["error"]
    assert (await desk.do("switch", version="3"))["plan"]["revision"] == 5


async def test_what_is_stored_may_be_settled_instead_of_what_runs(desk):
    await desk.do("warm", version="2")
    desk.worker("worker-0", 90)
    assert "though worker worker-0 runs revision 90" in (await desk.do("cool", 409, version="2"))["error"]
    assert "this host has no copy of revision 90" in (await desk.do("republish", 404))["error"]
    settled = await desk.do("republish", stored=True)

    assert (settled["plan"]["revision"], [ref["version"] for ref in settled["plan"]["warm"]]) == (91, ["2"])


async def test_an_emptied_store_gets_back_what_this_host_ran_last(desk):
    await desk.do("warm", version="2")
    kept = await desk.store.read(MODEL)
    desk.last_good.save(kept)
    await desk.lose_the_store()

    for ask in (desk.get(PLAN, 409), desk.do("switch", 409, version="3")):
        assert "holds no plan of 'flight-delay', though this host runs revision 2" in (await ask)["error"]
    assert "republish what runs" in (await desk.do("republish", 404, stored=True))["error"]
    assert (await desk.do("republish"))["plan"]["revision"] == 3
    assert (await desk.do("switch", version="3"))["plan"]["revision"] == 4


async def test_another_plan_under_the_number_of_the_applied_one_is_a_store_that_fell_back(desk):
    await desk.do("warm", version="2")
    ours = await desk.store.read(MODEL)
    desk.last_good.save(replace(ours, warm=()))

    assert (
        "holds another revision 2 of 'flight-delay' than this host runs"
        in (await desk.do("switch", 409, version="3"))["error"]
    )
    assert (await desk.do("republish"))["plan"]["warm"] == []
