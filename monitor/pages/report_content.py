"""What a report says, before it is a page: plain values that anyone can fill in and `report.py` writes as HTML."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from contracts.statistic import Statistic
from monitor.pages.distributions import Distribution
from monitor.pages.plots import CalibrationPoint, Line
from monitor.pages.rows import variant_name

WORST_DRIFT: Final = "psi_debiased"
"""Of the series: the worst feature's. With few rows a point, the expected noise of PSI would hide what is there."""


class FeatureSheet(NamedTuple):
    """One drawn feature: its PSI row and its distribution beside the reference's."""

    name: str
    distribution: Distribution


class VariantSheet(NamedTuple):
    """One version in one variant. `rows` counts predictions; `share` is their part of all that were recorded; `earlier` of
    them were counted under an earlier reference.

    `statistics` are over all its traffic; `features` are those with the most drift, worst first.
    """

    version: str
    variant: str
    rows: int
    share: float
    earlier: int
    statistics: Sequence[Statistic]
    features: Sequence[FeatureSheet]
    score: Distribution | None
    calibration: Sequence[CalibrationPoint]

    @property
    def name(self) -> str:
        """What the page calls it."""
        return variant_name(self.variant, self.version)


class LogNote(NamedTuple):
    """Something found in the prediction log; `serious` where an answered record is missing or in doubt."""

    serious: bool
    text: str


class Content(NamedTuple):
    """One model over [from, to) of event time. `series` maps a statistic to one line per variant; `slices` holds the
    statistics of the declared slices; `odd_inputs` and `labels` are tallies since the beginning: (what, of which feature or
    why) -> how many. Times are microseconds since the epoch, UTC; `bucket` names the width of a point of the series.
    """

    model: str
    from_us: int
    to_us: int
    made_us: int
    variants: Sequence[VariantSheet]
    slices: Sequence[Statistic]
    series: dict[str, Sequence[Line]]
    bucket: str
    notes: Sequence[LogNote]
    labels: dict[tuple[str, str], int]
    odd_inputs: dict[tuple[str, str], int]
