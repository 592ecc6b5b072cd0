"""Every threshold the statistics are held against, with its unit, its default and where the default is from.

Enters: numbers. Leaves: one frozen value that is handed down. Never measures.
"""

from contracts.errors import InvalidSettings
from contracts.wire import Contract


class Gate(Contract, frozen=True, kw_only=True):
    """A measured effect warns from `warn` on and alarms from `alarm` on."""

    warn: float
    alarm: float

    def __post_init__(self) -> None:
        """Refuse a gate that would alarm before it warns."""
        if not 0 <= self.warn <= self.alarm:
            raise InvalidSettings(f"gate warn = {self.warn}, alarm = {self.alarm}: needs 0 <= warn <= alarm")


class MonitorPolicy(Contract, frozen=True, kw_only=True):
    """All thresholds.

    `alpha`: the probability that one window of one variant and slice without any change shows a warning or an alarm of
    drift or of input quality. Benjamini-Hochberg holds it over all features and tests of the window; on top, the effect
    must pass its gate. At 0.01, hourly windows say something false about once in four days before the gates, and next to
    never after them.

    Distances. `psi` 0.1 / 0.2: the convention of credit scoring (Siddiqi, Credit Risk Scorecards). `js` (base 2), `ks` and
    `wasserstein` (in standard deviations of the reference) 0.1 / 0.2: 0.1 is the first gate of Evidently and NannyML.
    Hellinger, total variation and L-infinity are shown and not judged: they see what PSI and JS see.

    Rates. `rate`: how far a missing, unseen or out-of-range rate may exceed the reference's, in shares: 0.01 / 0.05.
    `failure` and `fallback`: shares of the records, absolute: 0.01 / 0.05.

    Labels. Fewer than `labels_min` labels, or `class_labels_min` of a class that the statistic divides by, are
    insufficient: an AUC of 0.85 from 100 labels, 30 of them positive, is known to within 0.09.

    Performance may be worse than the reference's own by: `auc_tolerance` (AUC), `share_tolerance` (precision, recall, F1,
    accuracy, false positive rate), `r2_tolerance` (R2), `loss_tolerance` (log loss, Brier, MAE, RMSE; relative),
    `bias_tolerance` (in standard deviations of the labels).

    Calibration. `ece`: how far ECE may exceed the reference's, 0.02 / 0.05. `observed_expected`: how far O/E may be from 1,
    as a factor, 1.1 / 1.25.
    """

    alpha: float = 0.01
    psi: Gate = Gate(warn=0.1, alarm=0.2)
    js: Gate = Gate(warn=0.1, alarm=0.2)
    ks: Gate = Gate(warn=0.1, alarm=0.2)
    wasserstein: Gate = Gate(warn=0.1, alarm=0.2)
    rate: Gate = Gate(warn=0.01, alarm=0.05)
    failure: Gate = Gate(warn=0.01, alarm=0.05)
    fallback: Gate = Gate(warn=0.01, alarm=0.05)
    labels_min: int = 100
    class_labels_min: int = 10
    auc_tolerance: float = 0.02
    share_tolerance: float = 0.05
    r2_tolerance: float = 0.05
    loss_tolerance: float = 0.1
    bias_tolerance: float = 0.1
    ece: Gate = Gate(warn=0.02, alarm=0.05)
    observed_expected: Gate = Gate(warn=1.1, alarm=1.25)

    def __post_init__(self) -> None:
        """Refuse a level that is no probability and gates that say nothing."""
        if not 0 < self.alpha < 1:
            raise InvalidSettings(f"alpha = {self.alpha}: is a probability, strictly between 0 and 1")
        if self.labels_min < 2 or self.class_labels_min < 1:
            raise InvalidSettings("labels_min must be at least 2 and class_labels_min at least 1")
        if self.observed_expected.warn <= 1:
            raise InvalidSettings(f"observed_expected.warn = {self.observed_expected.warn}: is a factor, above 1")
