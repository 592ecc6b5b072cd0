"""A card says what is known, and of everything else that it is not known and why."""

import pytest

from contracts.card import GATES_MAX, LIVE_MAX, STEPS_MAX, Card
from contracts.plan import VersionRef
from contracts.wire import decode, encode
from gateway.cards.assembly import CHANGES_READ_MAX, NOT_ASKED, Unknown, card_of, is_empty, with_live
from gateway.fleet.seam import Seen
from gateway.fleet.worker_status import WorkerStatus
from tests.gateway.cards.made import DAY_US, MODEL, ONE, TWO, canary, changes, files, gate, parts, plan, row, verdict


def card(**changed):
    return card_of(parts(**changed), 5 * DAY_US, "0.1.0")


def gaps(found):
    return {(gap.part, gap.reason) for gap in found.gaps}


def reasons(found, part):
    return [gap.reason for gap in found.gaps if gap.part == part]


def test_what_everybody_tells_stands_in_the_card_and_comes_back_from_json():
    found = with_live(card(), [row()])

    assert (found.digest, found.files.bytes, found.files.metadata.limits) == (
        "d2",
        12_345,
        "not for business customers",
    )
    assert (found.reference.rows, found.reference.labelled) == (9000, 8000)
    assert found.reference.slices == {"land=DE": {"auc": 0.79}}
    assert found.aliases == ("challenger",)
    assert found.plan_revision == 3
    assert [(role.variant, role.role, round(role.share, 4)) for role in found.roles] == [("canary-2", "canary", 0.05)]
    assert found.loaded_by == ("worker-0",)
    assert [verdict.digest for verdict in found.verdicts] == ["d2"]
    assert [row.value for row in found.live] == [0.75]
    assert found.gaps == ()
    assert decode(Card, encode(found)) == found


def test_the_history_holds_the_changes_of_its_part_with_who_and_why():
    found = card()

    assert [(step.revision, step.who, step.reason) for step in found.traffic] == [
        (3, "ada", "because"),
        (2, "ada", "because"),
    ]
    assert found.traffic[1].before == ()
    assert [round(role.share, 2) for role in (*found.traffic[0].before, *found.traffic[0].after)] == [0.01, 0.05]


def test_a_champion_gives_traffic_away_and_a_rollback_target_keeps_none():
    story = changes(
        plan(1),
        plan(2, challengers=(canary(0.25),)),
        plan(3, champion=TWO, warm=(ONE,), previous=ONE),
        plan(4, champion=TWO, previous=ONE),
        plan(5, champion=TWO),
    )
    found = card_of(parts(version="1", plan=story[0].after, changes=story, files=Unknown("away")), 0, "0.1.0")

    told = {step.revision: [(role.role, role.share) for role in step.after] for step in found.traffic}
    assert told == {
        1: [("champion", 1.0)],
        2: [("champion", 0.75)],
        3: [("warm", None), ("previous", None)],
        4: [("previous", None)],
    }
    assert found.roles == ()


def test_gates_count_for_the_bytes_and_name_what_did_not_pass():
    stale = gate(3, VersionRef(version="2", digest="old"))
    found = card(gates=[gate(4, outcome="fail"), stale, gate(2, ONE), gate(1)])

    assert [(one.outcome, one.open, one.checks) for one in found.gates] == [
        ("fail", ("headline auc",), 2),
        ("pass", (), 2),
    ]
    assert found.gates[0].baseline == ONE
    assert (found.gates[0].policy_sha256, found.gates[0].data_sha256) == ("b" * 64, "a" * 64)
    assert reasons(found, "gates") == ["1 more are of other files under this version and say nothing here"]


def test_other_files_under_the_same_version_are_told():
    older = VersionRef(version="2", digest="older")
    workers = [
        WorkerStatus(slot=f"worker-{number}", pid=1, started_us=1, loaded={MODEL: refs}, at_us=1)
        for number, refs in enumerate(((ONE, TWO), (older,), (ONE,)))
    ]
    found = card(
        plan=plan(3, challengers=(canary(0.05, digest="older"),)),
        workers=Seen(workers),
        verdicts=(verdict(), verdict(digest="older"), verdict("1", "d1")),
    )

    assert found.roles[0].digest == "older"
    assert reasons(found, "roles") == ["the plan means other files under this version, of digest older"]
    assert found.loaded_by == ("worker-0",)
    assert reasons(found, "loaded_by") == ["other files under this version are held by worker-1"]
    assert found.verdicts == (verdict(),)
    assert reasons(found, "verdicts") == ["1 more are of other files under this version"]


@pytest.mark.parametrize(
    ("source", "part"),
    [
        ("files", "files"),
        ("signature", "signature"),
        ("reference", "reference"),
        ("aliases", "aliases"),
        ("plan", "roles"),
        ("changes", "traffic"),
        ("gates", "gates"),
        ("verdicts", "verdicts"),
        ("workers", "loaded_by"),
    ],
)
def test_a_part_that_nobody_could_tell_is_null_with_its_reason(source, part):
    found = card(**{source: Unknown("Redis is away")})

    assert getattr(found, part) is None
    assert gaps(found) == {(part, "Redis is away"), ("live", NOT_ASKED)}


def test_without_files_the_digest_is_the_plans():
    found = card(files=Unknown("away"))
    assert found.digest == "d2"
    assert len(found.gates) == 1
    assert card(files=Unknown("away"), plan=None).digest == "d2", "the history has pinned it"


def test_where_no_digest_is_known_gates_go_by_the_version():
    found = card(files=Unknown("away"), plan=None, changes=[], gates=[gate(), gate(2, ONE)])
    assert found.digest is None
    assert [one.gate_id for one in found.gates] == [gate().gate_id]
    assert reasons(found, "gates") == ["whether the version still has the files of these gates"]


def test_what_is_known_to_be_empty_is_empty_and_no_gap():
    found = card(plan=None, changes=[], gates=[], verdicts=(), aliases={}, workers=Seen([]))

    empty = (found.roles, found.traffic, found.gates, found.verdicts, found.aliases, found.loaded_by)
    assert empty == ((), (), (), (), (), ())
    assert found.plan_revision is None
    assert gaps(found) == {("live", NOT_ASKED)}


def test_a_version_without_a_reference_is_told_how_to_make_one():
    assert "pointsman reference build" in reasons(card(reference=None), "reference")[0]


def test_a_fleet_that_may_have_more_workers_says_so():
    found = card(workers=Seen([], "Redis is away: workers of other hosts are not known", ("b/worker-1, 40 s",)))
    assert len(reasons(found, "loaded_by")) == 2


def test_metrics_that_are_no_numbers_are_a_gap():
    found = card(files=files(metrics={"auc": 0.8, "loss": float("nan"), "lift": float("inf")}))

    assert found.files.metadata.metrics == {"auc": 0.8}
    assert reasons(found, "files") == ["metrics that are no finite numbers: lift, loss"]


def test_lists_are_bounded_and_say_what_they_leave_out():
    shares = [0.01 + 0.0001 * (number % 2) for number in range(CHANGES_READ_MAX)]
    plans = [plan(number + 1, challengers=(canary(share),)) for number, share in enumerate(shares)]
    found = card(changes=changes(*plans), gates=[gate(number) for number in range(30, 0, -1)])

    assert (len(found.traffic), found.traffic[0].revision) == (STEPS_MAX, CHANGES_READ_MAX)
    assert reasons(found, "traffic") == [
        "what was before the model's last 1,000 changes",
        "900 earlier changes: see the model's history",
    ]
    assert (len(found.gates), found.gates[0].gate_id[-2:]) == (GATES_MAX, "1e")
    assert reasons(found, "gates") == ["20 earlier ones: see `pointsman gates`"]


def test_of_live_figures_the_whole_is_taken_and_single_features_past_a_gate():
    rows = [
        row(),
        row("psi", 0.3, "alarm", feature="age"),
        row("psi", 0.01, "ok", feature="plan"),
        row("auc", 0.6, slice="land=DE"),
        row("auc", 0.7, version="1"),
    ]
    found = with_live(card(), rows)

    assert [(one.statistic, one.feature) for one in found.live] == [("auc", ""), ("psi", "age")]
    assert reasons(found, "live") == []


@pytest.mark.parametrize(
    ("rows", "live", "reason"),
    [
        (Unknown("the monitor does not answer"), None, "the monitor does not answer"),
        ([], (), "the monitor has counted no prediction of it"),
        ([row("predictions", 7.0)], 1, "none that has a label was counted"),
        ([row("auc", None, "insufficient")], 1, "none that has a label was counted"),
        ([row() for _ in range(LIVE_MAX + 3)], LIVE_MAX, "3 more statistics"),
    ],
)
def test_what_the_monitor_does_not_say_is_told(rows, live, reason):
    found = with_live(card(), rows)

    assert (found.live if live in (None, ()) else len(found.live)) == live
    assert len(reasons(found, "live")) == 1
    assert reason in reasons(found, "live")[0]


def test_a_card_of_nothing_is_known_to_be_empty():
    nothing = {"files": Unknown("none"), "plan": None, "changes": [], "gates": []}
    assert is_empty(card(**nothing))
    for known in nothing:
        assert not is_empty(card(**{name: part for name, part in nothing.items() if name != known}))
