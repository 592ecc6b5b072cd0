"""`pointsman traffic require-gate`: the suite that a gate must be of is named, shown, kept and taken away."""

from pathlib import Path

import httpx
import pytest

from tests.pointsman.traffic_desk import MODEL


def test_the_policy_that_a_gate_must_be_of_is_named_shown_kept_and_taken_away(traffic):
    policy, data = "f" * 64, "a" * 64
    words = ("traffic", "require-gate", MODEL, "on", "--wait", "0")
    out, err = traffic.ok(*words, "--policy-sha256", policy, "--data-sha256", data, "--reason", "policy 7")
    of = f"of policy {policy[:12]} on data {data[:12]}"
    assert f"more traffic needs a passing gate against the champion, {of}" in out
    assert f"changed: a gate is required; a gate must be {of}" in err
    assert of in traffic.ok("traffic", "show", MODEL)[0]
    assert traffic.json("traffic", "show", MODEL)["gate_pin"] == {
        "policy_sha256": policy,
        "data_sha256": data,
        "suite": "",
    }

    assert "changed: nobody moved" in traffic.ok(*words)[1]
    code, _, err = traffic.run("traffic", "canary", MODEL, "2", "5%")
    assert (code, f"`pointsman gate {MODEL} 2 --suite FILE`, FILE being the suite of policy {policy}" in err) == (
        1,
        True,
    )
    assert "is at revision 3, not 2" in traffic.run(*words, "--any-suite", "--expect", "2")[2]
    out, err = traffic.ok(*words, "--any-suite", "--who", "ada", "--reason", "suite retired")
    assert "changed: a gate must be of any suite" in err
    assert "passing gate against the champion\n" in out
    lines = traffic.ok("traffic", "history", MODEL)[0].splitlines()[1:]
    assert all(word in lines[0] for word in ("ada", "require-gate", "a gate must be of any suite", "suite retired"))
    assert "policy 7" in lines[2]


def test_a_pin_that_is_lifted_with_a_shift_is_told_beside_it(traffic):
    traffic.ok("traffic", "require-gate", MODEL, "on", "--policy-sha256", "f" * 64, "--wait", "0")
    plan = traffic.json("traffic", "show", MODEL) | {"gate_pin": None, "gate_required": False, "salt": "other"}
    reply = httpx.put(f"{traffic.address}/admin/models/{MODEL}/plan", json=plan, headers={"If-Match": "2"}, timeout=30)
    assert reply.status_code == 200, reply.text
    newest = traffic.ok("traffic", "history", MODEL)[0].splitlines()[1]
    assert "new salt: every unit was assigned anew; a gate is not required any more" in newest


def test_a_rule_that_changes_with_what_is_kept_warm_hides_neither(traffic):
    traffic.ok("traffic", "warm", MODEL, "2", "--wait", "0")
    plan = traffic.json("traffic", "show", MODEL) | {"gate_required": True, "warm": []}
    reply = httpx.put(f"{traffic.address}/admin/models/{MODEL}/plan", json=plan, headers={"If-Match": "2"}, timeout=30)
    assert reply.status_code == 200, reply.text
    newest = traffic.ok("traffic", "history", MODEL)[0].splitlines()[1]
    assert "version 2 let go; a gate is required" in newest


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("on", "--policy-sha256", "f" * 63), "not 64 lower-case hexadecimal digits"),
        (("on", "--policy-sha256", "x" * 64), "not 64 lower-case hexadecimal digits"),
        (("on", "--policy-sha256", "f" * 64, "--data-sha256", "F" * 64), "data_sha256: 'FFF"),
        (("on", "--data-sha256", "f" * 64), "--data-sha256 goes with --policy-sha256"),
        (("on", "--suite", "s.toml", "--data-sha256", "f" * 64), "--suite FILE names its data itself"),
        (("on", "--any-data"), "--any-data goes with --suite FILE"),
        (("on", "--policy-sha256", "f" * 64, "--any-data"), "--any-data goes with --suite FILE"),
        (("on", "--suite", "s.toml", "--any-suite"), "name one of them"),
        (("on", "--suite", "s.toml", "--policy-sha256", "f" * 64), "name one of them"),
        (("off", "--suite", "s.toml"), "nothing to name a suite for"),
        (("off", "--policy-sha256", "f" * 64), "nothing to name a suite for"),
    ],
)
def test_a_pin_that_cannot_be_meant_exits_with_2_before_anybody_is_asked(alone, words, message):
    code, out, err = alone.run("traffic", "require-gate", MODEL, *words)

    assert (code, out) == (2, "")
    assert message in err


@pytest.mark.parametrize(
    ("suite", "message"),
    [
        (None, "s.toml: cannot be read: No such file"),
        ("heading = 1", "unknown field `heading`"),
        ("", "s.toml asks nothing: an empty policy never passes"),
        ('data = "gone.csv"\n[latency]\nratio_max = 1.2', "gone.csv cannot be read"),
    ],
)
def test_a_suite_that_nobody_could_pass_is_never_pinned(alone, suite, message):
    if suite is not None:
        Path("s.toml").write_text(suite)
    code, _, err = alone.run("traffic", "require-gate", MODEL, "on", "--suite", "s.toml")

    assert code == 1
    assert message in err


def test_a_long_way_to_a_suite_is_shown_by_its_last_part(traffic):
    far = Path("/".join(["d" * 60] * 6))
    far.mkdir(parents=True)
    (far / "s.toml").write_text("[size]\nbytes_max = 1")
    moved = traffic.json("traffic", "require-gate", MODEL, "on", "--suite", str(far / "s.toml"), "--wait", "0")
    assert (moved["plan"]["gate_pin"]["suite"], moved["plan"]["gate_pin"]["data_sha256"]) == ("s.toml", None)
