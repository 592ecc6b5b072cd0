"""One statistic of one version, variant and slice over one stretch of event time: a row of `GET /summaries`.

Rows load as a table anywhere. `insufficient` means too few observations to say anything: neither ok nor alarm.
"""

from typing import Literal

from contracts.wire import Contract

StatisticStatus = Literal["ok", "warn", "alarm", "insufficient"]


class Statistic(Contract, frozen=True, kw_only=True, rename={"from_": "from"}):
    """One row. `from` and `to` are RFC 3339 UTC; `feature` is empty where the statistic is of the whole model; `value`,
    `low` and `high` are null where they are undefined, never 0.
    """

    model: str
    version: str
    variant: str
    slice: str
    from_: str
    to: str
    feature: str
    statistic: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    status: StatisticStatus
