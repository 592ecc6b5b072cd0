"""The assignment law: whatever verbs follow each other, units move only as the verb says (promise 5)."""

from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import InvalidInput, NotFound
from contracts.plan import BUCKETS, CHAMPION, Plan, VersionRef
from contracts.wire import decode, encode
from gateway.traffic import shifts
from gateway.traffic.shares import buckets_of

VERSIONS = ("1", "2", "3", "4")


class Step(NamedTuple):
    verb: str
    version: str
    share: float
    name: str | None


def ref(version):
    return VersionRef(version=version, digest=f"{version}-digest")


SHARES = st.one_of(st.sampled_from([0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0]), st.floats(0, 1))
CHALLENGES = st.builds(
    Step,
    st.sampled_from(["canary", "ab", "shadow"]),
    st.sampled_from(VERSIONS),
    SHARES,
    st.sampled_from([None, "x", "y"]),
)
OTHERS = st.builds(
    Step,
    st.sampled_from(["switch", "promote", "rollback", "remove", "warm", "cool"]),
    st.sampled_from(VERSIONS),
    st.just(0.0),
    st.sampled_from([None, "x", "canary-2", "ab-3", "shadow-4"]),
)
STEPS = st.lists(st.one_of(CHALLENGES, CHALLENGES, OTHERS), max_size=30)


def apply(plan, step):
    version = ref(step.version)
    match step.verb:
        case "canary" | "ab" | "shadow":
            return getattr(shifts, step.verb)(plan, version, step.share, step.name)
        case "switch" | "warm":
            return getattr(shifts, step.verb)(plan, version)
        case "cool":
            return shifts.cool(plan, step.version)
        case "remove":
            return shifts.remove(plan, step.name or "canary-2")
        case "promote":
            return shifts.promote(plan, step.name)
        case _:
            return shifts.rollback(plan)


def owners(plan):
    """Cut points and, for each, who owns the buckets from there to the next."""
    pieces = sorted((start, end, c.name) for c in plan.challengers if c.mode != "shadow" for start, end in c.ranges)
    points = {0: CHAMPION}
    for start, end, name in pieces:
        points[start] = name
        points.setdefault(end, CHAMPION)
    return points


def owner_at(points, bucket):
    return points[max(start for start in points if start <= bucket)]


def moves(before, after):
    """Every (from, to) by which at least one bucket changed its owner."""
    old, new = owners(before), owners(after)
    cuts = sorted({cut for cut in (*old, *new) if cut < BUCKETS})
    pairs = ((owner_at(old, cut), owner_at(new, cut)) for cut in cuts)
    return {(a, b) for a, b in pairs if a != b}


def live(plan):
    return {c.name: c for c in plan.challengers if c.mode != "shadow"}


def check_laws(before, after, step):
    assert after.revision == before.revision + 1
    assert decode(Plan, encode(after)) == after, "and a decoded plan has checked its ranges"
    assert after.salt == before.salt
    working = {after.champion, *map(shifts.ref_of, after.challengers)}
    assert len(after.warm) <= shifts.WARM_MAX
    assert not working & set(after.warm)
    assert len(set(after.warm)) == len(after.warm)
    for challenger in after.challengers:
        if challenger.mode == "shadow":
            assert challenger.ranges in ((), ((0, challenger.ranges[-1][1] if challenger.ranges else 0),))
    check_moves(before, after, step)


def check_moves(before, after, step):
    moved = moves(before, after)
    ended = set(live(before)) - set(live(after))
    if step.verb not in ("canary", "ab"):
        assert moved <= {(name, CHAMPION) for name in ended}
        return
    (chosen,) = [c for c in after.challengers if c not in before.challengers] or [None]
    if chosen is None:
        assert moved == set()
        return
    assert sum(end - start for start, end in chosen.ranges) == buckets_of(step.share)
    assert len(ended) <= 1, "only the challenger that changes its mode may end"
    (old,) = [c for c in live(before).values() if c.name == chosen.name or c.name in ended] or [None]
    if old is None or chosen.share >= old.share:
        assert moved <= {(CHAMPION, chosen.name)} | {(name, chosen.name) for name in ended}
    else:
        assert moved <= {(old.name, CHAMPION)} | {(name, chosen.name) for name in ended}


@settings(deadline=None, max_examples=400)
@given(STEPS)
def test_units_move_only_as_the_verb_says(steps):
    plan = shifts.start("m", ref("1"), "salt")
    for step in steps:
        before = encode(plan)
        try:
            after = apply(plan, step)
        except (InvalidInput, NotFound):
            assert encode(plan) == before
            continue
        check_laws(plan, after, step)
        plan = after


@settings(deadline=None, max_examples=200)
@given(st.lists(SHARES, min_size=2, max_size=12))
def test_a_ramp_up_only_adds_units_and_a_ramp_down_only_gives_back(shares):
    plan = shifts.canary(shifts.start("m", ref("1"), "salt"), ref("3"), 0.2)
    for share in (*sorted(shares), *sorted(shares, reverse=True)):
        try:
            after = shifts.canary(plan, ref("2"), share)
        except InvalidInput:
            assert share > 0.8 - 1e-6
            continue
        old, new = (live(p)["canary-2"].share if "canary-2" in live(p) else 0.0 for p in (plan, after))
        assert moves(plan, after) <= ({(CHAMPION, "canary-2")} if new >= old else {("canary-2", CHAMPION)})
        plan = after


@pytest.mark.parametrize("parts", [2, 3, 7, 10, 16])
def test_challengers_with_equal_shares_that_add_up_to_everything_all_fit(parts):
    plan = shifts.start("m", ref("1"), "salt")
    for n in range(parts):
        plan = shifts.ab(plan, ref(f"v{n}"), 1 / parts)

    assert plan.champion_share <= parts / BUCKETS
    assert sum(len(c.ranges) for c in plan.challengers) <= 4 * parts


@settings(deadline=None, max_examples=150)
@given(STEPS, STEPS)
def test_restoring_a_revision_brings_every_unit_back_where_it_was(first, second):
    plan = shifts.start("m", ref("1"), "salt")
    for step in first:
        plan = _try(plan, step)
    older = plan
    for step in second:
        plan = _try(plan, step)
    restored = shifts.restore(plan, older)

    assert restored.revision == plan.revision + 1
    assert moves(older, restored) == set()
    assert restored.champion == older.champion


def _try(plan, step):
    try:
        return apply(plan, step)
    except (InvalidInput, NotFound):
        return plan
