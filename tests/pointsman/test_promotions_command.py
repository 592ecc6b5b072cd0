"""`pointsman promotions` and `traffic alias-policy`: a move of the alias waits for a person, who approves or refuses it."""

import asyncio

from contracts.plan import VersionRef
from contracts.promotion import AliasBook, Promotion
from gateway.plan_store.sqlite import SqlitePlanStore
from registry_client.folder import FolderRegistry
from tests.pointsman.traffic_desk import MODEL


def asked_for(traffic, candidate="2"):
    """What a worker writes down that sees the alias move, where the policy is request."""

    async def write():
        registry = FolderRegistry(traffic.folder / "models", traffic.folder / "cache")
        refs = [VersionRef(version=v, digest=(await registry.fetch(MODEL, v)).digest) for v in (candidate, "1")]
        store = SqlitePlanStore(traffic.folder / "plans.sqlite")
        number = 1 + getattr(await store.alias_book(MODEL), "number", 0)
        one = Promotion(
            promotion_id=f"p{number}",
            model=MODEL,
            candidate=refs[0],
            champion=refs[1],
            why="the policy is request",
            requested_us=1,
            seen_by="host/0",
        )
        await store.write_alias_book(AliasBook(model=MODEL, number=number, promotions=(one,)))
        await store.aclose()
        return one.promotion_id

    return asyncio.run(write())


def test_a_policy_is_set_and_shown(traffic):
    out, err = traffic.ok(
        "traffic", "alias-policy", MODEL, "request", "--reason", "a person looks first", "--wait", "0"
    )

    assert "moves of the alias champion: request" in out
    assert "changed: the alias champion: request" in err
    assert traffic.json("traffic", "show", MODEL)["alias_policy"] == "request"
    assert traffic.run("traffic", "alias-policy", MODEL, "sometimes")[0] == 2


def test_a_promotion_is_listed_refused_and_another_approved(traffic):
    traffic.ok("traffic", "alias-policy", MODEL, "request", "--wait", "0")
    assert "no promotion waits" in traffic.ok("promotions", "list", MODEL)[0]
    first = asked_for(traffic)

    out, _ = traffic.ok("promotions", "list")
    assert all(word in out for word in (first, MODEL, "pending", "the policy is request"))
    assert "refused" in traffic.ok("promotions", "refuse", MODEL, first, "--reason", "not now")[0]
    code, _, err = traffic.run("promotions", "approve", MODEL, first)
    assert (code, "refused already (not now)" in err) == (1, True)

    second = asked_for(traffic)
    _, err = traffic.ok("promotions", "approve", MODEL, second, "--reason", "seen", "--who", "ada", "--wait", "0")
    assert "changed: champion 1 → 2" in err
    [found] = traffic.json("promotions", "list", MODEL)["promotions"]
    assert (found["state"], found["who"], found["reason"]) == ("approved", "ada", "seen")
