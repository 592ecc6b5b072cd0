"""How the workers of a fleet follow aliases: real store, real registry, real sessions; a step of time is a call of a tick."""

import asyncio
import itertools

import pytest

from contracts.errors import StoreUnavailable
from contracts.gate_pin import GatePin
from contracts.plan import Change
from contracts.promotion import AliasMove, Promotion
from gateway.clock import Clock
from gateway.traffic import shifts
from gateway.traffic.alias_following import AliasFollower
from registry_client.folder import FolderRegistry
from tests.gateway.gate_results import gate_result
from tests.gateway.plan_host import looked, settled, state

IDS = itertools.count()
CLOCK = Clock(now_us=lambda: 1_000_000, mono_ns=lambda: 0, new_id=lambda: f"id-{next(IDS)}")


@pytest.fixture
def host(host):
    host.alias(champion="1")
    return host


def told(host, kind):
    return [record for record in host.audited if isinstance(record, kind)]


def run(host, scenario, workers=1, policy=None):
    """Start workers, set the policy by hand, and play."""

    async def whole():
        models = [host.worker(clock=CLOCK) for _ in range(workers)]
        for each in models:
            await each.start()
        if policy is not None:
            await host.shift(lambda plan: shifts.set_alias_policy(plan, policy))
            await asyncio.gather(*map(settled, models))
        return await scenario(*models)

    return asyncio.run(whole())


async def book(host):
    store = host.store()
    try:
        return await store.alias_book("m")
    finally:
        await store.aclose()


def test_a_first_look_is_no_move(host):
    async def play(_):
        return await book(host)

    kept = run(host, play)

    assert kept.says({"champion": "1"})
    assert (kept.moves, kept.promotions, told(host, AliasMove)) == ((), (), [])


def test_of_many_workers_that_see_a_move_one_writes_it_down_and_one_follows(host):
    async def play(*models):
        host.alias(champion="2", blue="3")
        await asyncio.gather(*map(looked, models))
        await asyncio.gather(*map(settled, models))
        return [state(each)[:2] for each in models]

    assert run(host, play, workers=4, policy="follow") == [(3, "2")] * 4
    moves = told(host, AliasMove)
    assert [(m.alias, m.before and m.before.version, m.after.version, m.policy) for m in moves] == [
        ("blue", None, "3", "follow"),
        ("champion", "1", "2", "follow"),
    ]
    assert all(len(move.after.digest) == 64 for move in moves)
    assert [change.verb for change in told(host, Change)] == ["start", "switch"]


def test_a_worker_that_looked_long_ago_takes_nothing_back(host):
    async def play(fresh, late):
        host.alias(champion="2")
        await looked(fresh)
        await settled(late)
        await settled(fresh)
        return state(fresh)[:2], state(late)[:2]

    assert run(host, play, workers=2) == ((2, "2"), (2, "2"))
    assert len(told(host, AliasMove)) == 1


def test_a_rollback_after_a_followed_move_stands_though_others_see_it_late(host):
    async def play(early, late):
        host.alias(champion="2")
        await looked(early)
        await host.shift(shifts.rollback)
        await looked(late)
        await settled(early)
        return state(early)[:2], state(late)[:2]

    assert run(host, play, workers=2, policy="follow") == ((4, "1"), (4, "1"))


def test_a_shift_whose_maker_died_before_it_said_so_is_not_made_twice(host):
    """The move is still open in the book, the plan has it, and a person took it back."""

    async def play(models):
        real, store = models._store.write_alias_book, models._store
        calls = itertools.count()

        async def dies(written):
            if next(calls) == 1:
                raise StoreUnavailable("killed")
            await real(written)

        store.write_alias_book = dies
        host.alias(champion="2")
        await looked(models)
        assert (await book(host)).unsettled is not None
        store.write_alias_book = real
        await host.shift(shifts.rollback)
        later = host.worker(clock=CLOCK)
        await later.start()
        return state(later)[:2], (await book(host)).unsettled

    assert run(host, play, policy="follow") == ((4, "1"), None)


def test_ignored_moves_and_deletions_are_written_down_and_do_nothing(host):
    async def play(models):
        host.alias(champion="2")
        await looked(models)
        host.alias()
        await looked(models)
        return state(models)[:2]

    assert run(host, play, policy="ignore") == (2, "1")
    assert [(m.before.version, m.after and m.after.version) for m in told(host, AliasMove)] == [("1", "2"), ("2", None)]
    assert told(host, Promotion) == []


def test_requested_moves_wait_are_superseded_and_withdrawn(host):
    async def play(*models):
        for version in "231":
            host.alias(champion=version)
            await asyncio.gather(*map(looked, models))
        return [state(each)[:2] for each in models]

    assert run(host, play, workers=3, policy="request") == [(2, "1")] * 3
    kept = asyncio.run(book(host))
    assert [(p.candidate.version, p.state) for p in kept.promotions] == [("3", "withdrawn"), ("2", "superseded")]
    assert [(p.candidate.version, p.state) for p in told(host, Promotion)] == [
        ("2", "pending"),
        ("2", "superseded"),
        ("3", "pending"),
        ("3", "withdrawn"),
    ]


def test_a_followed_move_without_the_gate_that_is_required_waits(host):
    async def play(models):
        await host.shift(lambda plan: shifts.require_gate(plan, required=True))
        await settled(models)
        host.alias(champion="2")
        await looked(models)
        return state(models)[:2]

    assert run(host, play, policy="follow") == (3, "1")
    [waiting] = asyncio.run(book(host)).promotions
    assert waiting.state == "pending"
    assert "a gate is required, and version '2'" in waiting.why


def test_a_followed_move_with_a_passing_gate_shifts(host):
    async def play(models):
        await host.shift(lambda plan: shifts.require_gate(plan, required=True))
        store = host.store()
        await store.keep_gate(gate_result(1, model="m", candidate=await host.ref("2"), baseline=await host.ref("1")))
        await store.aclose()
        host.alias(champion="2")
        await looked(models)
        return state(models)[:2]

    assert run(host, play, policy="follow") == (4, "2")


def test_a_version_that_cannot_be_served_is_not_followed_until_it_can(host):
    async def play(models):
        host.put("4", b"no graph")
        host.alias(champion="4")
        await looked(models)
        broken = state(models)[:2], "4" in models.errors["m"]
        host.put("4", host.graphs.mlp(bias=4.0).SerializeToString())
        await looked(models)
        return broken, state(models)[:2], models.errors

    assert run(host, play, policy="follow") == (((2, "1"), True), (3, "4"), {})
    assert len(told(host, AliasMove)) == 1


def test_a_candidate_that_a_person_made_champion_waits_no_longer(host):
    async def play(models):
        host.alias(champion="2")
        await looked(models)
        two = await host.ref("2")
        await host.shift(lambda plan: shifts.switch(plan, two))
        await settled(models)
        return [(p.state, p.who, p.revision) for p in (await book(host)).promotions]

    assert run(host, play, policy="request") == [("withdrawn", "operator", 3)]


def test_what_moved_while_nobody_ran_is_followed_at_the_next_start(host):
    async def play(_):
        host.alias(champion="2")
        later = host.worker(clock=CLOCK)
        await later.start()
        return state(later)[:2]

    assert run(host, play, policy="follow") == (3, "2")


def test_only_the_files_of_what_moved_are_asked_for(host):
    fetched = []

    class Counting(FolderRegistry):
        async def fetch(self, model, version, digest=None):
            fetched.append(version)
            return await super().fetch(model, version, digest)

    async def audit(record):
        host.audited.append(record)

    async def scenario():
        registry, store = Counting(host.path / "models", host.path / "cache"), host.store()
        plan = shifts.start("m", await host.ref("1"), salt="salt")
        follower = AliasFollower(registry, store, None, audit, CLOCK, "w")
        host.alias(champion="1", blue="2")
        await follower.follow(plan, {"champion": "1", "blue": "2"})
        first = list(fetched)
        host.alias(champion="1", blue="2", green="3")
        await follower.follow(plan, {"champion": "1", "blue": "2", "green": "3"})
        await store.aclose()
        return first

    assert asyncio.run(scenario()) == []
    assert fetched == ["3"]


def test_a_followed_move_waits_where_the_gate_that_passed_is_not_of_the_suite_that_the_plan_pins(host):
    async def play(models):
        wanted = GatePin(policy_sha256="f" * 64, suite="hard.toml")
        await host.shift(lambda plan: shifts.require_gate(plan, required=True, pin=wanted))
        store = host.store()
        between = {"model": "m", "candidate": await host.ref("2"), "baseline": await host.ref("1")}
        await store.keep_gate(gate_result(1, **between))
        host.alias(champion="2")
        await looked(models)
        waits = state(models)[:2], (await book(host)).promotions
        await store.keep_gate(gate_result(2, policy_sha256="f" * 64, **between))
        await store.aclose()
        host.alias(champion="1")
        await looked(models)
        host.alias(champion="2")
        await looked(models)
        return waits, state(models)[:2]

    (at, [waiting]), after = run(host, play, policy="follow")
    assert at == (3, "1")
    assert "of policy ffffffffffff (hard.toml): those that it has are of policy bbbbbbbbbbbb" in waiting.why
    assert waiting.why.endswith("run `pointsman gate m 2 --suite hard.toml`")
    assert after == (4, "2")


def test_a_person_who_bears_the_gateways_name_has_shifted_by_hand_like_any_other(host):
    """In the image the user is called so."""

    async def play(models):
        three = await host.ref("3")
        await host.shift(lambda plan: shifts.switch(plan, three), who="pointsman")
        await settled(models)
        host.alias(champion="2")
        await looked(models)
        return state(models)[:2], [(move.alias, move.after.version) for move in (await book(host)).moves]

    assert run(host, play) == ((2, "3"), [("champion", "2")])
