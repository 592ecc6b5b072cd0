"""The suite: which rows a candidate is judged on, and what it must not be worse in, by how much.

Enters: the tables of a suite file as plain values. Leaves: one frozen `Suite`; `InvalidInput` names what is unknown, out of
range or at odds. Never reads a file, never judges. Everything is optional, but a suite that asks nothing never passes.
"""

import hashlib
import math
from typing import Any, Final, Literal

import msgspec
from msgspec.structs import asdict, replace

from contracts.errors import InvalidInput
from contracts.wire import Contract, encode_canonical

Scalar = str | int | bool
Better = Literal["higher", "lower"]
Rate = Literal["positive_rate", "true_positive_rate", "false_positive_rate", "error_rate"]

METRICS: Final[dict[str, dict[str, Better]]] = {
    "binary": {
        "auc": "higher",
        "accuracy": "higher",
        "precision": "higher",
        "recall": "higher",
        "fpr": "lower",
        "f1": "higher",
        "log_loss": "lower",
        "brier": "lower",
    },
    "multiclass": {"accuracy": "higher", "log_loss": "lower", "brier": "lower"},
    "regression": {"mae": "lower", "rmse": "lower", "r2": "higher"},
}
"""The metrics of each kind of task, and where better is."""
RATES: Final[dict[str, tuple[Rate, ...]]] = {
    "binary": ("positive_rate", "true_positive_rate", "false_positive_rate", "error_rate"),
    "multiclass": ("error_rate",),
    "regression": (),
}
ROWS_MIN: Final = 100
"""Fewer rows decide nothing: what `monitor.measures.policy.MonitorPolicy.labels_min` says of a window."""
CLASS_ROWS_MIN: Final = 10
"""Of each class that a metric divides by: `MonitorPolicy.class_labels_min`."""
TURNS_MIN: Final = 200
"""A 99th percentile of fewer turns rests on one or two of them."""
TURNS_MAX: Final = 100_000
BEHAVIOURS_MAX: Final = 100
CUTS_MAX: Final = 16
"""Features that a suite may slice by, and features whose groups it may compare."""
GROUPS_MAX: Final = 16
"""Values of one feature: `monitor.references.reference_building.SLICE_VALUES_MAX`."""


class Headline(Contract, frozen=True, kw_only=True):
    """The candidate's `metric` is not worse than the champion's by more than `epsilon`, in the metric's own units."""

    metric: str
    epsilon: float
    rows_min: int = ROWS_MIN

    def __post_init__(self) -> None:
        """Refuse what is out of range."""
        _at_least_zero("headline", self)


class SliceBound(Contract, frozen=True, kw_only=True):
    """In no slice of `feature`, any column of the data, is the metric worse by more than `worse_by_max`. Without `values`
    every value that occurs is a slice; without `metric` it is the headline's.
    """

    feature: str
    worse_by_max: float
    values: tuple[Scalar, ...] = ()
    metric: str | None = None
    rows_min: int = ROWS_MIN

    def __post_init__(self) -> None:
        """Refuse what is out of range."""
        _at_least_zero("slices", self)
        _few_values("slices", self.feature, self.values)


class CalibrationBound(Contract, frozen=True, kw_only=True):
    """The expected calibration error in ten bins is at most `ece_max`, and not above the champion's by more than
    `worse_by_max`.
    """

    ece_max: float | None = None
    worse_by_max: float | None = None
    rows_min: int = ROWS_MIN

    def __post_init__(self) -> None:
        """Refuse what is out of range or says nothing."""
        _at_least_zero("calibration", self)
        if self.ece_max is None and self.worse_by_max is None:
            raise InvalidInput("calibration: says neither ece_max nor worse_by_max")


class FairnessBound(Contract, frozen=True, kw_only=True):
    """The largest difference of `rate` between two groups, the values of a column of the data, is at most
    `difference_max`. `rows_min` is of what the rate divides by, in each group.
    """

    feature: str
    rate: Rate
    difference_max: float
    values: tuple[Scalar, ...] = ()
    rows_min: int = ROWS_MIN

    def __post_init__(self) -> None:
        """Refuse what is out of range."""
        _at_least_zero("fairness", self)
        _few_values("fairness", self.feature, self.values)


class LatencyBound(Contract, frozen=True, kw_only=True):
    """The 99th percentile of single-row runs is at most `ratio_max` times the champion's, measured in `turns` turns."""

    ratio_max: float
    turns: int = 2_000

    def __post_init__(self) -> None:
        """Refuse what is out of range."""
        _at_least_zero("latency", self)
        if not TURNS_MIN <= self.turns <= TURNS_MAX:
            raise InvalidInput(f"latency: turns = {self.turns}: from {TURNS_MIN} to {TURNS_MAX}")


class SizeBound(Contract, frozen=True, kw_only=True):
    """All files of the version together have at most `bytes_max` bytes."""

    bytes_max: int

    def __post_init__(self) -> None:
        """Refuse what is out of range."""
        _at_least_zero("size", self)


class Behaviour(Contract, frozen=True, kw_only=True):
    """One row of `inputs`, by feature, and what the answer must be: a number from `low` to `high`, or `label`.

    Without `output` the number is the task's prediction (binary: the probability of the positive class) and the label its
    decision; with one they are element `element` of that output.
    """

    name: str
    inputs: dict[str, str | int | float | bool]
    output: str | None = None
    element: int = 0
    low: float | None = None
    high: float | None = None
    label: Scalar | None = None

    def __post_init__(self) -> None:
        """Refuse a case that expects nothing, or two things."""
        ranged = self.low is not None or self.high is not None
        if ranged == (self.label is not None):
            raise InvalidInput(f"behaviour {self.name!r}: expects a range (low, high) or a label, one of them")
        if any(not math.isfinite(end) for end in (self.low, self.high) if end is not None):
            raise InvalidInput(f"behaviour {self.name!r}: low and high must be finite numbers")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise InvalidInput(f"behaviour {self.name!r}: low = {self.low} is above high = {self.high}")
        if self.element < 0:
            raise InvalidInput(f"behaviour {self.name!r}: element = {self.element} cannot be negative")


class Suite(Contract, frozen=True, kw_only=True):
    """One suite. `data` is a file of rows, `label` its column of truths. `resamples` stand behind each bootstrap."""

    data: str = ""
    label: str | None = None
    resamples: int = 1_000
    headline: Headline | None = None
    slices: tuple[SliceBound, ...] = ()
    calibration: CalibrationBound | None = None
    fairness: tuple[FairnessBound, ...] = ()
    latency: LatencyBound | None = None
    size: SizeBound | None = None
    behaviours: tuple[Behaviour, ...] = ()

    def __post_init__(self) -> None:
        """Refuse parts that are at odds."""
        if not 100 <= self.resamples <= 10_000:
            raise InvalidInput(f"resamples = {self.resamples}: from 100 to 10000")
        _bounded("slices", len(self.slices), CUTS_MAX)
        _bounded("fairness", len(self.fairness), CUTS_MAX)
        _bounded("behaviours", len(self.behaviours), BEHAVIOURS_MAX)
        if self.needs_label and self.label is None:
            raise InvalidInput("label: name the column of the truth; headline, slices, calibration and rates need it")
        if self.needs_rows and not self.data:
            raise InvalidInput("data: name a CSV or Parquet file; all but size and behaviours need rows")
        for cut in self.slices:
            if cut.metric is None and self.headline is None:
                raise InvalidInput(f"slices {cut.feature!r}: name a metric, for there is no headline to take it from")

    @property
    def cuts(self) -> "tuple[SliceBound | FairnessBound, ...]":
        """Everything that cuts the rows by a column."""
        return (*self.slices, *self.fairness)

    @property
    def needs_label(self) -> bool:
        """Whether anything is held against the truth."""
        judged = self.headline or self.slices or self.calibration
        return bool(judged) or any(bound.rate != "positive_rate" for bound in self.fairness)

    @property
    def needs_scores(self) -> bool:
        """Whether the versions run over all rows."""
        return self.needs_label or bool(self.fairness)

    @property
    def needs_rows(self) -> bool:
        """Whether anything needs the data."""
        return self.needs_scores or self.latency is not None

    @property
    def asks_nothing(self) -> bool:
        """Whether there is no check at all."""
        return not (self.needs_rows or self.size or self.behaviours)


def suite_of(tables: dict[str, Any]) -> Suite:
    """The suite that these tables say; `InvalidInput` names the key that is unknown or wrong."""
    try:
        return msgspec.convert(tables, Suite, strict=True)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"{str(error)[:1].lower()}{str(error)[1:]}") from None


def policy_sha256(suite: Suite) -> str:
    """The hash of the canonical JSON of all that the suite says but where its data lies: the data has a hash of its own."""
    nowhere = replace(suite, data="data" if suite.data else "")
    return hashlib.sha256(encode_canonical(nowhere)).hexdigest()


def _at_least_zero(where: str, bound: Contract) -> None:
    for name, value in asdict(bound).items():
        if isinstance(value, int | float) and not (math.isfinite(value) and value >= 0):
            raise InvalidInput(f"{where}: {name} = {value}: must be a finite number, 0 or more")
    if getattr(bound, "rows_min", ROWS_MIN) < 2:
        raise InvalidInput(f"{where}: rows_min must be at least 2, for one row has no interval")


def _few_values(where: str, feature: str, values: tuple[Scalar, ...]) -> None:
    _bounded(f"{where} {feature!r}: values", len(values), GROUPS_MAX)


def _bounded(what: str, count: int, most: int) -> None:
    if count > most:
        raise InvalidInput(f"{what}: {count} are too many, at most {most}")
