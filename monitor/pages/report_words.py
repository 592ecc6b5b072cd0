"""Statistics -> sentences: what to look at first, what a status means, what each statistic is called.

Enters: rows of statistics and findings of the log. Leaves: plain text, worst first; whoever puts it on a page escapes it.
Never computes a statistic and never judges one again: a status is taken as it stands.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from contracts.statistic import Statistic, StatisticStatus
from monitor.pages.rows import HIGHER_IS_BETTER, WORST_FIRST, find

NONE: Final = "\u2013"
"""What stands where a value is undefined: a dash, never 0."""
NAMED_MAX: Final = 3
"""Statistics named in one sentence; of more, the number is told."""
COVERAGE_LOW: Final = 0.5
"""Under this share of labelled predictions the performance figures may be those of the quick labels only."""

MEANING: Final = MappingProxyType(
    {
        "ok": "enough was observed, and it lies within its gate",
        "warn": "past the first gate, or a difference that could still be chance: look at it in the coming days",
        "alarm": "past the second gate with enough observations to rule out chance: act on it",
        "insufficient": "too few observations to say anything: neither good nor bad news, and never a pass",
    }
)

TITLES: Final = MappingProxyType(
    {
        "psi": "PSI",
        "ks": "KS",
        "js": "JS distance",
        "auc": "AUC",
        "ece": "ECE",
        "mae": "MAE",
        "rmse": "RMSE",
        "brier": "Brier",
        "r2": "R²",
        "f1": "F1",
        "observed_expected": "observed/expected",
        "spiegelhalter_z": "Spiegelhalter's Z",
        "l_infinity": "largest shift of a share",
        "tvd": "total variation",
        "fpr": "false positive rate",
    }
)


Named = tuple[str, Sequence[Statistic]]
"""A variant as the page calls it, and its statistics."""


class Attention(NamedTuple):
    """One thing to look at: how bad, and the sentence."""

    status: StatisticStatus
    sentence: str


def title(statistic: str) -> str:
    """The statistic's name as people write it."""
    return TITLES.get(statistic, statistic.replace("_", " "))


def figure(statistic: str, value: float | None) -> str:
    """The value with its unit as people read it; a dash where it is undefined."""
    if value is None:
        return NONE
    if statistic.endswith(("_rate", "coverage", "share")):
        return f"{value:.2%}" if abs(value) < 0.0995 else f"{value:.1%}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.4g}"


def named(row: Statistic) -> str:
    """The statistic and the feature it is of."""
    return f"{title(row.statistic)} of {row.feature}" if row.feature else title(row.statistic)


def with_interval(row: Statistic) -> str:
    """`value [low, high]`, without the brackets where there is no interval."""
    said = figure(row.statistic, row.value)
    if row.value is None or row.low is None or row.high is None:
        return said
    return f"{said} [{figure(row.statistic, row.low)}, {figure(row.statistic, row.high)}]"


def brief(value: float | None) -> str:
    """For small print: enough digits to see how wide an interval is."""
    return NONE if value is None else f"{value:.3f}" if abs(value) < 10 else f"{value:.4g}"


def brief_interval(row: Statistic) -> str:
    """`[low, high]` in small print; empty where there is none."""
    return "" if row.value is None or row.low is None or row.high is None else f"[{brief(row.low)}, {brief(row.high)}]"


def look_first(
    variants: Mapping[str, Sequence[Statistic]], findings: Sequence[str], rivals: Iterable[tuple[str, str]] = ()
) -> list[Attention]:
    """What a person should look at first, worst first; never empty.

    `variants` maps the name of each variant, as the page calls it, to its statistics over all its traffic; `rivals` are
    (champion, challenger) by these names, where they were asked at the same times.
    """
    found = [Attention("alarm", f"The prediction log is not complete: {text}") for text in findings[:NAMED_MAX]]
    for name, rows in variants.items():
        found += _of_variant(name, rows)
    for champion, challenger in rivals:
        found += _between((champion, variants[champion]), (challenger, variants[challenger]))
    found.sort(key=lambda attention: WORST_FIRST.index(attention.status))
    return found or [_all_quiet(variants)]


def one_per_feature(rows: Sequence[Statistic]) -> list[Statistic]:
    """What is wrong with the whole version, then each feature once: by PSI where that is among the rows, else by the first.

    Several distances of one feature say the same thing again; the table of the variant has them all.
    """
    features: dict[str, Statistic] = {}
    for row in rows:
        if row.feature and (row.feature not in features or row.statistic == "psi"):
            features[row.feature] = row
    drifted = sorted(features.values(), key=lambda row: (row.statistic != "psi", -(row.value or 0.0), row.feature))
    return [row for row in rows if not row.feature] + drifted


def _of_variant(name: str, rows: Sequence[Statistic]) -> list[Attention]:
    found = []
    told: set[str] = set()
    for status in ("alarm", "warn"):
        bad = one_per_feature([row for row in rows if row.status == status and row.feature not in told])
        told |= {row.feature for row in bad if row.feature}
        if bad:
            found.append(Attention(status, f"{name}: {_counted(len(bad), status)}: {_named(bad)}."))
    coverage = find(rows, "label_coverage")
    if coverage is not None and coverage.n and coverage.value is not None and coverage.value < COVERAGE_LOW:
        said = f"{name}: only {figure('label_coverage', coverage.value)} of the predictions have a label so far"
        found.append(Attention("insufficient", f"{said}; early labels can mislead."))
    return found


def _between(champion: Named, challenger: Named) -> list[Attention]:
    """In what the challenger's interval lies clear of the champion's."""
    sides: dict[bool, list[str]] = {True: [], False: []}
    for statistic, higher in HIGHER_IS_BETTER.items():
        one, other = _interval(champion[1], statistic), _interval(challenger[1], statistic)
        if one is not None and other is not None and (other[0] > one[1] or other[1] < one[0]):
            sides[(other[0] > one[1]) == higher].append(title(statistic))
    return [_clear_of(challenger[0], champion[0], titles, better=better) for better, titles in sides.items() if titles]


def _clear_of(name: str, champion: str, titles: Sequence[str], *, better: bool) -> Attention:
    what = " and ".join([", ".join(titles[:-1]), titles[-1]] if len(titles) > 1 else titles)
    verb, word = ("are" if len(titles) > 1 else "is"), ("better" if better else "worse")
    sentence = f"{name}: {what} {verb} {word} than with {champion}; the 95 % intervals do not overlap."
    return Attention("ok" if better else "warn", sentence)


def _interval(rows: Sequence[Statistic], statistic: str) -> tuple[float, float] | None:
    row = find(rows, statistic)
    return None if row is None or row.low is None or row.high is None else (row.low, row.high)


def _all_quiet(variants: Mapping[str, Sequence[Statistic]]) -> Attention:
    statuses = [row.status for rows in variants.values() for row in rows]
    if not statuses or all(status == "insufficient" for status in statuses):
        return Attention("insufficient", "Too little was observed to say anything yet.")
    return Attention("ok", "Nothing stands out: no statistic is past its gate, and the prediction log is complete.")


def _counted(number: int, status: str) -> str:
    noun = {"alarm": "alarm", "warn": "warning"}[status]
    return f"{number} {noun}{'s' if number > 1 else ''}"


def _named(rows: Sequence[Statistic]) -> str:
    more = f" and {len(rows) - NAMED_MAX} more" if len(rows) > NAMED_MAX else ""
    return ", ".join(f"{named(row)} {figure(row.statistic, row.value)}" for row in rows[:NAMED_MAX]) + more
