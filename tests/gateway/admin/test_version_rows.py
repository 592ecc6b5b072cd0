"""How versions stand, from what workers and the admin API say: each state, and who has the last word."""

from contracts.plan import Challenger, Plan, VersionRef
from contracts.version_state import VersionState
from gateway.admin.version_rows import version_rows
from gateway.fleet.worker_status import WorkerStatus


def ref(version):
    return VersionRef(version=version, digest=f"d{version}")


def plan(champion="1"):
    challenger = Challenger(name="c", version="2", digest="d2", mode="canary", ranges=((0, 5),))
    return Plan(model="m", revision=1, champion=ref(champion), challengers=(challenger,), salt="s")


def worker(slot, *loaded, host="", said=()):
    return WorkerStatus(
        host=host, slot=slot, pid=1, started_us=1, loaded={"m": loaded}, versions={"m": tuple(said)}, at_us=1
    )


def loading(version, since_us=5):
    return VersionState(version=version, state="loading", since_us=since_us)


def rejected(version, reason, since_us):
    return VersionState(version=version, state="rejected", reason=reason, since_us=since_us)


def rows(registered, plan=None, workers=(), own=()):
    found = version_rows("m", registered, plan, workers, {state.version: state for state in own})
    return [(row.version, row.state, row.reason, row.since_us, row.by) for row in found]


def test_a_version_that_nobody_has_tried_is_available():
    assert rows(["2", "10"]) == [("2", "available", "", None, ()), ("10", "available", "", None, ())]


def test_what_is_loaded_serves_only_behind_the_plan_and_by_its_digest():
    workers = [worker("w0", ref("1"), ref("3")), worker("w1", ref("1"), VersionRef(version="2", digest="other"))]
    assert rows(["1", "2", "3"], plan(), workers) == [
        ("1", "serving", "", None, ("w0", "w1")),
        ("2", "loaded", "", None, ("w1",)),
        ("3", "loaded", "", None, ("w0",)),
    ]


def test_a_rejection_outweighs_an_attempt_under_way_and_the_first_who_found_it_is_heard():
    workers = [
        worker("w0", said=[loading("1"), loading("2")]),
        worker("w1", host="h", said=[rejected("1", "late", 9)]),
    ]
    assert rows(["1", "2"], None, workers, [rejected("1", "early", 7)]) == [
        ("1", "rejected", "early", 7, ("h/w1", "admin")),
        ("2", "loading", "", 5, ("w0",)),
    ]


def test_a_version_that_serves_keeps_serving_whatever_is_said_of_other_files_of_its_number():
    workers = [worker("w0", ref("1"), said=[loading("1", 3)])]
    assert rows(["1"], plan(), workers) == [("1", "serving", "", None, ("w0",))]
    assert rows(["1"], plan(), workers, [rejected("1", "NaN", 7)]) == [("1", "serving", "NaN", 7, ("w0",))]


def test_nothing_is_said_of_versions_that_are_gone_unless_they_run_or_are_needed():
    own = [rejected("1", "gone", 1), rejected("9", "gone", 1)]
    workers = [worker("w0", ref("4"))]
    assert rows([], plan(), workers, own) == [
        ("1", "rejected", "gone", 1, ("admin",)),
        ("4", "loaded", "", None, ("w0",)),
    ]
    assert rows([], None, (), own) == []
