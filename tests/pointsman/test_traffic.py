"""`pointsman traffic`, `promote`, `rollback`: what they print, and the exit code a script sees."""

import getpass
import time

import pytest

from contracts.standing import MonitorStanding
from contracts.wire import encode
from tests.pointsman.traffic_desk import MODEL


def test_a_canary_is_shown_with_its_share_as_a_bar_and_what_to_do_next(traffic):
    out, err = traffic.ok("traffic", "canary", MODEL, "2", "25%", "--wait", "0")

    assert "flight-delay  revision 2" in out
    champion, canary = (line for line in out.splitlines() if "█" in line)
    assert (champion.split()[:2], champion.count("█")) == (["champion", "1"], 30)
    assert (canary.split()[:3], canary.count("█")) == (["canary-2", "canary", "2"], 10)
    assert "25%" in canary
    assert "changed: canary-2 (canary, version 2) 25%" in err
    assert (
        "next: pointsman report flight-delay, then pointsman promote flight-delay or pointsman rollback flight-delay"
        in err
    )


def test_every_pattern_has_its_command(traffic):
    traffic.ok("traffic", "shadow", MODEL, "3", "100%", "--name", "watcher")
    traffic.ok("traffic", "ab", MODEL, "2", "0.5")
    plan = traffic.json("traffic", "show", MODEL)
    assert [(c["name"], c["mode"]) for c in plan["challengers"]] == [("watcher", "shadow"), ("ab-2", "ab")]
    assert "champion 1 → 2; ab-2 removed" in traffic.ok("promote", MODEL, "--reason", "better AUC")[1]
    assert (
        "back to version 1: pointsman rollback"
        in traffic.ok("traffic", "show", MODEL)[0] + traffic.ok("traffic", "remove", MODEL, "watcher")[1]
    )
    traffic.ok("traffic", "warm", MODEL, "4")
    traffic.ok("traffic", "cool", MODEL, "4")
    traffic.ok("traffic", "switch", MODEL, "3")
    assert "champion 3 → 2" in traffic.ok("rollback", MODEL)[1]
    assert traffic.json("rollback", MODEL, "--to", "3")["plan"]["champion"]["version"] == "1"


def test_history_says_who_when_what_and_why_newest_first(traffic):
    traffic.ok("traffic", "canary", MODEL, "2", "5%", "--reason", "first [look]")
    traffic.ok("traffic", "canary", MODEL, "2", "10%", "--who", "grace")
    out, _ = traffic.ok("traffic", "history", MODEL)
    lines = out.splitlines()[1:]

    assert [line.split()[0] for line in lines] == ["3", "2", "1"]
    assert "grace" in lines[0]
    assert "canary-2 5% → 10%" in lines[0]
    assert getpass.getuser() in lines[1]
    assert "first [look]" in lines[1]
    assert "first plan: champion 1" in lines[2]
    changes = traffic.json("traffic", "history", MODEL, "--limit", "2")["changes"]
    assert [change["who"] for change in changes] == ["grace", getpass.getuser()]


def test_a_change_tells_how_many_workers_follow(traffic):
    traffic.ok("traffic", "warm", MODEL, "2")
    traffic.worker("worker-0", 2)
    traffic.worker("worker-1", 1, error="version 3 [3] cannot be loaded")
    _, err = traffic.ok("traffic", "switch", MODEL, "3", "--wait", "0.01")
    assert "converged: 0/2 in " in err
    assert "worker-1 stays behind: version 3 [3] cannot be loaded" in err
    assert "converged" not in traffic.ok("traffic", "switch", MODEL, "4", "--wait", "0")[1]


def test_show_says_who_follows_and_who_stays_behind_and_why(traffic):
    traffic.ok("traffic", "warm", MODEL, "2")
    assert "no worker runs: the plan applies when one starts" in traffic.ok("traffic", "show", MODEL)[0]
    for number in range(3):
        traffic.worker(f"worker-{number}", 2)
    assert "3 of 3 workers at revision 2" in traffic.ok("traffic", "show", MODEL)[0]
    traffic.worker("worker-2", 1, error="version 2 [2] cannot be loaded")
    out, _ = traffic.ok("traffic", "show", MODEL)
    assert "2 of 3 workers at revision 2" in out
    assert "worker-2 at revision 1: version 2 [2] cannot be loaded" in out


def test_show_says_how_far_the_monitors_are(traffic):
    traffic.ok("traffic", "warm", MODEL, "2")
    monitors = traffic.folder / "monitors"
    monitors.mkdir()
    now_us = time.time_ns() // 1000
    still_said = now_us + 600_000_000  # a word counts for seconds only, and the command may take longer
    for member, at_us in (("monitor-0", still_said), ("gone", now_us - 60_000_000)):
        standing = MonitorStanding(member=member, started_us=1, at_us=at_us, lag_records=1234)
        (monitors / f"{member}.json").write_bytes(encode(standing))

    out, _ = traffic.ok("traffic", "show", MODEL)
    assert "monitor monitor-0: 1,234 records behind" in out
    assert "gone" not in out


def test_a_plan_store_that_lost_changes_is_settled_by_a_command(traffic):
    traffic.ok("traffic", "warm", MODEL, "2")
    traffic.worker("worker-0", 7)
    code, _, err = traffic.run("traffic", "switch", MODEL, "3")
    assert (code, "holds revision 2 of 'flight-delay', though worker worker-0 runs revision 7" in err) == (1, True)
    out, _ = traffic.ok("traffic", "republish", MODEL, "--stored", "--wait", "0", "--reason", "failover")
    assert "flight-delay  revision 8" in out


def test_json_is_all_that_stands_on_stdout(traffic):
    moved = traffic.json("traffic", "canary", MODEL, "2", "5%", "--expect", "1")

    assert moved["change"]["verb"] == "canary"
    assert moved["plan"]["revision"] == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("traffic", "show", "nobody"), "'nobody' has no plan"),
        (("traffic", "show", "a/../b"), "error:"),
        (("traffic", "switch", MODEL, "9"), "9"),
        (("traffic", "remove", MODEL, "x"), "no challenger 'x' in revision 1: there are none"),
        (("promote", MODEL), "0 challengers of 'flight-delay' answer requests"),
        (("rollback", MODEL), "nothing to roll back"),
        (("traffic", "switch", MODEL, "2", "--expect", "7"), "is at revision 1, not 7"),
        (("traffic", "ab", MODEL, "1", "150%", "--name", "champion"), "between 0% and 100%"),
    ],
)
def test_a_refusal_exits_with_1_and_says_why(traffic, words, message):
    code, out, err = traffic.run(*words)

    assert code == (2 if "150%" in words else 1)
    assert out == ""
    assert message in err


def test_a_version_that_fails_its_probe_is_refused_and_the_plan_stays(traffic):
    traffic.ok("traffic", "canary", MODEL, "2", "5%")
    (traffic.folder / "refused").touch()
    code, _, err = traffic.run("traffic", "canary", MODEL, "3", "5%")

    assert code == 1
    assert "error: version 3 of" in err
    assert "it answers its own example with NaN" in err
    assert traffic.json("traffic", "show", MODEL)["revision"] == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("traffic", "canary", MODEL, "2", "5"), 'write "5%"'),
        (("traffic", "canary", MODEL, "2"), "SHARE"),
        (("traffic", "dance", MODEL), "dance"),
        (("traffic", "history", MODEL, "--limit", "0"), "--limit"),
    ],
)
def test_wrong_usage_exits_with_2_and_names_the_argument(alone, words, message):
    code, _, err = alone.run(*words)

    assert code == 2
    assert message in err
