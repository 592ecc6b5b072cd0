"""The alarm rule on known truths: how often it cries wolf, how soon it sees a wolf, when it keeps silent."""

import numpy as np
import pytest

from monitor.measures.drift import Column, compare, drift, largest_significant
from monitor.measures.policy import Gate, MonitorPolicy
from monitor.references.reference_bins import bins_of

FEATURES = 30
REFERENCE_ROWS = 50_000
NAMES = np.array([f"c{i}" for i in range(60)])


def draw(random, feature, n, shift=0.0):
    """One of 30 features: normal, skewed with an atom, whole numbers, categories with a long tail; some values missing."""
    if feature % 4 == 3:
        return NAMES[random.choice(60, n, p=np.arange(60, 0, -1) / 1830)].tolist()
    found = [
        lambda: random.normal(shift, 1, n),
        lambda: np.where(random.random(n) < 0.3, 0.0, random.lognormal(shift, 1, n)),
        lambda: random.poisson(30 * np.exp(shift / 5), n).astype(float),
    ][feature % 4]()
    found[random.random(n) < 0.02] = np.nan
    return found


@pytest.fixture(scope="module")
def bins():
    random = np.random.default_rng(0)
    return [bins_of(draw(random, feature, REFERENCE_ROWS)) for feature in range(FEATURES)]


@pytest.fixture(scope="module")
def column(bins):
    from monitor.counts.binning import cells_of_column

    def make(feature, values):
        of = bins[feature]
        counts = np.bincount(cells_of_column(of, values), minlength=len(of.counts))
        return Column(f"f{feature}", of, np.asarray(of.counts), counts)

    return make


def window(random, column, n, shifted=(), shift=0.0):
    return [column(f, draw(random, f, n, shift if f in shifted else 0.0)) for f in range(FEATURES)]


def status(found, statistic, feature):
    return next(of.status for of in found if (of.statistic, of.feature) == (statistic, feature))


def test_windows_without_drift_alarm_no_more_often_than_alpha_says(column):
    random, policy, windows = np.random.default_rng(1), MonitorPolicy(alpha=0.1), 100
    significant = alarmed = 0
    for _ in range(windows):
        columns = window(random, column, 700)
        p_values = [p_value for of in columns for p_value in compare(of).p_values]
        significant += largest_significant(p_values, policy.alpha) >= 0
        alarmed += any(of.status in {"warn", "alarm"} for of in drift(columns, policy))

    assert significant / windows <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / windows)
    assert alarmed <= significant


def test_without_significance_psi_gates_alone_would_alarm_almost_always(column):
    """What the rule is for: 30 features in windows of 100 rows pass PSI 0.1 by chance alone."""
    random = np.random.default_rng(2)
    found = drift(window(random, column, 100), MonitorPolicy())
    psi = [of for of in found if of.statistic == "psi"]

    assert sum(of.interval.value > 0.1 for of in psi) > 20
    assert {of.status for of in psi} == {"insufficient"}


def test_a_shift_of_half_a_deviation_is_seen_in_the_first_window_of_1000_rows(column):
    random, seen, innocent = np.random.default_rng(3), 0, 0
    for _ in range(40):
        found = drift(window(random, column, 1000, shifted={0}, shift=0.5), MonitorPolicy())
        seen += status(found, "psi", "f0") in {"warn", "alarm"} and status(found, "ks", "f0") in {"warn", "alarm"}
        innocent += sum(of.status in {"warn", "alarm"} and of.feature != "f0" for of in found)
    assert seen >= 39
    assert innocent == 0


def test_panes_too_small_by_themselves_see_the_shift_once_four_are_merged(column):
    """Delay: panes of 200 rows, a shift of one deviation at pane 0; psi speaks when the merged panes reach its n_min."""
    for seed in range(10):
        random = np.random.default_rng(seed)
        first = [column(0, draw(random, 0, 200, shift=1.0)) for _ in range(6)]
        told = []
        for panes in range(1, 7):
            counts = sum(of.current for of in first[:panes])
            rest = window(random, column, 200 * panes)[1:]
            found = drift([first[0]._replace(current=counts), *rest], MonitorPolicy())
            told.append(status(found, "psi", "f0"))
        assert told[0] == "insufficient"
        assert told[3:] == ["alarm", "alarm", "alarm"]


def test_each_statistic_is_insufficient_while_its_noise_could_reach_its_gate(column):
    random, feature = np.random.default_rng(4), 0
    needed = {}
    for n in (50, 100, 200, 300, 400, 500, 700, 1000, 1500, 2500):
        found = drift([column(feature, draw(random, feature, n))], MonitorPolicy(alpha=0.01))
        for of in found:
            if of.status != "insufficient":
                needed.setdefault(of.statistic, n)
    assert needed["missing_rate"] <= 100
    assert needed["psi"] in {500, 700}
    assert needed["ks"] in {400, 500}
    assert needed["js"] in {700, 1000}


def test_a_small_reference_is_as_blind_as_a_small_window():
    random = np.random.default_rng(5)
    reference = bins_of(random.normal(size=200))
    column = Column("x", reference, np.asarray(reference.counts), np.asarray(reference.counts) * 1000)
    found = drift([column], MonitorPolicy())
    assert {of.status for of in found if of.statistic in {"psi", "ks", "js", "wasserstein"}} == {"insufficient"}


def test_a_significant_but_small_effect_is_ok_and_the_gates_are_the_policys(column):
    random = np.random.default_rng(6)
    columns = [column(0, draw(random, 0, 50_000, shift=0.1))]
    strict = MonitorPolicy(psi=Gate(warn=0.005, alarm=0.007), ks=Gate(warn=0.03, alarm=0.9))

    calm, nervous = drift(columns, MonitorPolicy()), drift(columns, strict)

    assert next(of.interval.value for of in calm if of.statistic == "psi_p_value") < 1e-6
    assert (status(calm, "psi", "f0"), status(calm, "ks", "f0")) == ("ok", "ok")
    assert (status(nervous, "psi", "f0"), status(nervous, "ks", "f0")) == ("alarm", "warn")


def test_an_empty_window_says_nothing_and_never_zero(column):
    found = drift([column(0, []), column(3, [])], MonitorPolicy())
    assert {of.status for of in found} == {"insufficient"}
    assert {of.interval for of in found} == {(None, None, None)}


def test_no_columns_give_no_statistics():
    assert drift([], MonitorPolicy()) == []
