"""What the gate says: a worse candidate fails, an equal one passes, too few rows and NaN never do."""

import math
from collections import Counter

import numpy as np
import pytest
from msgspec.structs import replace
from sklearn.calibration import calibration_curve

from contracts.errors import InvalidInput
from contracts.gate import GateCheck, worst_of
from contracts.task import Task
from monitor.gate.metrics import Resampling, Side
from monitor.gate.policy import Behaviour, LatencyBound, SizeBound, Suite, policy_sha256, suite_of
from monitor.gate.rows import row_checks
from monitor.gate.sample import Sample
from monitor.gate.single import Answer, Turns, behaviour_check, decision_of, latency_check, size_check

TASK = Task(kind="binary", output="p")
DRAWS = Resampling(0, 400)
GROUPS = ("north", "south")


def rows(n=4000, seed=0, *, worse_in=None, noise=0.0, tilt=0.0):
    """Truths with calibrated probabilities of a champion, and a candidate: noisier in one group, or tilted everywhere."""
    random = np.random.default_rng(seed)
    z = random.normal(0, 1.5, n)
    group = random.choice(GROUPS, n)
    truths = (random.random(n) < 1 / (1 + np.exp(-z))).astype(float)
    spoilt = noise * random.normal(0, 1, n) * (1.0 if worse_in is None else group == worse_in)
    champion, candidate = (1 / (1 + np.exp(-x)) for x in (z, z + spoilt + tilt))
    return Sample(truths, Side(TASK, candidate), Side(TASK, champion), {"area": group.tolist()})


def suite(**tables):
    return suite_of({"data": "d.csv", "label": "late", **tables})


def judged(sample, draws=DRAWS, **tables):
    return list(row_checks(suite(**tables), sample, draws))


HEADLINE = {"headline": {"metric": "auc", "epsilon": 0.005}}


def test_an_equal_candidate_passes_and_shows_its_evidence():
    (check,) = judged(rows(), **HEADLINE)
    assert (check.outcome, check.observed, check.low, check.high) == ("pass", 0.0, 0.0, 0.0)
    assert check.candidate == check.baseline
    assert (check.kind, check.name, check.threshold, check.n, check.reason) == ("headline", "auc", 0.005, 4000, "")


def test_a_better_candidate_passes_with_its_roles_swapped_it_fails():
    sample = rows(noise=2.0)
    (fails,) = judged(sample, **HEADLINE)
    (passes,) = judged(sample._replace(candidate=sample.baseline, baseline=sample.candidate), **HEADLINE)
    assert (fails.outcome, passes.outcome) == ("fail", "pass")
    assert fails.low > 0.005
    assert passes.high < 0
    assert (fails.observed, fails.low, fails.high) == pytest.approx((-passes.observed, -passes.high, -passes.low))


def test_a_small_sample_is_inconclusive_whatever_it_shows():
    for sample in (rows(80), rows(80, noise=3.0)):
        (check,) = judged(sample, **HEADLINE)
        assert check.outcome == "inconclusive"
        assert check.reason == "80 rows, fewer than rows_min = 100"


def test_an_interval_that_holds_the_threshold_is_inconclusive():
    (check,) = judged(rows(600, noise=0.6), headline={"metric": "auc", "epsilon": 0.015})
    assert check.low < 0.015 < check.high
    assert check.outcome == "inconclusive"
    assert "more rows would decide" in check.reason


def test_too_few_of_one_class_are_inconclusive():
    sample = rows(2000)
    few = sample._replace(truths=np.where(np.arange(2000) < 5, 1.0, 0.0))
    (check,) = judged(few, **HEADLINE)
    assert (check.outcome, check.reason) == ("inconclusive", "5 rows in what auc divides by, fewer than 10")


def test_rows_without_labels_count_nowhere_and_none_at_all_is_missing():
    sample = rows()
    half = sample._replace(truths=np.where(np.arange(4000) % 2, sample.truths, np.nan))
    assert judged(half, **HEADLINE)[0].n == 2000
    (check,) = judged(sample._replace(truths=np.full(4000, np.nan)), **HEADLINE)
    assert (check.outcome, check.reason) == ("missing", "no labelled rows")


def test_nan_outputs_never_pass():
    sample = rows()
    asked = {
        **HEADLINE,
        "slices": [{"feature": "area", "worse_by_max": 0.5}],
        "calibration": {"ece_max": 0.9, "worse_by_max": 0.9},
        "fairness": [{"feature": "area", "rate": "positive_rate", "difference_max": 0.9}],
    }
    assert {check.outcome for check in judged(sample, **asked)} == {"pass"}
    for value in (math.nan, math.inf):
        broken = np.where(np.arange(4000) == 17, value, sample.candidate.scores)
        checks = judged(sample._replace(candidate=Side(TASK, broken)), **asked)
        south = sample.columns["area"][17]
        assert Counter(check.outcome for check in checks) == {"fail": 5, "pass": 1}
        assert [check.slice for check in checks if check.outcome == "pass"] == [
            f"area={name}" for name in GROUPS if name != south
        ]
        assert "answers 1 of 4000 rows with NaN or an infinity" in checks[0].reason
        champions = judged(sample._replace(baseline=Side(TASK, broken)), **asked)
        assert [check.name for check in champions if check.outcome == "missing"] == ["auc", "auc", "ece_worse_by"]
        assert {check.outcome for check in champions} == {"missing", "pass"}
        assert champions[-1].baseline is None


def test_without_a_champion_comparisons_are_missing_and_the_rest_is_judged():
    checks = judged(
        rows()._replace(baseline=None),
        **HEADLINE,
        calibration={"ece_max": 0.05, "worse_by_max": 0.05},
        fairness=[{"feature": "area", "rate": "error_rate", "difference_max": 0.1}],
    )
    assert [(c.name, c.outcome) for c in checks] == [
        ("auc", "missing"),
        ("ece", "pass"),
        ("ece_worse_by", "missing"),
        ("error_rate", "pass"),
    ]
    assert "--baseline" in checks[0].reason
    assert checks[0].candidate is not None


def test_a_candidate_that_is_worse_in_one_slice_fails_there_only():
    sample = rows(6000, worse_in="south", noise=3.0)
    checks = judged(
        sample, headline={"metric": "auc", "epsilon": 0.2}, slices=[{"feature": "area", "worse_by_max": 0.02}]
    )
    assert [(c.slice, c.outcome) for c in checks] == [("", "pass"), ("area=north", "pass"), ("area=south", "fail")]
    assert sum(c.n for c in checks[1:]) == 6000


def test_a_small_or_empty_slice_is_not_a_pass():
    sample = rows()
    areas = ["rare" if i < 40 else name for i, name in enumerate(sample.columns["area"])]
    asked = {**HEADLINE, "slices": [{"feature": "area", "worse_by_max": 0.5, "values": ["rare", "gone"]}]}
    checks = judged(sample._replace(columns={"area": areas}), **asked)
    assert [(c.slice, c.outcome, c.n) for c in checks[1:]] == [
        ("area=rare", "inconclusive", 40),
        ("area=gone", "missing", 0),
    ]


def test_too_many_values_must_be_named():
    sample = rows()._replace(columns={"area": list(range(4000))})
    with pytest.raises(InvalidInput, match="'area' has 4000 values, at most 16.*name the `values`"):
        judged(sample, **HEADLINE, slices=[{"feature": "area", "worse_by_max": 0.5}])


def test_calibration_is_that_of_scikit_learn_and_a_tilted_candidate_fails():
    sample = rows(8000, tilt=1.0)
    absolute, relative = judged(sample, calibration={"ece_max": 0.05, "worse_by_max": 0.02})
    p, y = sample.candidate.scores, sample.truths
    observed, predicted = calibration_curve(y, p, n_bins=10)
    sizes = np.histogram(p, bins=np.linspace(0, 1, 11))[0]
    expected = float((np.abs(observed - predicted) * sizes[sizes > 0]).sum() / sizes.sum())
    assert absolute.candidate == absolute.observed == pytest.approx(expected, abs=1e-9)
    assert (absolute.outcome, relative.outcome) == ("fail", "fail")
    assert relative.observed == pytest.approx(absolute.candidate - absolute.baseline)
    honest = judged(rows(8000), calibration={"ece_max": 0.05, "worse_by_max": 0.02})
    assert [check.outcome for check in honest] == ["pass", "pass"]


@pytest.mark.parametrize(
    ("rate", "of"),
    [
        ("positive_rate", lambda y, d: (d, np.ones(len(y), bool))),
        ("true_positive_rate", lambda y, d: (d, y == 1)),
        ("false_positive_rate", lambda y, d: (d, y == 0)),
        ("error_rate", lambda y, d: (d != (y == 1), np.ones(len(y), bool))),
    ],
)
def test_fairness_is_the_largest_gap_between_groups(rate, of):
    sample = rows(6000)
    group = np.array(sample.columns["area"])
    shifted = Side(TASK, np.where(group == "south", np.sqrt(sample.candidate.scores), sample.candidate.scores))
    (check,) = judged(
        sample._replace(candidate=shifted), fairness=[{"feature": "area", "rate": rate, "difference_max": 0.04}]
    )
    hits, counted = of(sample.truths, shifted.scores >= 0.5)
    rates = [hits[counted & (group == name)].mean() for name in GROUPS]
    assert check.observed == pytest.approx(abs(rates[0] - rates[1]))
    assert check.n == counted.sum()
    assert check.baseline < 0.03
    assert (check.outcome == "fail") == (check.low > 0.04)
    if rate == "positive_rate":
        assert check.outcome == "fail"
        assert f"south {rates[1]:.4f}" in check.reason


def test_a_group_that_is_too_small_leaves_fairness_open_and_one_group_is_no_comparison():
    sample = rows()
    areas = ["rare" if i < 40 else name for i, name in enumerate(sample.columns["area"])]
    asked = {"feature": "area", "rate": "positive_rate", "difference_max": 0.2}
    (open_,) = judged(sample._replace(columns={"area": areas}), fairness=[asked])
    assert open_.outcome == "inconclusive"
    assert "rare (40)" in open_.reason
    (alone,) = judged(sample, fairness=[{**asked, "values": ["south"]}])
    assert alone.outcome == "missing"


def test_what_the_task_has_not_is_named():
    for tables, message in (
        ({"headline": {"metric": "mae", "epsilon": 0}}, "metric 'mae' is none of a binary model; there are auc"),
        ({**HEADLINE, "slices": [{"feature": "area", "worse_by_max": 1, "metric": "r2"}]}, "metric 'r2'"),
    ):
        with pytest.raises(InvalidInput, match=message):
            judged(rows(200), **tables)
    regression = Side(Task(kind="regression", output="y"), np.zeros(200))
    with pytest.raises(InvalidInput, match="calibration is of probabilities"):
        judged(rows(200)._replace(candidate=regression), calibration={"ece_max": 0.1})


def test_checks_do_not_depend_on_which_others_there_are():
    sample = rows(800, noise=1.0)
    f1 = {"headline": {"metric": "f1", "epsilon": 0.02}}
    alone = judged(sample, **f1)
    together = judged(
        sample, **f1, slices=[{"feature": "area", "worse_by_max": 0.1}], calibration={"worse_by_max": 0.1}
    )
    assert together[0] == alone[0]
    assert judged(sample, Resampling(1, 400), **f1)[0] != alone[0]


def turns(ratio, n=2000, seed=0):
    random = np.random.default_rng(seed)
    row = random.exponential(100.0, n)
    own, other = (row + random.exponential(50.0, n) + 500.0 for _ in range(2))
    return Turns(own * ratio, other)


def test_latency_is_judged_by_the_ratio_of_the_99th_percentiles():
    bound = LatencyBound(ratio_max=1.3)
    found = {ratio: latency_check(bound, turns(ratio), DRAWS) for ratio in (1.0, 1.3, 2.0)}
    assert {ratio: check.outcome for ratio, check in found.items()} == {1.0: "pass", 1.3: "inconclusive", 2.0: "fail"}
    both = turns(2.0)
    assert found[2.0].observed == pytest.approx(np.percentile(both.candidate, 99) / np.percentile(both.baseline, 99))
    assert found[2.0].n == 2000
    assert latency_check(bound, None, DRAWS).outcome == "missing"


def test_size_is_at_most_the_bound():
    assert size_check(SizeBound(bytes_max=100), 100, 50).outcome == "pass"
    assert size_check(SizeBound(bytes_max=100), 101, None).outcome == "fail"


@pytest.mark.parametrize(
    ("expected", "answer", "outcome"),
    [
        ({"low": 0.2, "high": 0.4}, Answer(0.4, 0), "pass"),
        ({"low": 0.2, "high": 0.4}, Answer(0.41, 0), "fail"),
        ({"high": 0.4}, Answer(-5.0, 0), "pass"),
        ({"low": 0.2}, Answer(math.nan, None), "fail"),
        ({"high": 0.2}, Answer(-math.inf, None), "fail"),
        ({"label": "late"}, Answer(0.9, "late"), "pass"),
        ({"label": "late"}, Answer(0.1, "on time"), "fail"),
        ({"label": 1}, Answer(0.9, 1), "pass"),
        ({"label": 1}, Answer(0.9, True), "fail"),
        ({"label": 1}, Answer(math.nan, None), "fail"),
    ],
)
def test_a_behaviour_is_a_range_or_a_label(expected, answer, outcome):
    assert behaviour_check(Behaviour(name="case", inputs={"x": 1}, **expected), answer).outcome == outcome


def test_decisions_are_the_tasks_own():
    assert decision_of(TASK, np.array([0.5])) == (0.5, 1)
    assert decision_of(replace(TASK, classes=("late", "on time"), positive=0), np.array([0.2])) == (0.2, "on time")
    three = Task(kind="multiclass", output="p", classes=("a", "b", "c"))
    assert decision_of(three, np.array([[0.1, 0.7, 0.2]])) == (0.7, "b")
    assert decision_of(three, np.array([[0.1, math.nan, 0.2]])).label is None


def test_a_suite_names_what_is_unknown_or_at_odds():
    for tables, message in (
        ({"headlin": {}}, "unknown field `headlin`"),
        ({"headline": {"metric": "auc", "epsilon": 0.1, "epsilonn": 1}}, r"unknown field `epsilonn`.*\$.headline"),
        ({"headline": {"metric": "auc"}}, "missing required field `epsilon`"),
        ({"headline": {"metric": "auc", "epsilon": math.nan}}, "epsilon = nan: must be a finite number"),
        ({"headline": {"metric": "auc", "epsilon": -1}}, "epsilon = -1"),
        ({**HEADLINE, "label": None}, "label: name the column of the truth"),
        ({**HEADLINE, "data": ""}, "data: name a CSV or Parquet file"),
        ({"slices": [{"feature": "a", "worse_by_max": 0}]}, "name a metric"),
        ({"calibration": {}}, "neither ece_max nor worse_by_max"),
        ({"latency": {"ratio_max": 1.1, "turns": 10}}, "turns = 10: from 200"),
        ({"behaviours": [{"name": "b", "inputs": {}}]}, "expects a range .* or a label"),
        ({"behaviours": [{"name": "b", "inputs": {}, "low": 2, "high": 1}]}, "low = 2.0 is above high = 1.0"),
        ({"fairness": [{"feature": "a", "rate": "luck", "difference_max": 0}]}, "luck"),
    ):
        with pytest.raises(InvalidInput, match=message):
            suite(**tables)


def test_a_suite_that_asks_nothing_says_so_and_no_check_at_all_is_missing():
    assert suite_of({}).asks_nothing
    assert suite_of({"data": "d.csv", "label": "y"}).asks_nothing
    assert not suite(**HEADLINE).asks_nothing
    assert worst_of([]) == "missing"


def test_the_policys_hash_is_of_what_it_says_and_not_of_where_the_data_lies():
    one = suite(**HEADLINE)
    assert policy_sha256(one) == policy_sha256(replace(one, data="elsewhere.csv"))
    assert policy_sha256(one) != policy_sha256(replace(one, label="other"))
    assert policy_sha256(one) != policy_sha256(suite(headline={"metric": "auc", "epsilon": 0.006}))
    assert policy_sha256(one) == policy_sha256(suite(headline={"epsilon": 0.005, "metric": "auc"}))
    assert Suite().resamples == 1000


def test_the_worst_outcome_wins():
    assert worst_of(["pass", "inconclusive"]) == "inconclusive"
    assert worst_of(["inconclusive", "missing", "pass"]) == "missing"
    assert worst_of(["missing", "fail"]) == "fail"


def test_a_check_cannot_pass_on_nothing_and_holds_no_nan():
    with pytest.raises(InvalidInput, match="cannot pass: nothing was observed"):
        GateCheck(kind="headline", name="auc", outcome="pass", n=10)
    with pytest.raises(InvalidInput, match="cannot pass"):
        GateCheck(kind="headline", name="auc", outcome="pass", observed=0.1)
    with pytest.raises(InvalidInput, match="finite numbers or null"):
        GateCheck(kind="headline", name="auc", outcome="fail", observed=math.nan)


@pytest.mark.parametrize("nothing", [None, math.nan])
def test_slices_of_a_column_without_any_value_are_missing(nothing):
    sample = rows()._replace(columns={"area": [nothing] * 4000})
    checks = judged(sample, **HEADLINE, slices=[{"feature": "area", "worse_by_max": 0.5}])
    assert [(check.kind, check.slice, check.outcome) for check in checks] == [
        ("headline", "", "pass"),
        ("slice", "area", "missing"),
    ]
    assert "no row has a value of 'area'" in checks[1].reason
