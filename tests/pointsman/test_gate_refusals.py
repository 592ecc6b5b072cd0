"""`pointsman gate` where nothing can be judged: what does not fit, or is not there, is named."""

import json

import pytest

from tests.pointsman.gate_shop import METADATA, MODEL, SUITE


@pytest.fixture
def refused(shop, command):
    def run(version, *words, suite=None):
        if suite is not None:
            (shop / "suite.toml").write_text(suite)
        code, out, err = command("gate", MODEL, version, "--suite", shop / "suite.toml", *words)
        assert (code, out) == (1, "")
        return err

    return run


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
