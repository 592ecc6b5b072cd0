"""What every plan store keeps its word about; a new store is one more line in `open_store`."""

import asyncio
import random
import uuid

import pytest
from msgspec.structs import replace

from contracts.errors import Conflict
from contracts.plan import Change, VersionRef
from contracts.promotion import AliasBook, AliasTarget
from gateway.plan_store.redis import RedisPlanStore
from gateway.plan_store.sqlite import SqlitePlanStore
from gateway.plan_store.store import GATES_MAX, REPUBLISH
from gateway.traffic import shifts
from tests.gateway.gate_results import gate_result

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("patient_links")]

WRITERS = 50


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(params=["sqlite", "redis"])
def open_store(request, tmp_path):
    """Opens the same store again at each call, as another process of the same fleet would."""
    if request.param == "sqlite":
        return lambda: SqlitePlanStore(tmp_path / "plans.sqlite", busy_timeout_ms=100_000)
    url = request.getfixturevalue("redis_server").url
    return lambda: RedisPlanStore(url, lambda: uuid.uuid4().hex, random.Random(7).random)


@pytest.fixture
async def store(open_store):
    opened = open_store()
    yield opened
    await opened.aclose()


def first(model="m"):
    plan = shifts.start(model, VersionRef(version="1", digest="d1"), salt="salt")
    return changed(None, plan, "start")


def changed(before, after, verb="canary", who="ada"):
    return Change(
        model=after.model,
        revision=after.revision,
        at_us=7,
        who=who,
        verb=verb,
        reason="because",
        before=before,
        after=after,
    )


def next_change(plan, who="ada", share=0.1):
    return changed(plan, shifts.canary(plan, VersionRef(version="2", digest="d2"), share), who=who)


async def test_a_model_without_a_plan_is_none_and_has_no_history(store):
    assert await store.read("m") is None
    assert await store.history("m", 10) == []
    assert await store.history(None, 10) == []


async def test_what_was_written_is_read_by_everyone(store, open_store):
    change = first()
    await store.write(change)
    other = open_store()

    assert await store.read("m") == change.after
    assert await other.read("m") == change.after
    await other.aclose()


async def test_a_change_made_from_another_revision_is_a_conflict_and_changes_nothing(store):
    await store.write(one := first())
    await store.write(two := next_change(one.after))

    with pytest.raises(Conflict, match="at revision 2, not 1"):
        await store.write(next_change(one.after, who="late"))
    with pytest.raises(Conflict, match="at revision 2, not none"):
        await store.write(first())
    assert await store.read("m") == two.after
    assert await store.history("m", 10) == [two, one]


async def test_a_change_of_a_plan_that_never_was_is_a_conflict(store):
    with pytest.raises(Conflict, match="at revision none, not 1"):
        await store.write(next_change(first().after))
    assert await store.history(None, 10) == []


async def test_history_tells_who_when_why_before_and_after_newest_first(store):
    await store.write(one := first())
    await store.write(two := next_change(one.after, who="grace"))
    await store.write(three := next_change(two.after, share=0.2))

    assert await store.history("m", 10) == [three, two, one]
    assert await store.history("m", 2) == [three, two]
    assert await store.history("m", 1, upto=2) == [two]
    assert await store.history("m", 10, upto=0) == []
    (newest,) = await store.history("m", 1)
    assert (newest.who, newest.at_us, newest.reason, newest.before, newest.after) == (
        "ada",
        7,
        "because",
        two.after,
        three.after,
    )


async def test_models_do_not_touch_each_other_and_share_one_audit_trail(store):
    await store.write(a := first("a"))
    await store.write(b := first("b"))
    await store.write(a2 := next_change(a.after))

    assert await store.read("b") == b.after
    assert await store.history("b", 10) == [b]
    assert await store.history(None, 10) == [a2, b, a]


async def news(store, before):
    """The generation once it is another; the bound is for a store that never tells."""
    for _ in range(20_000):
        if (after := await store.generation()) != before:
            return after
        await store.changed(0.005)
    raise AssertionError("the store has no news")


async def test_the_generation_changes_with_every_write_of_anyone_and_only_then(store, open_store):
    other = open_store()
    seen = [await store.generation()]
    await store.write(one := first())
    seen.append(await store.generation())
    await other.write(two := next_change(one.after))
    seen.append(await news(store, seen[-1]))
    await other.write(first("another"))
    seen.append(await news(store, seen[-1]))

    assert len(set(seen)) == len(seen)
    assert await store.generation() == seen[-1]
    await store.read("m")
    await store.history(None, 10)
    with pytest.raises(Conflict):
        await store.write(next_change(one.after))
    assert await store.generation() == seen[-1]
    assert await store.read("m") == two.after
    await other.aclose()


async def test_waiting_for_a_change_has_an_end(store):
    await store.generation()
    async with asyncio.timeout(100):
        await store.changed(0.01)


async def test_of_many_writers_at_once_exactly_one_wins_each_revision(store, open_store):
    """50 tasks, on 5 stores with a thread each, all from the same revision, five times over."""
    await store.write(latest := first())
    others = [open_store() for _ in range(5)]
    for _ in range(5):
        changes = [next_change(latest.after, who=f"writer-{n}", share=(n + 1) / 100) for n in range(WRITERS)]
        results = await asyncio.gather(
            *(others[n % 5].write(change) for n, change in enumerate(changes)), return_exceptions=True
        )
        (winner,) = [change for change, result in zip(changes, results, strict=True) if result is None]
        assert all(isinstance(result, Conflict) for result in results if result is not None)
        assert await store.read("m") == winner.after
        latest = winner
    assert [change.revision for change in await store.history("m", 100)] == [6, 5, 4, 3, 2, 1]
    await asyncio.gather(*(other.aclose() for other in others))


async def test_a_change_that_skips_a_revision_is_a_bug_of_ours(store):
    change = next_change(first().after)
    skipping = replace(change, revision=9, after=replace(change.after, revision=9))
    with pytest.raises(AssertionError, match="one step"):
        await store.write(skipping)


async def test_a_republished_plan_may_leap_over_what_the_store_lost(store):
    await store.write(one := first())
    leap = replace(next_change(one.after), revision=9, verb=REPUBLISH)
    leap = replace(leap, after=replace(leap.after, revision=9))
    await store.write(leap)
    await store.write(tenth := next_change(leap.after, share=0.2))

    assert await store.read("m") == tenth.after
    assert await store.history("m", 10) == [tenth, leap, one]
    assert await store.history("m", 1, upto=8) == [one]
    with pytest.raises(AssertionError, match="one step"):
        await store.write(replace(leap, revision=1, after=replace(leap.after, revision=1)))


def gate(number, model="m", at_us=None):
    return gate_result(number, model=model, evaluated_us=1_700_000_000_000_000 + number if at_us is None else at_us)


async def test_gate_results_are_kept_for_everyone_the_last_evaluated_first(store, open_store):
    assert await store.gates("m", 10) == []
    for number in (2, 1, 3):
        await store.keep_gate(gate(number))
    await store.keep_gate(gate(7, "other"))
    other = open_store()

    assert await other.gates("m", 10) == [gate(3), gate(2), gate(1)]
    assert await store.gates("m", 2) == [gate(3), gate(2)]
    assert await store.gates("other", 10) == [gate(7, "other")]
    await other.aclose()


async def test_gate_results_of_one_moment_stand_in_the_order_of_their_ids(store):
    for number in (2, 3, 1):
        await store.keep_gate(gate(number, at_us=5))
    assert await store.gates("m", 10) == [gate(number, at_us=5) for number in (3, 2, 1)]


async def test_the_same_gate_result_twice_is_kept_once(store):
    await store.keep_gate(gate(1))
    await store.keep_gate(gate(1))
    assert await store.gates("m", 10) == [gate(1)]


async def test_of_gate_results_a_bounded_number_stays_and_the_oldest_go(store):
    for number in range(GATES_MAX + 3):
        await store.keep_gate(gate(number))
    await store.keep_gate(gate(0))
    kept = await store.gates("m", GATES_MAX + 10)
    assert len(kept) == GATES_MAX
    assert (kept[0], kept[-1]) == (gate(GATES_MAX + 2), gate(3))


async def test_gates_and_plans_do_not_touch_each_other(store):
    await store.write(one := first())
    await store.keep_gate(gate(1))
    assert await store.read("m") == one.after
    assert await store.history(None, 10) == [one]


def book(number, version="1", model="m"):
    return AliasBook(model=model, number=number, aliases={"champion": AliasTarget(version=version, digest="d")})


async def test_a_book_of_aliases_is_read_by_everyone_and_touches_no_plan(store, open_store):
    assert await store.alias_book("m") is None
    await store.write_alias_book(book(1))
    await store.write_alias_book(book(2, "7"))
    await store.write_alias_book(book(1, model="other"))
    other = open_store()

    assert await other.alias_book("m") == book(2, "7")
    assert await store.alias_book("other") == book(1, model="other")
    assert await store.read("m") is None
    assert await store.history(None, 10) == []
    await other.aclose()


@pytest.mark.parametrize("number", [1, 2, 4])
async def test_a_book_made_from_another_number_is_a_conflict_and_changes_nothing(store, number):
    await store.write_alias_book(book(1))
    await store.write_alias_book(book(2))

    with pytest.raises(Conflict, match="aliases of 'm' are at number 2"):
        await store.write_alias_book(book(number, "9"))

    assert await store.alias_book("m") == book(2)


async def test_of_many_who_write_a_book_at_once_exactly_one_wins(open_store):
    stores = [open_store() for _ in range(8)]

    async def write(number, store):
        try:
            await store.write_alias_book(book(1, str(number)))
        except Conflict:
            return None
        return number

    won = [n for n in await asyncio.gather(*(write(n, s) for n, s in enumerate(stores))) if n is not None]
    kept = await stores[0].alias_book("m")
    for store in stores:
        await store.aclose()

    assert len(won) == 1
    assert kept == book(1, str(won[0]))
