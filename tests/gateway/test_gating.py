"""Which gates count for a plan: any that passed between these bytes, or only those of the suite that the plan pins."""

import json

import pytest
from msgspec.structs import replace

from contracts.errors import InvalidInput
from contracts.gate_pin import GatePin
from contracts.plan import Change, Plan, VersionRef
from contracts.wire import decode, encode
from gateway.plan_store.sqlite import SqlitePlanStore
from gateway.traffic import shifts
from gateway.traffic.gating import exposed, gate_command, other_than_pinned, ungated
from gateway.traffic.last_good import LastGood, framed
from tests.gateway.gate_results import gate_result

EASY, HARD, ROWS, OTHER_ROWS = ("e" * 64, "f" * 64, "a" * 64, "c" * 64)
ONE, TWO = VersionRef(version="1", digest="d1"), VersionRef(version="2", digest="d2")
PIN = GatePin(policy_sha256=HARD, suite="suites/hard.toml")
ON_ROWS = replace(PIN, data_sha256=ROWS)


@pytest.fixture
def plan():
    return shifts.require_gate(shifts.start("m", ONE, salt="s"), required=True)


def pinned(plan, pin=PIN):
    return shifts.require_gate(plan, required=True, pin=pin)


def gates(*said):
    """Results of version 2 against 1, the last evaluated first: each an outcome, a policy, and perhaps its data."""
    number = len(said)
    return [
        gate_result(number - at, outcome, policy_sha256=policy, **({"data_sha256": data[0]} if data else {}))
        for at, (outcome, policy, *data) in enumerate(said)
    ]


@pytest.mark.parametrize(
    ("pin", "results", "opens"),
    [
        (None, gates(("pass", EASY)), True),
        (None, gates(("fail", EASY)), False),
        (PIN, gates(("pass", EASY)), False),
        (PIN, gates(("pass", HARD)), True),
        (PIN, gates(("pass", HARD, OTHER_ROWS)), True),
        (PIN, gates(("fail", HARD)), False),
        (PIN, gates(("inconclusive", HARD)), False),
        (PIN, [], False),
        (ON_ROWS, gates(("pass", HARD, ROWS)), True),
        (ON_ROWS, gates(("pass", HARD, OTHER_ROWS)), False),
        (ON_ROWS, gates(("pass", HARD, "")), False),
        (ON_ROWS, gates(("pass", EASY, ROWS)), False),
        # an older result of the right suite counts, whatever other suites said since
        (PIN, gates(("fail", EASY), ("pass", HARD)), True),
        # a pass of an easier suite does not make up for the one that failed
        (PIN, gates(("pass", EASY), ("fail", HARD)), False),
    ],
)
def test_a_gate_counts_where_it_is_of_what_the_plan_pins(plan, pin, results, opens):
    asked = plan if pin is None else pinned(plan, pin)
    assert (ungated(asked, [TWO], results) == {}) is opens


def test_bytes_count_under_a_pin_as_they_do_without(plan):
    stale = replace(gates(("pass", HARD))[0], baseline=VersionRef(version="1", digest="of other files"))
    other = replace(gates(("pass", HARD))[0], candidate=VersionRef(version="2", digest="of other files"))
    alone = replace(gates(("missing", HARD))[0], baseline=None)
    assert "stale" in ungated(pinned(plan), [TWO], [stale])[TWO]
    assert "none at all" in ungated(pinned(plan), [TWO], [other])[TWO]
    assert ungated(pinned(plan), [TWO], [alone])


def test_the_reason_says_what_is_wanted_and_what_is_there(plan):
    said = ungated(pinned(plan, ON_ROWS), [TWO], gates(("pass", EASY), ("fail", EASY), ("pass", HARD, "")))[TWO]
    assert "has no passing gate against the champion, version '1' (digest d1)" in said
    assert f"of policy {HARD[:12]} (suites/hard.toml) on data {ROWS[:12]}: " in said
    there = f"policy {EASY[:12]} on data {ROWS[:12]}, policy {HARD[:12]} without data"
    assert said.endswith(f"those that it has are of {there}")
    failed = gates(("pass", EASY), ("fail", HARD))
    assert ungated(pinned(plan), [TWO], failed)[TWO].endswith(f"its last one, {failed[1].gate_id}, says fail")


def test_of_many_other_suites_the_last_few_are_named(plan):
    said = ungated(pinned(plan), [TWO], gates(*(("pass", f"{n:x}".ljust(64, "0"), "") for n in range(1, 16))))[TWO]
    assert said.count("without data") == 3


@pytest.mark.parametrize(
    ("pin", "command"),
    [
        (None, "`pointsman gate m 2 --suite FILE`"),
        (PIN, "`pointsman gate m 2 --suite suites/hard.toml`"),
        (replace(PIN, suite="my suites/$x.toml"), "`pointsman gate m 2 --suite 'my suites/$x.toml'`"),
        (replace(PIN, suite=""), f"`pointsman gate m 2 --suite FILE`, FILE being the suite of policy {HARD},"),
    ],
)
def test_the_command_is_the_one_to_run(plan, pin, command):
    assert gate_command(plan if pin is None else pinned(plan, pin), TWO) == command


def test_a_result_of_another_suite_is_told_that_it_opens_nothing(plan):
    easy, hard = gates(("pass", EASY), ("pass", HARD))
    assert other_than_pinned(plan, easy) == other_than_pinned(pinned(plan), hard) == ""
    said = other_than_pinned(pinned(plan), easy)
    assert f"revision 3 of 'm' wants a gate of policy {HARD[:12]} (suites/hard.toml), this one is of policy" in said


def test_a_pin_stays_until_another_replaces_it_or_it_is_taken_away(plan):
    held = pinned(plan)
    assert held.gate_pin == PIN
    assert shifts.require_gate(held, required=True).gate_pin == PIN
    assert shifts.canary(held, TWO, 0.1).gate_pin == PIN
    assert shifts.require_gate(held, required=True, pin=ON_ROWS).gate_pin == ON_ROWS
    lifted = shifts.require_gate(held, required=True, unpin=True)
    assert (lifted.gate_required, lifted.gate_pin) == (True, None)
    off = shifts.require_gate(held, required=False)
    assert (off.gate_required, off.gate_pin) == (False, None)
    assert shifts.require_gate(off, required=True).gate_pin is None


def test_an_older_plan_comes_back_under_the_pin_of_today(plan):
    before_any_gate = shifts.start("m", ONE, salt="s")
    assert shifts.restore(pinned(plan), before_any_gate).gate_pin == PIN
    assert shifts.restore(shifts.require_gate(pinned(plan), required=True, unpin=True), pinned(plan)).gate_pin is None


@pytest.mark.parametrize("more", [{"required": False}, {"required": True, "unpin": True}])
def test_a_pin_and_its_opposite_at_once_are_refused(plan, more):
    with pytest.raises(InvalidInput, match="a pin at once: say one of them"):
        shifts.require_gate(plan, pin=PIN, **more)


def test_a_plan_that_pins_and_requires_nothing_is_none(plan):
    with pytest.raises(InvalidInput, match="gate_required is false"):
        replace(pinned(plan), gate_required=False)


def test_a_change_of_the_pin_alone_exposes_nobody(plan):
    held = shifts.canary(plan, TWO, 0.1)
    assert exposed(held, pinned(held)) == ()


@pytest.mark.parametrize("field", ["policy_sha256", "data_sha256"])
@pytest.mark.parametrize("bad", ["", "f" * 63, "f" * 65, "g" * 64, "F" * 64, "f" * 63 + "\n", "f" * 64 + "\n"])
def test_what_is_no_hash_is_no_pin(field, bad):
    with pytest.raises(InvalidInput, match=f"{field}: .* is not 64 lower-case hexadecimal digits"):
        GatePin(**{"policy_sha256": HARD, field: bad})


@pytest.mark.parametrize("bad", ["x" * 301, "a\nb", "a\x1b[31mb", "a\udcff"])
def test_a_suite_s_name_that_cannot_be_shown_is_refused(bad):
    with pytest.raises(InvalidInput, match="no name of a file to show"):
        GatePin(policy_sha256=HARD, suite=bad)


def without_pin(plan):
    """The plan as releases wrote it that knew no pin."""
    told = json.loads(encode(plan))
    del told["gate_pin"]
    return json.dumps(told).encode()


def test_a_plan_that_was_kept_before_pins_is_read_as_one_without(plan, tmp_path):
    old = without_pin(plan)
    assert decode(Plan, old) == plan
    kept = LastGood(tmp_path)
    (tmp_path / "m.plan").write_bytes(framed(old))
    assert kept.load("m") == plan


@pytest.mark.anyio
async def test_a_store_of_before_pins_is_read_and_written_on(plan, tmp_path, anyio_backend):
    store = SqlitePlanStore(tmp_path / "plans.sqlite")
    first = shifts.start("m", ONE, salt="s")

    def change(before, after):
        return Change(
            model="m", revision=after.revision, at_us=1, who="ada", verb="v", reason="", before=before, after=after
        )

    await store.write(change(None, first))
    await store.write(change(first, plan))
    await store._in_thread(
        lambda db: db.executescript(
            "DROP TRIGGER history_keeps; UPDATE plans SET plan = json_remove(plan, '$.gate_pin');"
            "UPDATE history SET change = json_remove(change, '$.before.gate_pin', '$.after.gate_pin')"
        )
    )
    try:
        assert await store.read("m") == plan
        await store.write(change(plan, pinned(plan)))
        assert (await store.read("m")).gate_pin == PIN
        assert [one.after.gate_pin for one in await store.history("m", 9)] == [PIN, None, None]
    finally:
        await store.aclose()


@pytest.fixture
def anyio_backend():
    return "asyncio"


def test_a_pin_survives_the_wire_and_a_broken_one_does_not(plan):
    held = pinned(plan, ON_ROWS)
    assert decode(Plan, encode(held)) == held
    with pytest.raises(InvalidInput, match="hexadecimal"):
        decode(Plan, encode(held).replace(HARD.encode(), b"beef"))
