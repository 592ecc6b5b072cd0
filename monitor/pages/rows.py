"""Picking among rows of statistics: one by its name, the features by their drift, what stands in a first overview.

Enters and leaves: rows. Never computes a statistic and never judges one again.
"""

from collections.abc import Iterable
from types import MappingProxyType
from typing import Final

from contracts.plan import CHAMPION
from contracts.statistic import Statistic, StatisticStatus
from registry_client.names import version_order

WORST_FIRST: Final[tuple[StatisticStatus, ...]] = ("alarm", "warn", "insufficient", "ok")
OVERVIEW: Final = (
    "label_coverage",
    "auc",
    "accuracy",
    "log_loss",
    "brier",
    "ece",
    "mae",
    "rmse",
    "error_rate",
    "fallback_rate",
)
SHARES: Final = frozenset({"label_coverage", "error_rate", "fallback_rate"})
"""Of the overview: what is shown without its interval, to leave room for those of the performance."""
HIGHER_IS_BETTER: Final = MappingProxyType(
    {"auc": True, "accuracy": True, "log_loss": False, "mae": False, "rmse": False}
)


def worst(statuses: Iterable[StatisticStatus]) -> StatisticStatus:
    """The worst of several statuses; `insufficient` where there is none, for no data is no pass."""
    return min(statuses, key=WORST_FIRST.index, default="insufficient")


def judged(rows: Iterable[Statistic]) -> StatisticStatus:
    """The worst status among the rows that had enough observations for one."""
    return worst(row.status for row in rows if row.status != "insufficient")


def find(rows: Iterable[Statistic], statistic: str, feature: str = "") -> Statistic | None:
    """The row of this statistic, or null."""
    return next((row for row in rows if row.statistic == statistic and row.feature == feature), None)


def by_drift(rows: Iterable[Statistic]) -> list[Statistic]:
    """The PSI rows of the features, most drift first; those with too few observations last."""
    found = [row for row in rows if row.statistic == "psi" and row.feature]
    return sorted(found, key=lambda row: (row.status == "insufficient", -(row.value or 0.0), row.feature))


def overview_columns(rows: Iterable[Statistic]) -> list[str]:
    """The statistics of the overview that these rows have."""
    present = {row.statistic for row in rows if not row.feature}
    return [name for name in OVERVIEW if name in present and not (name == "accuracy" and "auc" in present)]


def performance_statistic(rows: Iterable[Statistic]) -> str | None:
    """The one statistic that says best how good a version is, of those these rows have."""
    present = {row.statistic for row in rows if not row.feature}
    return next((name for name in HIGHER_IS_BETTER if name in present), None)


def by_variant(rows: Iterable[Statistic]) -> dict[tuple[str, str], list[Statistic]]:
    """The rows by (variant, version), in the order in which people read them."""
    found: dict[tuple[str, str], list[Statistic]] = {}
    for row in rows:
        found.setdefault((row.variant, row.version), []).append(row)
    return dict(sorted(found.items(), key=lambda item: variant_order(*item[0])))


def variant_order(variant: str, version: str) -> tuple[bool, str, tuple[int, int, str]]:
    """The champion first, then by name; versions from oldest to newest."""
    return variant != CHAMPION, variant, version_order(version)


def variant_name(variant: str, version: str) -> str:
    """What people call one version in one variant."""
    return f"{variant} (version {version})"
