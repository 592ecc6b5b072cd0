"""`pointsman gate`: real graphs over real rows, the exit code a pipeline sees, and a real admin API that keeps the result."""

import asyncio
import hashlib
import json
import socket
import sys
import threading
from contextlib import contextmanager

import httpx
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from contracts.gate import GateResult
from contracts.settings import Settings
from contracts.wire import decode
from gateway.admin.main import serve_admin
from pointsman.main import main
from prediction_log.spool.reader import SpoolReader
from prediction_log.spool.segment import Kind
from registry_client.folder import FolderRegistry

MODEL = "flight-delay"
METADATA = {
    "inputs": [{"name": "carrier", "nullable": True, "null_value": "?"}],
    "task": {"kind": "binary", "output": "p", "threshold": 0.5},
}
NOBODY = "http://127.0.0.1:1"
SUITE = """
data = "rows.csv"
label = "late"

[headline]
metric = "auc"
epsilon = 0.005

[[slices]]
feature = "carrier"
worse_by_max = 0.05

[calibration]
ece_max = 0.05

[[fairness]]
feature = "region"
rate = "positive_rate"
difference_max = 0.15

[size]
bytes_max = 100_000

[[behaviours]]
name = "an hour late already is late"
inputs = { delay = 60.0, noise = 0.0, carrier = "AA" }
low = 0.95

[[behaviours]]
name = "an hour early is in time"
inputs = { delay = -60, noise = 0 }
label = 0
"""


@pytest.fixture
def shop(tmp_path, graphs):
    """Versions of p = sigmoid(delay / 10 + noise * u): 1 the champion, 2 as good, 3 worse, 4 one that answers NaN."""
    node, value = graphs.node, graphs.value
    for version, noise in (("1", 0.0), ("2", 1e-6), ("3", 0.1), ("4", np.nan)):
        graph = graphs.model(
            [
                node("Mul", ["delay", "w"], ["a"]),
                node("Mul", ["noise", "u"], ["b"]),
                node("Add", ["a", "b"], ["z"]),
                node("Sigmoid", ["z"], ["p"]),
            ],
            [value("delay", ["n", 1]), value("noise", ["n", 1]), value("carrier", ["n", 1], "BYTES")],
            [value("p", ["n", 1])],
            [graphs.constant("w", [0.1]), graphs.constant("u", [noise])],
        )
        folder = tmp_path / "models" / MODEL / version
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(graph.SerializeToString())
        (folder / "model.json").write_text(json.dumps(METADATA))
    (tmp_path / "models" / MODEL / "aliases.json").write_text('{"champion": "1"}')
    rows(3000).to_csv(tmp_path / "rows.csv", index=False)
    (tmp_path / "suite.toml").write_text(SUITE)
    return tmp_path


def rows(n):
    random = np.random.default_rng(0)
    delay = random.normal(0, 20, n)
    return pd.DataFrame(
        {
            "delay": delay,
            "noise": random.normal(0, 20, n),
            "carrier": random.choice(["AA", "NA", None], n),
            "region": random.choice(["north", "south"], n),
            "late": (random.random(n) < 1 / (1 + np.exp(-delay / 10))).astype(int),
        }
    )


@pytest.fixture
def command(shop, capsys, monkeypatch):
    """Runs the command line; the exit code, what it printed, and what it said."""

    def run(*words, admin=NOBODY):
        environment = {"POINTSMAN_REGISTRY": str(shop / "models")}
        if admin is not None:
            environment["POINTSMAN_ADMIN_PORT"] = admin.rpartition(":")[2]
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["pointsman", *map(str, words)])
        monkeypatch.setenv("COLUMNS", "250")
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def gate(shop, command):
    def run(version, *words, suite=None, code=None, admin=NOBODY):
        if suite is not None:
            (shop / "suite.toml").write_text(suite)
        found, out, err = command("gate", MODEL, version, "--suite", shop / "suite.toml", "--json", *words, admin=admin)
        assert found == code, err
        return decode(GateResult, out.encode())

    return run


@pytest.fixture
def refused(shop, command):
    def run(version, *words, suite=None):
        if suite is not None:
            (shop / "suite.toml").write_text(suite)
        code, out, err = command("gate", MODEL, version, "--suite", shop / "suite.toml", *words)
        assert (code, out) == (1, "")
        return err

    return run


def outcomes(result):
    return {f"{check.kind} {check.slice or check.name}": check.outcome for check in result.checks}


def test_an_equal_version_passes_with_everything_that_it_rests_on(shop, gate):
    result = gate("2", code=0)
    digests = {v: asyncio.run(FolderRegistry(shop / "models", shop / "c").fetch(MODEL, v)).digest for v in "12"}
    table = pd.read_csv(shop / "rows.csv", keep_default_na=False)

    assert outcomes(result) == {
        "headline auc": "pass",
        "slice carrier=AA": "pass",
        "slice carrier=NA": "pass",
        "calibration ece": "pass",
        "fairness region": "pass",
        "size bytes": "pass",
        "behaviour an hour late already is late": "pass",
        "behaviour an hour early is in time": "pass",
    }
    assert result.outcome == "pass"
    assert (result.candidate.version, result.candidate.digest) == ("2", digests["2"])
    assert (result.baseline.version, result.baseline.digest) == ("1", digests["1"])
    assert result.data_sha256 == hashlib.sha256((shop / "rows.csv").read_bytes()).hexdigest()
    assert result.rows == 3000
    assert result.checks[0].baseline == pytest.approx(roc_auc_score(table["late"], table["delay"]), abs=1e-6)
    assert result.checks[1].n + result.checks[2].n == (table["carrier"] != "").sum()
    assert result.gate_id[14] == "7"


def test_a_worse_version_fails_with_code_1_and_a_table_that_says_where(gate, command, shop):
    result = gate("3", code=1)
    assert outcomes(result)["headline auc"] == "fail"
    assert result.checks[0].low > 0.005

    code, out, err = command("gate", MODEL, "3", "--suite", shop / "suite.toml")
    assert code == 1
    assert f"{MODEL} version 3 against version 1 (the registry's alias champion), 3,000 rows" in out
    assert f"policy {result.policy_sha256[:12]}, data {result.data_sha256[:12]}" in out
    assert "headline auc" in out
    assert out.rstrip().endswith("gate: fail")
    assert "not recorded: no gateway runs at http://127.0.0.1:1" in err


def test_a_small_sample_is_inconclusive_with_code_3(shop, gate):
    rows(60).to_csv(shop / "rows.csv", index=False)
    assert gate("2", code=3).outcome == "inconclusive"


@pytest.mark.parametrize("suite", ["", 'data = "rows.csv"\nlabel = "late"'])
def test_an_empty_policy_never_passes(gate, suite):
    result = gate("2", suite=suite, code=3)
    assert (result.outcome, result.checks[0].reason) == (
        "missing",
        "the suite asks nothing: an empty policy never passes",
    )


def test_nan_answers_never_pass(gate):
    result = gate("4", code=1)
    assert {name: said for name, said in outcomes(result).items() if said != "fail"} == {"size bytes": "pass"}


def test_without_a_champion_the_comparison_is_missing(shop, gate):
    (shop / "models" / MODEL / "aliases.json").unlink()
    result = gate("2", code=3)
    assert result.baseline is None
    assert outcomes(result)["headline auc"] == "missing"
    assert outcomes(result)["calibration ece"] == "pass"


def test_the_champion_can_be_named(gate):
    assert gate("2", "--baseline", "3", code=0).baseline.version == "3"


def test_latency_is_measured_in_turns_on_both(gate):
    result = gate("2", suite='data = "rows.csv"\n[latency]\nratio_max = 1000.0\nturns = 200', code=0)
    (check,) = result.checks
    assert (check.kind, check.n, check.outcome) == ("latency", 200, "pass")
    assert check.candidate > 0
    assert check.baseline > 0


def test_the_same_seed_gives_the_same_checks(gate):
    f1 = 'data = "rows.csv"\nlabel = "late"\n[headline]\nmetric = "f1"\nepsilon = 0.9'
    first, again, other = (gate("3", "--seed", seed, suite=f1, code=0) for seed in ("4", "4", "5"))
    assert first.checks == again.checks
    assert first.checks != other.checks
    assert first.gate_id != again.gate_id


def test_the_result_is_written_to_a_file(shop, gate):
    result = gate("2", "--out", shop / "gate.json", code=0)
    assert decode(GateResult, (shop / "gate.json").read_bytes()) == result


@pytest.mark.parametrize(
    ("suite", "message"),
    [
        ("heading = 1", "unknown field `heading`"),
        ("headline = [", "is not TOML"),
        (SUITE.replace("rows.csv", "gone.csv"), "gone.csv cannot be read: No such file"),
        (SUITE.replace('"region"', '"planet"'), "no column 'planet'"),
        (SUITE.replace('"late"\n', '"later"\n', 1), "no column 'later'"),
        (SUITE.replace('"auc"', '"rmse"'), "metric 'rmse' is none of a binary model"),
        (SUITE.replace(", noise = 0 }", " }"), "behaviour 'an hour early is in time': lacks the features noise"),
        (SUITE.replace("noise = 0 }", "noise = 0, nose = 1 }"), "no such feature: nose"),
        (SUITE.replace("noise = 0 }", 'noise = "loud" }'), "column 'noise' holds 'loud'"),
        (SUITE.replace("label = 0", 'output = "q"\nlow = 0'), "no output 'q'; there are p"),
    ],
)
def test_what_does_not_fit_is_named(refused, suite, message):
    assert message in " ".join(refused("2", suite=suite).split())


def test_a_version_that_is_not_there_is_named(refused):
    assert "flight-delay version 9" in refused("9")


def test_a_champion_that_predicts_something_else_cannot_be_compared(shop, refused):
    other = json.loads(json.dumps(METADATA))
    other["task"] = {"kind": "regression", "output": "p"}
    (shop / "models" / MODEL / "1" / "model.json").write_text(json.dumps(other))
    assert "they cannot be compared" in refused("2")


def test_who_wants_it_recorded_is_told_that_nobody_answers(refused):
    assert "nobody answers at http://127.0.0.1:1" in refused("2", "--record")
    assert "nobody answers at http://127.0.0.1:2" in refused("2", "--admin", "http://127.0.0.1:2")


@contextmanager
def served(shop):
    """The admin API as `pointsman serve` wires it, in a thread."""
    listener = socket.create_server(("127.0.0.1", 0))
    settings = Settings(registry=str(shop / "models"), state_dir=shop / "state", log_segment_bytes=65536)
    loops, stops = [], []

    async def run():
        stop = asyncio.Event()
        loops.append(asyncio.get_running_loop())
        stops.append(stop)
        await serve_admin(settings, listener, stop)

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        loops[0].call_soon_threadsafe(stops[0].set)
        thread.join(timeout=30)
        listener.close()
    assert not thread.is_alive()


def audited(shop):
    entries = SpoolReader(shop / "state" / "spool", {}).poll(1000)
    return [json.loads(entry.payload) for entry in entries if entry.kind == Kind.AUDIT]


def test_where_a_gateway_runs_its_plan_names_the_champion_and_the_result_is_kept_and_logged(shop, gate, command):
    with served(shop) as address:
        before = gate("3", code=1, admin=address)
        switched = httpx.post(f"{address}/admin/models/{MODEL}/switch", json={"version": "3"}, timeout=60)
        assert switched.status_code == 200, switched.text
        after = gate("2", "--who", "ada", code=0, admin=address)
        gate("2", "--no-record", code=0, admin=address)
        code, listed, _ = command("gates", MODEL, "--json", admin=address)
        assert code == 0
        shown = command("gates", MODEL, admin=address)[1]
        nothing = command("gates", "other", admin=address)[1]

    assert (before.baseline.version, after.baseline.version) == ("1", "3")
    assert after.who == "ada"
    assert [one["gate_id"] for one in json.loads(listed)["gates"]] == [after.gate_id, before.gate_id]
    assert before.gate_id in shown
    assert "headline auc" in shown
    assert "no gate of 'other' is recorded" in nothing
    kept = [record["gate_id"] for record in audited(shop) if "gate_id" in record]
    assert kept == [before.gate_id, after.gate_id]


def test_a_plan_that_requires_a_gate_opens_when_the_command_has_passed(shop, gate, command):
    with served(shop) as address:
        on = command("traffic", "require-gate", MODEL, "on", admin=address)
        refused = command("traffic", "canary", MODEL, "2", "5%", "--wait", "0", admin=address)
        gate("3", code=1, admin=address)
        worse = command("traffic", "canary", MODEL, "3", "5%", "--wait", "0", admin=address)
        gate("2", code=0, admin=address)
        opened = command("traffic", "canary", MODEL, "2", "5%", "--wait", "0", admin=address)
        off = command("traffic", "require-gate", MODEL, "off", admin=address)

    assert (on[0], refused[0], worse[0], opened[0], off[0]) == (0, 1, 1, 0, 0)
    assert "more traffic needs a passing gate" in on[1]
    assert "a gate is required" in on[2]
    assert "pointsman gate flight-delay 2 --suite FILE" in refused[2]
    assert "says fail" in worse[2]
    assert "a gate is not required any more" in off[2]


def test_a_suite_is_pinned_by_the_hashes_that_its_gate_has(shop, gate, command):
    pin = ("traffic", "require-gate", MODEL, "on", "--json", "--wait", "0", "--suite", shop / "suite.toml")
    behaviour = '[[behaviours]]\nname = "late"\ninputs = { delay = 60.0, noise = 0.0 }\nlow = 0.95'
    with served(shop) as address:
        pins = [
            json.loads(command(*pin, *more, admin=address)[1])["plan"]["gate_pin"] for more in ((), ("--any-data",))
        ]
        result = gate("2", code=0, admin=address)
        (shop / "suite.toml").write_text(behaviour)
        pins.append(json.loads(command(*pin, admin=address)[1])["plan"]["gate_pin"])
        without = gate("2", code=0, admin=address)
        shown = command("gates", MODEL, admin=address)[1]

    file = str(shop / "suite.toml")
    policy, data = result.policy_sha256, result.data_sha256
    assert pins == [
        {"policy_sha256": policy, "data_sha256": data, "suite": file},
        {"policy_sha256": policy, "data_sha256": None, "suite": file},
        {"policy_sha256": without.policy_sha256, "data_sha256": None, "suite": file},
    ]
    assert policy[:12] in shown
    assert without.policy_sha256[:12] in shown


def test_other_rows_are_another_exam_unless_any_will_do(shop, gate, command):
    pin = ("traffic", "require-gate", MODEL, "on", "--wait", "0", "--suite", shop / "suite.toml")
    canary = ("traffic", "canary", MODEL, "2", "5%", "--wait", "0")
    with served(shop) as address:
        pinned = command(*pin, admin=address)
        rows(3000).iloc[::-1].to_csv(shop / "rows.csv", index=False)
        other = gate("2", code=0, admin=address)
        refused = command(*canary, admin=address)
        command(*pin, "--any-data", admin=address)
        opened = command(*canary, admin=address)

    assert (pinned[0], refused[0], opened[0]) == (0, 1, 0)
    assert f"those that it has are of policy {other.policy_sha256[:12]} on data {other.data_sha256[:12]}" in refused[2]
    assert f"--suite {shop / 'suite.toml'}`" in refused[2]


def test_codes_stay_text_where_the_suite_names_them_as_text(shop, gate):
    frame = rows(800)
    frame.assign(region=np.where(frame["region"] == "north", "007", "8")).to_csv(shop / "rows.csv", index=False)
    asked = 'data = "rows.csv"\nlabel = "late"\n[headline]\nmetric = "auc"\nepsilon = 0.1\n'
    cut = '[[slices]]\nfeature = "region"\nworse_by_max = 0.1\nvalues = ["007", "8"]'
    result = gate("2", suite=asked + cut, code=0)
    assert [(check.slice, check.n > 300) for check in result.checks[1:]] == [("region=007", True), ("region=8", True)]


def test_a_regression_model_is_gated_on_its_errors(shop, gate):
    for version in "123":
        task = {"kind": "regression", "output": "p"}
        (shop / "models" / MODEL / version / "model.json").write_text(json.dumps(METADATA | {"task": task}))
    frame = rows(2000)
    frame["late"] = 1 / (1 + np.exp(-frame["delay"] / 10)) + np.random.default_rng(1).normal(0, 0.05, 2000)
    frame.to_parquet(shop / "rows.parquet")
    asked = 'data = "rows.parquet"\nlabel = "late"\n[headline]\nmetric = "{}"\nepsilon = 0.01'
    for metric in ("mae", "rmse", "r2"):
        assert gate("2", suite=asked.format(metric), code=0).checks[0].n == 2000
        assert gate("3", suite=asked.format(metric), code=1).checks[0].low > 0.01
