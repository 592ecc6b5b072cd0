"""`pointsman gate`: real graphs over real rows, what it finds of each version, and the exit code a pipeline sees."""

import asyncio
import hashlib
import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from contracts.gate import GateResult
from contracts.wire import decode
from registry_client.folder import FolderRegistry
from tests.pointsman.gate_shop import METADATA, MODEL, rows


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
    any_ratio = 1e9  # one turn in which the machine stands still is among the slowest hundredth of many resamples
    result = gate("2", suite=f'data = "rows.csv"\n[latency]\nratio_max = {any_ratio}\nturns = 200', code=0)
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
