"""Promotions over HTTP: listed, approved by compare-and-set, refused; stale ones say so."""

import asyncio

import pytest

from contracts.errors import Conflict, LogUnavailable
from contracts.promotion import AliasBook, AliasMove, AliasTarget, Promotion
from tests.gateway.admin.conftest import MODEL
from tests.gateway.gate_results import gate_result

pytestmark = pytest.mark.anyio
PATH = f"/admin/models/{MODEL}/promotions"


class Asking:
    """Puts a promotion into the book, as a worker does that sees the alias move."""

    def __init__(self, desk):
        self.desk = desk

    async def request(self, candidate=None, promotion_id="p1", number=1):
        promotion = Promotion(
            promotion_id=promotion_id,
            model=MODEL,
            candidate=candidate or await self.desk.ref("2"),
            champion=await self.desk.ref("1"),
            why="the policy is request",
            requested_us=1,
            seen_by="host/0",
        )
        move = AliasMove(
            alias_move="m/1/champion",
            model=MODEL,
            alias="champion",
            before=AliasTarget(version="1"),
            after=AliasTarget(version="2"),
            first_seen_us=1,
            seen_by="host/0",
            policy="request",
            revision=2,
        )
        await self.desk.store.write_alias_book(
            AliasBook(model=MODEL, number=number, moves=(move,), promotions=(promotion,))
        )
        return promotion


async def post(desk, what, status=200, **body):
    response = await desk.client.post(f"{PATH}/{what}", json=body)
    assert response.status_code == status, response.text
    return response.json()


async def states(desk):
    return [(one["promotion_id"], one["state"], one["who"]) for one in (await desk.get(PATH))["promotions"]]


@pytest.fixture
async def asking(desk):
    desk.register("1")
    desk.register("2")
    (desk.root / MODEL / "aliases.json").write_text('{"champion": "1"}')
    await desk.do("alias-policy", policy="request", who="ada")
    return Asking(desk)


async def test_the_policy_is_in_the_plan_and_its_history(desk, asking):
    plan = await desk.get(f"/admin/models/{MODEL}/plan")
    history = await desk.get(f"/admin/models/{MODEL}/history")

    assert (plan["alias_policy"], plan["revision"]) == ("request", 2)
    assert (history["changes"][0]["verb"], history["changes"][0]["who"]) == ("alias-policy", "ada")
    await desk.do("alias-policy", policy="sometimes", status=400)
    await desk.do("rollback", to=1)
    assert (await desk.get(f"/admin/models/{MODEL}/plan"))["alias_policy"] == "request"


async def test_a_model_whose_aliases_nobody_saw_has_none(desk, asking):
    assert await desk.get(PATH) == {"promotions": [], "moves": []}


async def test_an_approval_makes_the_candidate_champion_and_is_audited(desk, asking):
    await asking.request()

    moved = await post(desk, "p1/approve", who="bob", reason="reviewed")

    assert moved["plan"]["champion"]["version"] == "2"
    assert [moved["change"][name] for name in ("who", "verb", "reason", "revision")] == [
        "bob",
        "approve",
        "reviewed",
        3,
    ]
    assert await states(desk) == [("p1", "approved", "bob")]
    [kept] = [record for record in desk.audited if isinstance(record, Promotion)]
    assert (kept.state, kept.revision, kept.reason) == ("approved", 3, "reviewed")
    [move] = (await desk.get(PATH))["moves"]
    assert (move["alias"], move["after"]["version"]) == ("champion", "2")
    assert "is approved already" in (await post(desk, "p1/approve", 409))["error"]
    assert "is approved already" in (await post(desk, "p1/refuse", 409))["error"]


async def test_a_refusal_changes_no_plan_and_is_audited(desk, asking):
    await asking.request()

    said = await post(desk, "p1/refuse", who="bob", reason="not now")

    assert (said["promotion"]["state"], said["promotion"]["reason"], said["warnings"]) == ("refused", "not now", [])
    assert (await desk.get(f"/admin/models/{MODEL}/plan"))["revision"] == 2
    assert desk.audited[-1].state == "refused"
    assert "refused already (not now)" in (await post(desk, "p1/approve", 409))["error"]


async def test_another_champion_makes_it_stale(desk, asking):
    await asking.request()
    desk.register("3")
    await desk.do("switch", version="3")

    error = (await post(desk, "p1/approve", 409))["error"]

    assert "stale" in error
    assert f"pointsman traffic switch {MODEL} 2" in error
    assert (await states(desk))[0][1] == "pending"
    await post(desk, "p1/refuse")


async def test_other_files_under_the_candidate_s_number_make_it_stale(desk, asking):
    await asking.request()
    desk.register("2", bias=9.0)

    error = (await post(desk, "p1/approve", 409))["error"]

    assert "stale" in error
    assert "register the files as a new version" in error
    assert (await desk.get(f"/admin/models/{MODEL}/plan"))["revision"] == 2


async def test_an_approval_still_needs_the_gate_that_the_plan_requires(desk, asking):
    await desk.do("require-gate", required=True)
    promotion = await asking.request()

    assert "requires a gate" in (await post(desk, "p1/approve", 409))["error"]
    await desk.store.keep_gate(gate_result(model=MODEL, candidate=promotion.candidate, baseline=promotion.champion))
    assert (await post(desk, "p1/approve"))["plan"]["champion"]["version"] == "2"


async def test_a_candidate_that_cannot_be_served_is_422(desk, asking):
    await asking.request()
    desk.broken.add("broken")

    await post(desk, "p1/approve", 422)

    assert (await states(desk))[0][1] == "pending"


async def test_of_many_approvals_at_once_one_is_made(desk, asking):
    await asking.request()

    replies = await asyncio.gather(*(desk.client.post(f"{PATH}/p1/approve", json={"who": str(n)}) for n in range(5)))

    assert sorted(reply.status_code for reply in replies) == [200, 409, 409, 409, 409]
    assert (await desk.get(f"/admin/models/{MODEL}/plan"))["revision"] == 3
    assert len([record for record in desk.audited if isinstance(record, Promotion)]) == 1


async def test_an_expected_revision_is_held_to(desk, asking):
    await asking.request()

    assert (await post(desk, "p1/approve", 409, expected_revision=1))["current_revision"] == 2
    await post(desk, "p1/approve", expected_revision=2)


async def test_an_unknown_promotion_is_404_and_a_bad_body_400(desk, asking):
    await asking.request()

    assert "pointsman promotions list" in (await post(desk, "p2/approve", 404))["error"]
    await post(desk, "p2/refuse", 404)
    await post(desk, "p1/approve", 400, why="typo")


async def test_a_full_log_is_said_and_the_decision_stands(desk, asking):
    await asking.request()
    desk.audit_error = LogUnavailable("the disk is full")

    said = await post(desk, "p1/refuse")

    assert "the disk is full" in said["warnings"][0]
    assert (await states(desk))[0][1] == "refused"


async def test_a_refusal_that_loses_a_race_is_made_anew(desk, asking, monkeypatch):
    await asking.request()
    real, lost = desk.store.write_alias_book, []

    async def slower(book):
        if not lost:
            lost.append(book)
            raise Conflict("someone else wrote them")
        await real(book)

    monkeypatch.setattr(desk.store, "write_alias_book", slower)
    await post(desk, "p1/refuse", who="bob")

    assert lost
    assert await states(desk) == [("p1", "refused", "bob")]
