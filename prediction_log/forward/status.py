"""What the forwarder says of itself once a second, and how others read it.

Enters: counts. Leaves: `<state_dir>/forwarder.json`, replaced by atomic rename, so that a reader sees one moment or another.
Counters start again with each forwarder process. Never asks a forwarder anything.
"""

from pathlib import Path
from typing import Final, Literal

from contracts.errors import InvalidRecord
from contracts.wire import Contract, decode, encode

FILE_NAME: Final = "forwarder.json"

State = Literal["connecting", "forwarding", "waiting", "stopped"]


class ForwarderStatus(Contract, frozen=True, kw_only=True):
    """One moment. Counted since the process started, in records: `sent` (again, too, after an error), `acked`, `dead`
    (kept aside, a tombstone sent); `bytes` of acknowledged values; `rebuilds` of the producer; `repairs` of cursors;
    `removed` segments. Now: what is committed in the spool and not acknowledged; `oldest_unsent_us` when the oldest of
    that was received. `waiting`: Kafka has acknowledged nothing for a while. `trouble` is for people, null where there is
    none. Times in microseconds since the epoch.
    """

    at_us: int
    started_us: int
    pid: int
    state: State
    trouble: str | None
    logs: int
    sent: int
    acked: int
    bytes: int
    dead: int
    rebuilds: int
    repairs: int
    removed: int
    backlog_records: int
    backlog_bytes: int
    oldest_unsent_us: int | None


def write_status(state_dir: Path, status: ForwarderStatus) -> None:
    """Replace the file. Raises OSError."""
    part = state_dir / f".{FILE_NAME}.part"
    part.write_bytes(encode(status))
    part.replace(state_dir / FILE_NAME)


def read_status(state_dir: Path) -> ForwarderStatus | None:
    """The last status of the forwarder of this state directory; None where there is none, or none that we understand."""
    try:
        return decode(ForwarderStatus, (state_dir / FILE_NAME).read_bytes())
    except (OSError, InvalidRecord):
        return None
