"""The assignment law: who answers is a pure function of plan and unit."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xxhash import xxh3_64_intdigest

from contracts.errors import NotFound
from contracts.plan import BUCKETS, Challenger, Plan, VersionRef
from gateway.traffic import shifts
from gateway.traffic.routing import named_variant, points_of, route, route_to, shadow_routes, stand_in, unit_hash

UNITS = [f"N{number:05d}" for number in range(20_000)]
refs = {version: VersionRef(version=version, digest=version * 64) for version in "123456"}
shares = st.integers(0, 10_000).map(lambda part: part / 10_000)


def start(salt="salt"):
    return shifts.start("flight-delay", refs["1"], salt)


def owners(plan, units=UNITS[:2_000]):
    points = points_of(plan)
    return {unit: route(points, unit, "routing_key").variant.name for unit in units}


@st.composite
def plans(draw):
    """Plans as verbs make them: several challengers, raised and lowered."""
    plan = start(draw(st.text(max_size=8)))
    for version in draw(st.permutations(["2", "3", "4"])):
        free = plan.champion_share
        verb = draw(st.sampled_from([shifts.canary, shifts.ab]))
        for _ in range(draw(st.integers(1, 3))):
            share = draw(shares) * free
            if share >= 1e-4:
                plan = verb(plan, refs[version], share)
    return plan


@given(plans(), st.text(min_size=1, max_size=30))
@settings(max_examples=100, deadline=None)
def test_same_unit_same_variant_whatever_the_worker(plan, unit):
    first, second = points_of(plan), points_of(Plan(**{name: getattr(plan, name) for name in plan.__struct_fields__}))

    assert route(first, unit, "routing_key") == route(second, unit, "routing_key")


@given(plans(), st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=50))
@settings(max_examples=100, deadline=None)
def test_lookup_equals_reading_the_ranges_of_the_plan(plan, units):
    points = points_of(plan)

    for unit in units:
        bucket = unit_hash(plan.salt, unit) >> 32
        owning = [c.name for c in plan.challengers for lo, hi in c.ranges if c.mode != "shadow" and lo <= bucket < hi]
        assert [route(points, unit, "routing_key").variant.name] == (owning or ["champion"])


@given(plans())
@settings(max_examples=100, deadline=None)
def test_the_ends_of_every_range_belong_to_whom_the_plan_says(plan):
    points = points_of(plan)

    covered = 0
    for start_bucket, owner in zip(points.starts, points.owners, strict=True):
        assert 0 <= start_bucket <= BUCKETS
        following = [s for s in points.starts if s > start_bucket]
        covered += (following[0] if following else BUCKETS) - start_bucket if start_bucket < BUCKETS else 0
        assert owner.name in points.named
    assert covered == BUCKETS
    assert math.isclose(sum(v.share for v in points.named.values() if v.role != "shadow"), 1.0)


@given(st.lists(shares.filter(lambda share: share >= 1e-4), min_size=2, max_size=6))
@settings(max_examples=30, deadline=None)
def test_a_ramp_moves_units_only_between_champion_and_that_challenger(ramp):
    plan = shifts.canary(start(), refs["2"], 0.2)
    before = owners(plan)

    for share in ramp:
        share *= 0.7
        earlier = {c.name: c.share for c in plan.challengers}.get("canary-3", 0.0)
        plan = shifts.canary(plan, refs["3"], max(share, 1e-4))
        after = owners(plan)
        grew = plan.challengers[1].share >= earlier
        moved = {(before[unit], after[unit]) for unit in before if before[unit] != after[unit]}
        assert moved <= ({("champion", "canary-3")} if grew else {("canary-3", "champion")})
        before = after


@pytest.mark.parametrize("share", [0.01, 0.05, 0.5, 0.9])
def test_shares_are_kept_within_binomial_noise(share):
    points = points_of(shifts.canary(start(), refs["2"], share))

    hits = sum(route(points, unit, "routing_key").variant.name == "canary-2" for unit in UNITS)

    noise = math.sqrt(len(UNITS) * share * (1 - share))
    assert abs(hits - len(UNITS) * share) < 5 * noise


def test_another_salt_deals_the_units_anew():
    one = owners(shifts.canary(start("a"), refs["2"], 0.5))
    other = owners(shifts.canary(start("b"), refs["2"], 0.5))

    agree = sum(one[unit] == other[unit] for unit in one) / len(one)
    assert 0.4 < agree < 0.6


def test_the_record_lets_anyone_compute_the_route_again():
    plan = shifts.canary(start(), refs["2"], 0.3)

    chosen = route(points_of(plan), "N14228", "routing_key")

    assert chosen.assignment.unit_hash == f"{xxh3_64_intdigest(b'salt' + bytes(1) + b'N14228'):016x}"
    assert chosen.assignment.propensity == chosen.assignment.share == chosen.variant.share
    assert (chosen.assignment.reason, chosen.assignment.unit_source) == ("hash", "routing_key")


def test_a_forced_route_is_certain_and_says_so():
    points = points_of(shifts.canary(start(), refs["2"], 0.3))

    forced = route_to(points, named_variant(points, "canary-2"), "u", "request_id", "forced")

    assert (forced.assignment.propensity, forced.assignment.reason, forced.assignment.share) == (
        1.0,
        "forced",
        forced.variant.share,
    )


def test_the_champion_stands_in_under_the_units_own_propensity():
    points = points_of(shifts.canary(start(), refs["2"], 1.0))
    missed = route(points, "u", "routing_key")

    instead = stand_in(points, missed)

    assert instead.variant.name == "champion"
    assert instead.assignment.reason == "fallback"
    assert instead.assignment.propensity == missed.assignment.propensity


def test_an_unknown_variant_is_refused_with_the_names_there_are():
    points = points_of(shifts.canary(start(), refs["2"], 0.3))

    with pytest.raises(NotFound, match="no variant 'canary-9' in revision 2: use champion, canary-2"):
        named_variant(points, "canary-9")


def test_shadows_sample_independently_of_the_answer_and_of_each_other():
    plan = shifts.shadow(shifts.shadow(shifts.canary(start(), refs["2"], 0.5), refs["3"], 0.5), refs["4"], 0.5)
    points = points_of(plan)

    asked = {unit: {r.variant.name for r in shadow_routes(points, unit, "routing_key")} for unit in UNITS[:4_000]}
    answers = owners(plan, UNITS[:4_000])

    both = sum(names == {"shadow-3", "shadow-4"} for names in asked.values()) / len(asked)
    with_canary = sum("shadow-3" in asked[unit] and answers[unit] == "canary-2" for unit in asked) / len(asked)
    assert abs(both - 0.25) < 0.04
    assert abs(with_canary - 0.25) < 0.04


def test_a_shadow_at_full_share_is_always_asked():
    points = points_of(shifts.shadow(start(), refs["3"], 1.0))

    assert all(len(shadow_routes(points, unit, "request_id")) == 1 for unit in UNITS[:100])


def test_adjacent_ranges_do_not_leave_a_gap():
    challengers = tuple(
        Challenger(
            name=f"c{i}", version="2", digest="d", mode="ab", ranges=((i * BUCKETS // 4, (i + 1) * BUCKETS // 4),)
        )
        for i in range(4)
    )
    points = points_of(Plan(model="m", revision=1, salt="s", champion=refs["1"], challengers=challengers))

    assert "champion" not in {route(points, unit, "routing_key").variant.name for unit in UNITS[:1_000]}
