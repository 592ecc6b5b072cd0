"""How the processes of a fleet are known to each other: what a monitor says of itself, and where every word is kept.

Enters and leaves: values, names of Redis keys, paths below `state_dir`. Never reads or writes there: gateway and monitor
each do so themselves, and meet in these names. All keys share one hash tag, so that a script may touch several of them.

A member's word lives under a key of its own that goes away after `REMEMBERED_MS`, and its name in an index (a set) that
readers go through. The time that a key has left tells how long its member has been silent, by Redis's clock alone: up to
`ALIVE_MS` it lives; after that it may be cut off and still serve.
"""

from pathlib import PurePath
from typing import Final, TypeVar

from contracts.verdict import Verdict
from contracts.wire import Contract

P = TypeVar("P", bound=PurePath)

ROOT: Final = "{pointsman}"
ALIVE_MS: Final = 5_000
"""How long a word counts without being said again; it is said every `HEARTBEAT_SECONDS`, so four may be lost."""
REMEMBERED_MS: Final = 600_000
"""How long a member that fell silent without leaving is still spoken of."""
HEARTBEAT_SECONDS: Final = 1.0
VERDICTS_MAX: Final = 1_000
"""Verdicts kept of one model, one a variant and guard; the longest unjudged go first."""

STORE: Final = f"{ROOT}:store"
HISTORY: Final = f"{ROOT}:history"
WORKERS: Final = f"{ROOT}:workers"
MONITORS: Final = f"{ROOT}:monitors"
REGISTRY_HINT: Final = f"{ROOT}:registry_hint"


class MonitorStanding(Contract, frozen=True, kw_only=True):
    """One monitor process. `partitions`: those it counts, none where it reads a spool; `lag_records`: written, not yet
    counted by it. Times are microseconds since the epoch, UTC; `watermark_us` is 0 before the first record.
    """

    member: str
    started_us: int
    at_us: int
    partitions: tuple[int, ...] = ()
    counted_records: int = 0
    lag_records: int = 0
    caught_up: bool = False
    watermark_us: int = 0
    problem: str = ""


class Verdicts(Contract, frozen=True, kw_only=True):
    """The latest verdicts on one model, as one host keeps them in a file."""

    verdicts: tuple[Verdict, ...]


def plan_key(model: str) -> str:
    """A hash: revision, plan, and the token of the write that made it."""
    return f"{ROOT}:plan:{model}"


def revisions_key(model: str) -> str:
    """A sorted set: where each change of a model stands in the history, by revision."""
    return f"{ROOT}:revisions:{model}"


def gates_key(model: str) -> str:
    """A sorted set: the latest gate results of a model (JSON), by when they were evaluated."""
    return f"{ROOT}:gates:{model}"


def alias_book_key(model: str) -> str:
    """A hash: number, book, and the token of the write that made it."""
    return f"{ROOT}:aliases:{model}"


def changed_channel(database: int) -> str:
    """Where every accepted change is called out; channels, unlike keys, are shared by all databases of a server."""
    return f"{ROOT}:changed:{database}"


def worker_key(name: str) -> str:
    """What a worker says of itself."""
    return f"{WORKERS}:{name}"


def monitor_key(member: str) -> str:
    """What a monitor says of itself."""
    return f"{MONITORS}:{member}"


def verdicts_key(model: str) -> str:
    """A hash: the latest verdict of each variant and guard."""
    return f"{ROOT}:verdicts:{model}"


def judged_key(model: str) -> str:
    """A sorted set: when each of them was judged."""
    return f"{ROOT}:judged:{model}"


def monitor_file(state_dir: P, member: str) -> P:
    """What a monitor of this host says of itself, where there is no Redis."""
    return state_dir / "monitors" / f"{member.replace('/', '-')}.json"


def verdict_file(state_dir: P, model: str) -> P:
    """The latest verdicts on a model, where there is no Redis."""
    return state_dir / "verdicts" / f"{model}.json"


def verdict_field(verdict: Verdict) -> str:
    """What a verdict is the latest of; a variant's name has no slash."""
    return f"{verdict.variant}/{verdict.guard}"


def latest(kept: tuple[Verdict, ...], fresh: tuple[Verdict, ...]) -> tuple[Verdict, ...]:
    """The latest verdict of each variant and guard, by their names; at most VERDICTS_MAX, the latest judged of all."""
    newest: dict[str, Verdict] = {}
    for verdict in (*kept, *fresh):
        other = newest.get(verdict_field(verdict))
        if other is None or verdict.judged_us >= other.judged_us:
            newest[verdict_field(verdict)] = verdict
    bounded = sorted(newest.values(), key=lambda verdict: -verdict.judged_us)[:VERDICTS_MAX]
    return tuple(sorted(bounded, key=verdict_field))
