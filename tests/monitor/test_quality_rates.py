"""Rates of the input and of the service: Wilson's intervals, an excess over the reference, fixed gates for failures."""

import itertools

import numpy as np
import pytest
from scipy.stats import binomtest, fisher_exact

from contracts.task import Task
from monitor.counts.binning import cells_of_column
from monitor.counts.layout import STATUSES, layout_of
from monitor.measures.drift import Column, drift
from monitor.measures.intervals import f1_of, proportion
from monitor.measures.policy import MonitorPolicy
from monitor.measures.quality import fisher_greater, label_coverage, rates, service
from monitor.references.reference_bins import bins_of


def measured(training, traffic):
    bins = bins_of(training)
    counts = np.bincount(cells_of_column(bins, traffic), minlength=len(bins.counts))
    return {of.statistic: of for of in drift([Column("x", bins, np.asarray(bins.counts), counts)], MonitorPolicy())}


def served(rows=0, labelled=0, **statuses):
    layout = layout_of(None, Task(kind="binary", output="p"))
    vector = layout.zeros()
    vector[layout.sections["statuses"].cells] = [statuses.get(name, 0) for name in STATUSES]
    vector[layout.sections["rows"].start] = rows
    vector[layout.sections["labelled"].start] = labelled
    found = [*service(layout, vector, MonitorPolicy()), label_coverage(layout, vector)]
    return {of.statistic: of for of in found}


def test_a_proportion_has_wilsons_interval():
    for hits, n in ((0, 7), (1, 7), (7, 7), (3, 10), (250, 1000), (1, 100_000)):
        low, high = binomtest(hits, n).proportion_ci(method="wilson")
        found = proportion(hits, n)
        assert (found.value, found.low, found.high) == pytest.approx((hits / n, low, high), abs=1e-12)
    assert proportion(0, 0) == (None, None, None)


def test_f1_lies_between_its_ends_and_is_sure_only_of_many():
    few, many = f1_of(6, 4), f1_of(600, 400)
    assert few.value == many.value == pytest.approx(0.75)
    assert few.low < many.low < 0.75 < many.high < few.high


def test_a_column_that_goes_missing_alarms_and_one_that_was_always_missing_does_not():
    usual = np.arange(10_000.0)
    assert measured(usual, [None] * 500)["missing_rate"].status == "alarm"
    half = np.where(np.arange(10_000) % 2, usual, np.nan)
    assert measured(half, half[:2000])["missing_rate"].status == "ok"
    assert measured(half, half[:2000])["missing_rate"].interval.value == 0.5


def test_unseen_categories_are_told_from_rare_ones():
    training = ["a"] * 7000 + ["b"] * 2995 + ["rare"] * 5
    found = measured(training, ["a"] * 600 + ["b"] * 300 + ["rare"] * 50 + ["new"] * 50)
    assert found["unseen_rate"].interval.value == 0.05
    assert found["unseen_rate"].status == "alarm"
    assert measured(training, ["a"] * 690 + ["b"] * 300 + ["rare"] * 10)["unseen_rate"].interval.value == 0.0


def test_values_out_of_the_references_range_count_on_both_sides_and_at_infinity():
    training = np.linspace(0, 1, 10_000)
    found = measured(training, [*np.linspace(0, 1, 996), -0.1, 1.1, float("inf"), "-Infinity"])
    assert found["out_of_range_rate"].interval.value == pytest.approx(0.004)
    assert found["out_of_range_rate"].status == "ok"
    assert measured(training, [2.0] * 30 + [0.5] * 970)["out_of_range_rate"].status == "warn"


def test_a_change_of_type_shows_as_missing_or_unseen_and_never_raises():
    assert measured(np.arange(10_000.0), ["wrong"] * 400)["missing_rate"].interval.value == 1.0
    assert measured(["a", "b"] * 5000, [1.5] * 400)["unseen_rate"].interval.value == 1.0
    assert measured(["a", "b"] * 5000, [[1, 2]] * 400)["unseen_rate"].interval.value == 1.0


def test_a_constant_feature_and_one_without_any_value_can_be_watched():
    constant = measured(np.full(1000, 7.5), [7.5] * 700 + [8.0] * 100)
    assert (constant["out_of_range_rate"].status, constant["psi"].status) == ("alarm", "alarm")
    assert constant["wasserstein"].interval.value is None
    nothing = measured(np.full(1000, np.nan), [1.0] * 500)
    assert nothing["psi"].status == "alarm"


def test_a_few_rows_are_insufficient_whatever_they_hold():
    assert measured(np.arange(10_000.0), [None] * 20)["missing_rate"].status == "insufficient"


def test_failures_are_errors_and_timeouts_among_the_runs():
    found = served(rows=880, ok=880, error=80, timeout=40, refused=500, skipped=300)
    assert found["error_rate"].interval.value == pytest.approx(0.12)
    assert (found["error_rate"].n, found["error_rate"].status) == (1000, "alarm")
    assert (found["predictions"].interval.value, found["predictions"].n) == (880.0, 880)


def test_a_failure_rate_passes_a_gate_with_its_whole_interval_and_is_ok_only_on_evidence():
    assert served(ok=1, error=0)["error_rate"].status == "insufficient"
    assert served(ok=98, error=2)["error_rate"].status == "insufficient"
    assert served(ok=1000)["error_rate"].status == "ok"
    assert served(ok=960, error=40)["error_rate"].status == "warn"
    assert served()["error_rate"].interval == (None, None, None)


def test_fallbacks_are_a_share_of_the_answers():
    found = served(ok=1000, fallback=200)["fallback_rate"]
    assert (found.interval.value, found.n, found.status) == (0.2, 1000, "alarm")


def test_label_coverage_is_the_share_of_rows_with_a_label():
    assert served(rows=400, labelled=100)["label_coverage"].interval.value == 0.25
    assert served()["label_coverage"].status == "insufficient"


def test_an_excess_is_tested_exactly():
    training, traffic = ["a"] * 960 + [None] * 40, ["a"] * 85 + [None] * 15
    bins = bins_of(training)
    counts = np.bincount(cells_of_column(bins, traffic), minlength=len(bins.counts))
    found = {rate.statistic: rate.p_value for rate in rates(bins, np.asarray(bins.counts), counts)}

    assert found["missing_rate"] == pytest.approx(fisher_exact([[15, 85], [40, 960]], alternative="greater").pvalue)
    assert found["unseen_rate"] == 1.0


def test_the_exact_test_is_that_of_scipy_for_few_and_for_very_many():
    random = np.random.default_rng(3)
    for n, reference_n in itertools.product([1, 6, 100, 10_000, 1_000_000], repeat=2):
        for share in (0.0, 0.001, 0.1, 0.9, 1.0):
            hits, usual = (int(random.binomial(size, share)) for size in (n, reference_n))
            table = [[hits, n - hits], [usual, reference_n - usual]]
            exact = fisher_exact(table, alternative="greater").pvalue
            assert fisher_greater(hits, n, usual, reference_n) == pytest.approx(exact, rel=1e-6, abs=1e-300), table
