"""A verdict is born without data, passes only on evidence, and the worst row decides."""

import pytest

from contracts.errors import InvalidSettings
from contracts.statistic import Statistic
from contracts.verdict import Verdict
from contracts.wire import decode, encode
from monitor.measures.judge import EVIDENCE_MAX, Guard, Guards, Subject, judge, outcome_of, overall
from monitor.measures.statistics import Key

SUBJECT = Subject(Key("m", "2", "canary", "", 1, 2), "d" * 64, 7, 99)


def row(statistic="auc", value=0.8, low=0.78, high=0.82, **changed):
    fields = {
        "model": "m",
        "version": "2",
        "variant": "canary",
        "slice": "",
        "from_": "2013-04-01T00:00:00Z",
        "to": "2013-04-01T01:00:00Z",
        "feature": "",
        "statistic": statistic,
        "value": value,
        "low": low,
        "high": high,
        "n": 1000,
        "status": "ok",
    }
    return Statistic(**fields | changed)


def verdict(guard, *rows):
    return judge(rows, Guards(guards=(guard,)), SUBJECT)[0]


@pytest.mark.parametrize(
    ("bound", "outcome"),
    [
        ({"at_least": 0.78}, "pass"),
        ({"at_least": 0.79}, "inconclusive"),
        ({"at_least": 0.82}, "inconclusive"),
        ({"at_least": 0.83}, "fail"),
        ({"at_most": 0.82}, "pass"),
        ({"at_most": 0.81}, "inconclusive"),
        ({"at_most": 0.78}, "inconclusive"),
        ({"at_most": 0.77}, "fail"),
    ],
)
def test_the_end_of_the_interval_that_speaks_against_the_variant_decides(bound, outcome):
    assert verdict(Guard(name="g", statistic="auc", **bound), row()).outcome == outcome


def test_a_value_without_an_interval_is_taken_as_exact_and_half_an_interval_proves_one_side_only():
    guard = Guard(name="g", statistic="predictions", at_least=500)
    assert outcome_of(guard, row("predictions", 600.0, None, None)) == "pass"
    assert outcome_of(guard, row("predictions", 400.0, None, None)) == "fail"
    assert outcome_of(Guard(name="g", statistic="mae", at_most=3), row("mae", 1.0, 0.9, None)) == "inconclusive"
    assert outcome_of(Guard(name="g", statistic="mae", at_most=0.5), row("mae", 1.0, 0.9, None)) == "fail"


def test_nothing_passes_without_data():
    guard = Guard(name="g", statistic="auc", at_least=0.0, n_min=500)
    assert verdict(guard).outcome == "no_data"
    assert verdict(guard).evidence[0].value is None
    assert verdict(guard, row(value=None, low=None, high=None)).outcome == "no_data"
    assert verdict(guard, row(status="insufficient")).outcome == "no_data"
    assert verdict(guard, row(n=499)).outcome == "no_data"
    assert verdict(guard, row(version="1"), row(variant="champion"), row(model="x")).outcome == "no_data"
    assert overall([]) == "no_data"


def test_a_guard_without_a_threshold_follows_the_status():
    guard = Guard(name="g", statistic="psi", features=("*",))
    for status, outcome in (("ok", "pass"), ("warn", "inconclusive"), ("alarm", "fail"), ("insufficient", "no_data")):
        assert verdict(guard, row("psi", feature="x", status=status)).outcome == outcome


def test_the_worst_feature_and_slice_decide_and_a_missing_one_is_no_data():
    guard = Guard(name="g", statistic="psi", features=("*",), slices=("", "carrier=AA"))
    fine = [row("psi", feature=f"f{i}", slice=name) for i in range(30) for name in ("", "carrier=AA")]
    assert verdict(guard, *fine).outcome == "pass"
    found = verdict(guard, *fine, row("psi", feature="bad", status="alarm"))
    assert found.outcome == "fail"
    assert found.evidence[0].feature == "bad"
    assert len(found.evidence) == EVIDENCE_MAX
    assert verdict(guard, *fine[::2]).outcome == "no_data"
    assert verdict(Guard(name="g", statistic="psi", features=("f1", "gone")), *fine).outcome == "no_data"


def test_every_guard_gets_a_verdict_that_says_whom_and_what_it_is_about():
    guards = Guards(
        guards=(Guard(name="good", statistic="auc", at_least=0.7), Guard(name="bad", statistic="auc", at_least=0.9))
    )
    found = judge([row()], guards, SUBJECT)

    assert [(of.guard, of.outcome) for of in found] == [("good", "pass"), ("bad", "fail")]
    assert overall(found) == "fail"
    first = found[0]
    assert (first.model, first.version, first.variant, first.digest, first.revision) == (
        "m",
        "2",
        "canary",
        "d" * 64,
        7,
    )
    assert (first.from_us, first.to_us, first.judged_us) == (1, 2, 99)
    assert (first.evidence[0].threshold, first.evidence[0].low, first.evidence[0].n) == (0.7, 0.78, 1000)
    assert decode(Verdict, encode(first)) == first


def test_the_hash_of_the_policy_changes_with_any_threshold():
    one, other = (Guards(guards=(Guard(name="g", statistic="auc", at_least=bound),)) for bound in (0.7, 0.71))
    assert judge([], one, SUBJECT)[0].policy_hash == judge([row()], one, SUBJECT)[0].policy_hash
    assert judge([], one, SUBJECT)[0].policy_hash != judge([], other, SUBJECT)[0].policy_hash


def test_guards_that_could_not_fail_or_be_told_apart_are_refused():
    for wrong in ({"at_least": 0.1, "at_most": 0.2}, {"features": ()}, {"slices": ()}):
        with pytest.raises(InvalidSettings, match="guard 'g'"):
            Guard(name="g", statistic="auc", **wrong)
    with pytest.raises(InvalidSettings, match="name of its own"):
        Guards(guards=(Guard(name="g", statistic="auc"), Guard(name="g", statistic="psi")))
