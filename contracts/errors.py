"""Every error of Pointsman, in one tree; each message says what, which value, and what to do.

    PointsmanError
    ├── InvalidInput         the caller sent something wrong; sending it again will not help
    │   └── InvalidRecord    bytes that should be a record, a plan or a reference are not
    ├── NotFound             no such model, version, alias, variant or prediction
    ├── Conflict             the plan moved on since it was read, or requires what is not there; read it again
    ├── Unavailable          not now: worth trying again
    │   ├── NotReady         known, but not loaded yet
    │   ├── Overloaded       a bound was reached: queue, memory, connections
    │   ├── LogUnavailable   the prediction log cannot be written, so nothing may be answered
    │   ├── RegistryUnavailable
    │   └── StoreUnavailable
    ├── QuotaExceeded        this client asks more than its share
    ├── DeadlineExceeded     the caller's time ran out
    ├── CallerGone           nobody waits for the answer any more
    ├── ModelRejected        these files must not or cannot be served
    ├── ModelFailed          the model ran and failed, or answered what cannot be passed on
    ├── CorruptLog           bytes of the prediction log are not what was written
    └── InvalidSettings      a setting is unknown, malformed or at odds with another

`code` is the constant name that goes into records, metrics and logs. Status codes are not known here: the rooms that
speak HTTP or gRPC map this tree by a table, and a test proves the table complete.
"""

from typing import ClassVar


class PointsmanError(Exception):
    """Root of the tree; never raised itself."""

    code: ClassVar[str] = "internal"
    retriable: ClassVar[bool] = False


class InvalidInput(PointsmanError):
    """The caller sent something wrong; the message names the field and the value."""

    code = "invalid_input"


class InvalidRecord(InvalidInput):
    """Bytes that should hold a record, a plan, a label or a reference do not."""

    code = "invalid_record"


class NotFound(PointsmanError):
    """No such model, version, alias, variant or prediction."""

    code = "not_found"


class Conflict(PointsmanError):
    """A compare-and-set lost: the plan moved on since the caller read it; or the plan requires a gate that is not there."""

    code = "conflict"


class Unavailable(PointsmanError):
    """Not now; worth trying again."""

    code = "unavailable"
    retriable = True


class NotReady(Unavailable):
    """Known, but not loaded yet."""

    code = "not_ready"


class Overloaded(Unavailable):
    """A bound was reached; the message names it."""

    code = "overloaded"


class LogUnavailable(Unavailable):
    """The prediction log cannot be written, so nothing may be answered."""

    code = "log_unavailable"


class RegistryUnavailable(Unavailable):
    """The registry cannot be read just now."""

    code = "registry_unavailable"


class StoreUnavailable(Unavailable):
    """The plan store cannot be read or written just now."""

    code = "store_unavailable"


class QuotaExceeded(PointsmanError):
    """This client asks more than its share; the message says when it may ask again."""

    code = "quota_exceeded"
    retriable = True


class DeadlineExceeded(PointsmanError):
    """The caller's time ran out before the answer was there."""

    code = "deadline_exceeded"
    retriable = True


class CallerGone(PointsmanError):
    """The caller closed the connection before the answer was there; what is not run yet is not run for nobody."""

    code = "caller_gone"


class ModelRejected(PointsmanError):
    """These model files must not or cannot be served."""

    code = "model_rejected"


class ModelFailed(PointsmanError):
    """The model ran and failed, or answered what cannot be passed on."""

    code = "model_failed"


class CorruptLog(PointsmanError):
    """Bytes of the prediction log are not what was written."""

    code = "corrupt_log"


class InvalidSettings(PointsmanError):
    """A setting is unknown, malformed or at odds with another."""

    code = "invalid_settings"
