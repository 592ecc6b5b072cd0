"""The proof of the proofs: each safeguard is switched off in turn, and a test that is named here has to turn red.

As a pytest plugin (`-p tests.flow.mutations --mutation NAME`) it switches one safeguard off before the tests are read; as a
program (`python -m tests.flow.mutations`, `make mutate`) it does so for all of them and prints a table. No source is edited.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

FAILED = 1
"""Pytest's exit code where tests ran and some failed; anything else proves nothing."""
OBJECTION = re.compile(r"^E\s+((?:AssertionError|assert)\b.*)$", re.MULTILINE)
"""How an assertion is told; any other error would be the mutation's own."""


def batches_are_not_synced() -> None:
    """Level `power` acknowledges what the page cache has."""
    from prediction_log.spool import segment_file

    segment_file.sync_data = lambda _disk, _fd: None


def cursor_moves_before_acknowledgement() -> None:
    """What was handed to the producer counts as delivered."""
    from prediction_log.forward.feed import Feed

    honest = Feed.next_part

    def hasty(self: Feed, bytes_max: int) -> Any:
        part = honest(self, bytes_max)
        if part is not None:
            self.acked = part.after
        return part

    Feed.next_part = hasty


def cursor_is_not_held_against_the_files() -> None:
    """A cursor beyond the data is believed."""
    from prediction_log.forward import feed

    feed._put_right = lambda _directory, cursor: (cursor, None)


def cursor_is_believed_unread() -> None:
    """A slot with a wrong checksum counts."""
    from prediction_log.forward import cursor

    honest = cursor._decode

    def credulous(slot: bytes, seed: int) -> Any:
        if len(slot) >= cursor._PREFIX.size:
            magic, size, generation, _ = cursor._PREFIX.unpack_from(slot)
            content = slot[cursor._PREFIX.size : cursor._PREFIX.size + size]
            crc = cursor.crc32(content, cursor.crc32(cursor.struct.pack("<IQ", size, generation), seed))
            slot = cursor._PREFIX.pack(magic, size, generation, crc) + slot[cursor._PREFIX.size :]
        return honest(slot, seed)

    cursor._decode = credulous


def duplicates_are_counted() -> None:
    """Whatever the monitor reads it counts."""
    from monitor.counts import intake
    from prediction_log.intervals import add

    def greedy(run: Sequence[Any], intervals: list[Any]) -> Sequence[Any]:
        for entry in run:
            add(intervals, entry.seq, entry.seq)
        return run

    intake._not_counted = greedy


def high_water_mark_instead_of_coverage() -> None:
    """Everything up to the newest seq counts as seen."""
    from monitor.counts import intake
    from prediction_log.intervals import add

    def marked(run: Sequence[Any], intervals: list[Any]) -> Sequence[Any]:
        kept = []
        for entry in run:
            if entry.seq > (intervals[-1][1] if intervals else 0):
                add(intervals, 1, entry.seq)
                kept.append(entry)
        return kept

    intake._not_counted = marked


def join_store_undoes_nothing() -> None:
    """What a step wrote that the state did not save stays in the join store."""
    from monitor.counts.join_store import JoinStore, WriteBatch

    def forgetful(self: JoinStore, _layers: list[Any]) -> None:
        self._write(WriteBatch(raw_mode=True), whole=True)

    JoinStore._undo = forgetful


def restored_positions_are_ahead() -> None:
    """A new owner goes on a few records behind the published positions."""
    _change_marker(lambda marker: {"positions": {name: str(int(at) + 5) for name, at in marker.positions.items()}})


def restored_positions_are_lost() -> None:
    """A new owner takes over the counts, and not how far they are."""
    _change_marker(lambda _marker: {"positions": {}, "seen": {}})


def any_suite_opens() -> None:
    """A passed gate counts, whichever suite the plan pins."""
    from gateway.traffic import gating

    gating._is_of = lambda _pin, _gate: True


def _change_marker(changes: Callable[[Any], dict[str, Any]]) -> None:
    from monitor.fleet.reassembly import Reassembly

    honest = Reassembly.marker

    def changed(self: Reassembly, mark: Any) -> Any:
        marker = honest(self, mark)
        return msgspec.structs.replace(marker, **changes(marker))

    Reassembly.marker = changed


class Mutation(NamedTuple):
    """A safeguard that is switched off, and the test that notices; `kafka` where that test needs a broker."""

    switch_off: Callable[[], None]
    noticed_by: str
    kafka: bool = False

    @property
    def name(self) -> str:
        """The function's name."""
        return self.switch_off.__name__


LOG, MONITOR = "tests/prediction_log", "tests/monitor"
MUTATIONS = [
    Mutation(
        batches_are_not_synced,
        f"{LOG}/test_crash_states.py::test_level_power_keeps_every_acknowledged_record_in_every_legal_crash_state",
    ),
    Mutation(
        cursor_moves_before_acknowledgement,
        f"{LOG}/test_forwarder_faults.py::test_what_is_not_the_record_s_fault_never_costs_a_record",
        kafka=True,
    ),
    Mutation(
        cursor_is_not_held_against_the_files,
        f"{LOG}/test_forwarder.py::test_a_cursor_beyond_the_data_is_clamped_and_counted",
        kafka=True,
    ),
    Mutation(cursor_is_believed_unread, f"{LOG}/test_cursor.py"),
    Mutation(
        duplicates_are_counted,
        f"{MONITOR}/core/test_consume_log.py::test_reading_the_whole_log_again_counts_nothing_again",
    ),
    Mutation(
        high_water_mark_instead_of_coverage,
        f"{MONITOR}/core/test_intake_coverage.py::test_a_record_that_arrives_below_the_newest_is_counted_once",
    ),
    Mutation(
        join_store_undoes_nothing,
        f"{MONITOR}/core/test_join_store.py::test_a_crash_at_any_write_of_either_store_is_as_if_it_had_not_happened",
    ),
    Mutation(
        restored_positions_are_ahead,
        f"{MONITOR}/fleet/test_restoring.py::test_an_owner_that_was_overtaken_takes_over_what_the_other_counted",
        kafka=True,
    ),
    Mutation(
        restored_positions_are_lost,
        f"{MONITOR}/fleet/test_restoring.py::test_an_owner_that_was_overtaken_takes_over_what_the_other_counted",
        kafka=True,
    ),
    Mutation(any_suite_opens, "tests/gateway/test_gating.py::test_a_gate_counts_where_it_is_of_what_the_plan_pins"),
]


def pytest_addoption(parser: Any) -> None:
    """`--mutation NAME`."""
    parser.addoption("--mutation", choices=[one.name for one in MUTATIONS])


def pytest_configure(config: Any) -> None:
    """Switch the safeguard off, before any test is read."""
    name = config.getoption("--mutation")
    for one in MUTATIONS:
        if one.name == name:
            one.switch_off()


def noticed(mutation: Mutation, kafka: str | None = None) -> tuple[str | None, str]:
    """What the named test objects to, null where it stays green; and all it said. `kafka` is a broker that runs already."""
    environment = dict(os.environ) | ({"POINTSMAN_TEST_KAFKA": kafka} if kafka else {})
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pytest", "-x", "-p", "tests.flow.mutations", "-p", "no:cacheprovider"]
        command += ["--basetemp", folder, "--mutation", mutation.name, mutation.noticed_by]
        done = subprocess.run(
            command,
            env=environment,
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    objection = OBJECTION.search(done.stdout)
    red = done.returncode == FAILED and objection is not None
    return objection[1] if red and objection else None, done.stdout + done.stderr


def main() -> int:
    """All of them; 1 where one went unnoticed."""
    from tests.services.kafka import cluster

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("names", nargs="*", help="only these")
    names = parser.parse_args().names
    chosen = [one for one in MUTATIONS if one.name in names or not names]
    unnoticed = 0
    with tempfile.TemporaryDirectory() as folder:
        brokers = cluster(Path(folder))
        brokers.start()
        try:
            for one in chosen:
                unnoticed += not told(one, brokers.address)
        finally:
            brokers.stop()
    print(f"{unnoticed} of {len(chosen)} went unnoticed")
    return min(unnoticed, 1)


def told(mutation: Mutation, kafka: str) -> bool:
    """A row of the table; whether the mutation was noticed."""
    began = time.monotonic()
    objection, said = noticed(mutation, kafka if mutation.kafka else None)
    test = mutation.noticed_by.rpartition("/")[2]
    print(f"{'GREEN' if objection is None else 'red  '} {time.monotonic() - began:5.1f} s  {mutation.name}: {test}")
    print(f"    {said[-3000:] if objection is None else objection[:110]}", flush=True)
    return objection is not None


if __name__ == "__main__":
    sys.exit(main())
