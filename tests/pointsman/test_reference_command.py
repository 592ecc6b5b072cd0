"""`pointsman reference build`: from a table to a sealed reference.json that the registry reads back."""

import asyncio
import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from contracts.errors import InvalidInput, NotFound, PointsmanError
from contracts.reference import CategoricalBins, NumericBins
from monitor.counts.binning import cells_of_column
from pointsman.reference import reference_app
from registry_client.folder import FolderRegistry

METADATA = {
    "inputs": [
        {"name": "carrier", "nullable": True, "null_value": "?"},
        {"name": "weather", "features": ["wind", "rain"]},
    ],
    "task": {"kind": "binary", "output": "p", "threshold": 0.6},
    "slices": [{"feature": "carrier", "values": ["AA"]}],
}


@pytest.fixture
def registry(tmp_path, graphs):
    """`flight-delay` 1: p = sigmoid(delay / 10), and three inputs that it does not look at."""
    node, value = graphs.node, graphs.value
    graph = graphs.model(
        [node("Mul", ["delay", "tenth"], ["z"]), node("Sigmoid", ["z"], ["p"])],
        [
            value("delay", ["n", 1]),
            value("carrier", ["n", 1], "BYTES"),
            value("month", ["n"], "INT64"),
            value("weather", ["n", 2]),
        ],
        [value("p", ["n", 1])],
        [graphs.constant("tenth", [0.1])],
    )
    folder = tmp_path / "models" / "flight-delay" / "1"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(graph.SerializeToString())
    (folder / "model.json").write_text(json.dumps(METADATA))
    return tmp_path / "models"


@pytest.fixture
def frame():
    random = np.random.default_rng(0)
    n = 3000
    delay = random.normal(0, 20, n)
    return pd.DataFrame(
        {
            "delay": delay,
            "carrier": random.choice(["AA", "NA", "007", None], n),
            "month": random.integers(1, 13, n),
            "wind": random.exponential(5, n),
            "rain": np.where(random.random(n) < 0.7, 0.0, random.random(n)),
            "late": (random.random(n) < 1 / (1 + np.exp(-delay / 10))).astype(int),
            "score": random.random(n),
            "note": "ignored",
        }
    )


def run(*arguments):
    found = CliRunner().invoke(reference_app, ["build", *map(str, arguments)])
    if isinstance(found.exception, PointsmanError):
        raise found.exception
    assert found.exit_code == 0, found.output
    return found.output


def built(registry, tmp_path, version="1"):
    return asyncio.run(FolderRegistry(registry, tmp_path / "cache").reference("flight-delay", version))


@pytest.mark.parametrize("name", ["training.csv", "training.parquet"])
def test_the_model_runs_over_the_data_and_its_figures_are_kept(registry, frame, tmp_path, name):
    path = tmp_path / name
    frame.to_csv(path, index=False) if name.endswith("csv") else frame.to_parquet(path)
    output = run("flight-delay", "1", path, "--registry", registry, "--label", "late")
    reference = built(registry, tmp_path)

    assert "3,000 rows, 3 numeric and 2 categorical features, 1 slices, 3,000 labels" in output
    assert reference.hash in output
    p = 1 / (1 + np.exp(-frame["delay"] / 10))
    assert reference.performance["auc"] == pytest.approx(roc_auc_score(frame["late"], p), abs=1e-3)
    assert reference.task.threshold == 0.6
    assert [feature.name for feature in reference.features] == ["delay", "carrier", "month", "wind", "rain"]
    bins = {feature.name: feature.bins for feature in reference.features}
    assert set(bins["carrier"].values) == {"AA", "NA", "007"}
    assert bins["carrier"].counts[-1] == frame["carrier"].isna().sum()
    assert isinstance(bins["month"], CategoricalBins)
    assert set(reference.slice_counts) == {"carrier=AA"}


def test_counts_are_of_the_values_as_the_model_sees_them(registry, frame, tmp_path):
    frame.to_parquet(tmp_path / "t.parquet")
    run("flight-delay", "1", tmp_path / "t.parquet", "--registry", registry)
    wind = next(feature.bins for feature in built(registry, tmp_path).features if feature.name == "wind")
    seen = frame["wind"].to_numpy().astype(np.float32).astype(float)
    assert isinstance(wind, NumericBins)
    assert np.bincount(cells_of_column(wind, seen), minlength=len(wind.counts)).tolist() == list(wind.counts)
    assert set(wind.edges[1:]) <= set(seen)


def test_options_name_the_scores_the_slices_and_the_categories(registry, frame, tmp_path):
    frame.to_parquet(tmp_path / "t.parquet")
    run(
        *("flight-delay", "1", tmp_path / "t.parquet", "--registry", registry, "--label", "late", "--score", "score"),
        *("--slice", "carrier", "--slice", "month", "--categorical", "rain"),
    )
    reference = built(registry, tmp_path)
    assert reference.performance["auc"] == pytest.approx(roc_auc_score(frame["late"], frame["score"]), abs=1e-3)
    assert len(reference.slice_counts) == 3 + 12
    assert isinstance(reference.features[-1].bins, CategoricalBins)


def test_building_again_replaces_the_reference_and_leaves_no_draft(registry, frame, tmp_path):
    frame.to_csv(tmp_path / "t.csv", index=False)
    run("flight-delay", "1", tmp_path / "t.csv", "--registry", registry)
    first = built(registry, tmp_path).hash
    run("flight-delay", "1", tmp_path / "t.csv", "--registry", registry, "--label", "late")
    assert built(registry, tmp_path).hash != first
    assert sorted(path.name for path in (registry / "flight-delay" / "1").iterdir()) == [
        *("model.json", "model.onnx", "reference.json")
    ]


@pytest.mark.parametrize(
    ("change", "options", "error", "message"),
    [
        (lambda frame: frame.drop(columns="wind"), [], InvalidInput, "no column 'wind'"),
        (lambda frame: frame.assign(month=1.5), [], InvalidInput, "column 'month' holds 1.5 in row 1.*whole numbers"),
        (lambda frame: frame.assign(month=None), [], InvalidInput, "column 'month' is missing in row 1"),
        (lambda frame: frame.assign(wind="strong"), [], InvalidInput, "column 'wind' holds 'strong' in row 1.*numbers"),
        (lambda frame: frame.assign(wind=True), [], InvalidInput, "column 'wind' holds True"),
        (lambda frame: frame.iloc[:0], [], InvalidInput, "has no rows"),
        (lambda frame: frame.assign(late=2), ["--label", "late"], InvalidInput, "label 2 in row 0 is not a class"),
        (lambda frame: frame, ["--label", "gone"], InvalidInput, "no column 'gone'"),
        (lambda frame: frame, ["--score", "gone"], InvalidInput, "no column 'gone'"),
        (lambda frame: frame, ["--slice", "gone"], InvalidInput, "--slice gone: no such feature"),
        (lambda frame: frame, ["--slice", "wind"], InvalidInput, "only text, whole numbers and booleans"),
        (lambda frame: frame, ["--categorical", "gone"], InvalidInput, "gone.*not in the data"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_written(registry, frame, tmp_path, change, options, error, message):
    change(frame).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(error, match=message):
        run("flight-delay", "1", tmp_path / "t.csv", "--registry", registry, *options)
    assert not (registry / "flight-delay" / "1" / "reference.json").exists()


def test_files_and_versions_that_are_not_there_are_named(registry, frame, tmp_path):
    (tmp_path / "t.txt").write_text("delay")
    with pytest.raises(InvalidInput, match=r"must end in .csv, .parquet or .pq"):
        run("flight-delay", "1", tmp_path / "t.txt", "--registry", registry)
    frame.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(NotFound):
        run("flight-delay", "9", tmp_path / "t.csv", "--registry", registry)


def test_without_a_task_there_are_features_only(registry, frame, tmp_path):
    (registry / "flight-delay" / "1" / "model.json").write_text(json.dumps({"inputs": METADATA["inputs"]}))
    frame.to_csv(tmp_path / "t.csv", index=False)
    run("flight-delay", "1", tmp_path / "t.csv", "--registry", registry)
    assert built(registry, tmp_path).prediction is None
    with pytest.raises(InvalidInput, match="declares no task"):
        run("flight-delay", "1", tmp_path / "t.csv", "--registry", registry, "--label", "late")
