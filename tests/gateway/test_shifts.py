"""Each verb of traffic by example: what it does, and what it refuses with which advice."""

import pytest
from msgspec.structs import replace

from contracts.errors import InvalidInput, NotFound
from contracts.plan import BUCKETS, CHALLENGERS_MAX, Challenger, VersionRef
from gateway.traffic import shifts


def ref(version):
    return VersionRef(version=version, digest=f"{version}-digest")


def names(plan):
    return [challenger.name for challenger in plan.challengers]


def warm(plan):
    return [kept.version for kept in plan.warm]


@pytest.fixture
def plan():
    return shifts.start("flight-delay", ref("1"), salt="pepper")


def test_the_first_plan_gives_everything_to_the_champion(plan):
    assert (plan.revision, plan.champion, plan.champion_share, plan.salt) == (1, ref("1"), 1.0, "pepper")


def test_a_model_starts_with_its_champion_alias_else_its_newest_version():
    assert shifts.first_champion("m", {"champion": "2", "old": "1"}, ["1", "2", "3"]) == "2"
    assert shifts.first_champion("m", {"old": "1"}, ["1", "2", "10"]) == "10"
    with pytest.raises(NotFound, match="register one"):
        shifts.first_champion("m", {}, [])


@pytest.mark.parametrize(("verb", "mode"), [(shifts.canary, "canary"), (shifts.ab, "ab"), (shifts.shadow, "shadow")])
def test_a_challenger_is_named_after_its_mode_and_version(plan, verb, mode):
    (challenger,) = verb(plan, ref("2"), 0.05).challengers

    assert (challenger.name, challenger.version, challenger.digest, challenger.mode) == (
        f"{mode}-2",
        "2",
        "2-digest",
        mode,
    )
    assert challenger.share == pytest.approx(0.05, abs=1 / BUCKETS)


def test_only_challengers_that_answer_take_from_the_champion(plan):
    assert shifts.shadow(plan, ref("2"), 1.0).champion_share == 1.0
    assert shifts.canary(plan, ref("2"), 0.25).champion_share == 0.75


def test_asking_again_resizes_and_keeps_a_name_given_earlier(plan):
    first = shifts.canary(plan, ref("2"), 0.05, "brave")
    second = shifts.canary(first, ref("2"), 0.5)

    assert names(second) == ["brave"]
    assert second.challengers[0].share == 0.5


def test_a_share_of_nothing_keeps_the_challenger_loaded_without_traffic(plan):
    asleep = shifts.canary(shifts.canary(plan, ref("2"), 0.05), ref("2"), 0.0)

    assert (names(asleep), asleep.champion_share) == (["canary-2"], 1.0)


def test_another_mode_ends_the_challenger_and_begins_another(plan):
    turned = shifts.canary(shifts.shadow(plan, ref("2"), 1.0), ref("2"), 0.05)

    assert [(c.name, c.mode) for c in turned.challengers] == [("canary-2", "canary")]


def test_a_canary_that_becomes_an_ab_keeps_its_units(plan):
    crowded = shifts.canary(shifts.canary(plan, ref("3"), 0.1), ref("2"), 0.1)
    (_, before) = crowded.challengers
    (_, after) = shifts.ab(crowded, ref("2"), 0.2).challengers

    assert (after.name, after.mode) == ("ab-2", "ab")
    assert after.ranges[0][0] == before.ranges[0][0]


def test_one_version_may_have_several_challengers_by_name(plan):
    both = shifts.shadow(shifts.canary(plan, ref("2"), 0.05), ref("2"), 1.0, "watcher")

    assert names(both) == ["canary-2", "watcher"]
    assert shifts.canary(both, ref("2"), 0.1).challengers[0].share == pytest.approx(0.1)
    with pytest.raises(InvalidInput, match="canary-2, watcher: say which by its name"):
        shifts.ab(both, ref("2"), 0.1)


def test_a_name_cannot_pass_from_one_version_to_another(plan):
    taken = shifts.canary(plan, ref("2"), 0.05, "brave")

    with pytest.raises(InvalidInput, match="'brave' stands for version '2': remove it first"):
        shifts.canary(taken, ref("3"), 0.05, "brave")


@pytest.mark.parametrize("name", ["champion", "pinned", "", " ", "a b", "-x", "x" * 65, "Ünit", "a/b"])
def test_a_name_must_be_fit_for_metrics_and_paths(plan, name):
    with pytest.raises(InvalidInput, match="name"):
        shifts.canary(plan, ref("2"), 0.05, name or ".")


def test_the_champion_takes_part_against_itself_only_in_an_ab(plan):
    assert names(shifts.ab(plan, ref("1"), 0.5)) == ["ab-1"]
    with pytest.raises(InvalidInput, match="use ab for an A/A"):
        shifts.canary(plan, ref("1"), 0.05)
    with pytest.raises(InvalidInput, match="nothing to change"):
        shifts.promote(shifts.ab(plan, ref("1"), 0.5))


def test_more_than_the_champion_has_is_refused_with_what_is_free(plan):
    with pytest.raises(InvalidInput, match=r"the champion has 40% to give; ask for at most 40%"):
        shifts.canary(shifts.canary(plan, ref("2"), 0.6), ref("3"), 0.5)


def test_a_plan_holds_a_bounded_number_of_challengers(plan):
    for n in range(CHALLENGERS_MAX):
        plan = shifts.shadow(plan, ref(f"s{n}"), 1.0)
    with pytest.raises(InvalidInput, match="at most 16"):
        shifts.shadow(plan, ref("one-more"), 1.0)


def test_switch_keeps_the_old_champion_warm_and_as_the_way_back(plan):
    switched = shifts.switch(shifts.canary(plan, ref("3"), 0.2), ref("2"))

    assert (switched.champion, switched.previous, warm(switched)) == (ref("2"), ref("1"), ["1"])
    assert names(switched) == ["canary-3"]


def test_switch_takes_a_challenger_with_that_version_out(plan):
    assert names(shifts.switch(shifts.canary(plan, ref("2"), 0.2), ref("2"))) == []


def test_switch_to_the_champion_is_refused(plan):
    with pytest.raises(InvalidInput, match="nothing to change"):
        shifts.switch(plan, ref("1"))


def test_promote_makes_the_only_answering_challenger_champion(plan):
    watched = shifts.shadow(shifts.canary(plan, ref("2"), 0.2), ref("3"), 1.0)
    promoted = shifts.promote(watched)

    assert (promoted.champion, promoted.previous, warm(promoted)) == (ref("2"), ref("1"), ["1"])
    assert names(promoted) == ["shadow-3"]
    assert shifts.promote(watched, "shadow-3").champion == ref("3")


def test_promote_names_the_choices_where_there_is_not_exactly_one(plan):
    two = shifts.ab(shifts.canary(plan, ref("2"), 0.2), ref("3"), 0.2)

    with pytest.raises(
        InvalidInput, match=r"2 challengers .* canary-2 \(canary of version 2\), ab-3 \(ab of version 3\)"
    ):
        shifts.promote(two)
    with pytest.raises(InvalidInput, match=r"0 challengers .* there are none"):
        shifts.promote(plan)
    with pytest.raises(NotFound, match="no challenger 'canary-9'"):
        shifts.promote(two, "canary-9")


def test_rollback_takes_all_traffic_from_challengers_and_leaves_the_champion(plan):
    promoted = shifts.switch(plan, ref("2"))
    busy = shifts.shadow(shifts.ab(shifts.canary(promoted, ref("3"), 0.2), ref("4"), 0.2), ref("5"), 1.0)
    calm = shifts.rollback(busy)

    assert (calm.champion, calm.champion_share, names(calm)) == (ref("2"), 1.0, ["shadow-5"])
    assert warm(calm) == ["1", "3", "4"]


def test_rollback_without_challengers_brings_the_champion_before_back_once(plan):
    back = shifts.rollback(shifts.switch(plan, ref("2")))

    assert (back.champion, back.previous, warm(back)) == (ref("1"), None, ["2"])
    with pytest.raises(InvalidInput, match="--to REVISION"):
        shifts.rollback(back)


def test_rollback_ends_a_shadow_of_the_version_that_comes_back(plan):
    shadowed = shifts.shadow(shifts.switch(plan, ref("2")), ref("1"), 1.0)

    assert names(shifts.rollback(shadowed)) == []


def test_restore_brings_an_older_content_back_under_a_new_number(plan):
    older = shifts.canary(plan, ref("2"), 0.2)
    newest = shifts.switch(shifts.rollback(older), ref("3"))

    assert shifts.restore(newest, older) == replace(older, revision=newest.revision + 1)


def test_a_removed_challenger_gives_its_units_back_and_is_not_kept(plan):
    removed = shifts.remove(shifts.canary(plan, ref("2"), 0.2), "canary-2")

    assert (names(removed), removed.champion_share, warm(removed)) == ([], 1.0, [])
    with pytest.raises(NotFound, match="no challenger 'canary-2' in revision 3: there are none"):
        shifts.remove(removed, "canary-2")


def test_warm_versions_are_bounded_and_the_oldest_goes_first(plan):
    for version in "23456":
        plan = shifts.warm(plan, ref(version))

    assert warm(plan) == ["3", "4", "5", "6"]


def test_the_way_back_stays_warm_longest(plan):
    plan = shifts.switch(plan, ref("2"))
    for version in "34567":
        plan = shifts.warm(plan, ref(version))

    assert warm(plan) == ["1", "5", "6", "7"]


def test_a_version_that_gets_traffic_is_no_longer_listed_as_warm(plan):
    assert warm(shifts.canary(shifts.warm(plan, ref("2")), ref("2"), 0.1)) == []
    with pytest.raises(InvalidInput, match="loaded already"):
        shifts.warm(plan, ref("1"))


def test_cool_lets_a_warm_version_go(plan):
    assert warm(shifts.cool(shifts.warm(plan, ref("2")), "2")) == []
    with pytest.raises(NotFound, match="warm are none"):
        shifts.cool(plan, "2")


def test_a_plan_written_by_hand_must_be_made_from_the_current_revision_of_its_model(plan):
    challenger = Challenger(name="mine", version="2", digest="2-digest", mode="canary", ranges=((10, 20),))
    wanted = replace(plan, challengers=(challenger,))

    assert shifts.rewrite(plan, wanted) == replace(wanted, revision=2)
    with pytest.raises(InvalidInput, match="leave it at 1"):
        shifts.rewrite(plan, replace(wanted, revision=2))
    with pytest.raises(InvalidInput, match="for model 'other'"):
        shifts.rewrite(plan, replace(wanted, model="other"))
    with pytest.raises(InvalidInput, match="'pinned'"):
        shifts.rewrite(plan, replace(plan, challengers=(replace(challenger, name="pinned"),)))
    with pytest.raises(InvalidInput, match="5 warm versions"):
        shifts.rewrite(plan, replace(plan, warm=tuple(ref(v) for v in "23456")))


def test_the_versions_of_a_plan_are_listed_once_each_those_with_traffic_first(plan):
    plan = shifts.warm(shifts.canary(shifts.switch(plan, ref("2")), ref("3"), 0.1), ref("4"))

    assert [held.version for held in shifts.refs_of(plan)] == ["2", "3", "1", "4"]
