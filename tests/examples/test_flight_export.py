"""A version's graph says what scikit-learn says, from the columns as the caller sends them."""

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest

from contracts.errors import InvalidInput
from contracts.metadata import ModelMetadata
from contracts.reference import Reference
from contracts.wire import decode
from examples.flights import export as exporting
from examples.flights.building import build
from examples.flights.data import WEATHER
from examples.flights.export import feeds, largest_difference
from examples.flights.training import best_threshold, train
from examples.flights.versions import RECIPES
from examples.flights.view import PlainView


@pytest.fixture(scope="module")
def some(table):
    """A twentieth of the flights, so that training takes a blink."""
    return table.iloc[::20]


@pytest.fixture(scope="module", params=RECIPES, ids=lambda recipe: f"version-{recipe.version}")
def trained(some, request):
    return train(some, request.param, seed=1)


@pytest.fixture(scope="module")
def graph(trained):
    return exporting.export(trained.pipeline, trained.held_out[list(trained.recipe.inputs)])


def test_the_graph_equals_scikit_learn_on_months_it_never_saw(trained, graph, some):
    rows = some.loc[some["month"] >= 4, list(trained.recipe.inputs)]
    assert largest_difference(graph, trained.pipeline, rows) <= 1e-5


def test_the_graph_equals_scikit_learn_where_weather_is_missing_and_strings_are_new(trained, graph, some):
    rows = some[list(trained.recipe.inputs)].head(50).copy()
    rows["dest"], rows["carrier"] = "nowhere", "??"
    for name in set(WEATHER) & set(rows.columns):
        rows[name] = np.float32("nan")
    assert largest_difference(graph, trained.pipeline, rows) <= 1e-5


def test_a_graph_that_differs_is_refused(trained, monkeypatch):
    monkeypatch.setattr(exporting, "DIFFERENCE_MAX", -1.0)
    with pytest.raises(ValueError, match="differs from scikit-learn"):
        exporting.export(trained.pipeline, trained.held_out[list(trained.recipe.inputs)].head(5))


def test_the_graph_lists_its_operator_sets_in_one_order_so_that_a_seed_gives_one_digest(graph):
    domains = [opset.domain for opset in onnx.load_from_string(graph).opset_import]
    assert domains == ["", "ai.onnx.ml"]


def test_every_column_is_an_input_of_its_own_and_the_output_is_a_plain_tensor(trained, graph):
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    assert [given.name for given in session.get_inputs()] == list(trained.recipe.inputs)
    assert all(given.shape == [None, 1] for given in session.get_inputs())
    types = {given.name: given.type for given in session.get_inputs()}
    assert (types["carrier"], types["hour"], types["distance"]) == ("tensor(string)", "tensor(int64)", "tensor(float)")
    assert {o.name: o.shape for o in session.get_outputs()}["probabilities"] == [None, 2]
    (said,) = session.run(["probabilities"], feeds(trained.held_out[list(trained.recipe.inputs)].head(3)))
    assert np.allclose(said.sum(axis=1), 1.0)


def test_no_held_out_day_is_fitted_on(trained, some):
    window = some[some["month"].isin(trained.recipe.months) & some["late"].notna()]
    assert trained.fitted_rows + len(trained.held_out) == len(window)
    assert set(window.loc[trained.held_out.index, "day"] % 4) == {0}


def test_the_threshold_gives_the_greatest_f1():
    labels = np.array([0.0, 0.0, 1.0, 1.0])
    assert best_threshold(labels, np.array([0.1, 0.4, 0.35, 0.8])) == 0.35


def test_the_same_seed_makes_the_same_graph(some, trained, graph):
    again = train(some, trained.recipe, seed=1)
    assert exporting.export(again.pipeline, again.held_out[list(again.recipe.inputs)]) == graph


@pytest.fixture(scope="module")
def registry(some, tmp_path_factory):
    folder = tmp_path_factory.mktemp("registry")
    build(some, folder, 1, PlainView(quiet_console()))
    return folder


def quiet_console():
    from io import StringIO

    from rich.console import Console

    return Console(file=StringIO())


def test_the_registry_has_the_layout_that_gateways_read(registry):
    model = registry / "flight-delay"
    assert msgspec.json.decode((model / "aliases.json").read_bytes()) == {"champion": "1"}
    files = {"model.onnx", "model.json", "reference.json", "input_example.json"}
    assert {path.name for path in model.iterdir()} == {"1", "2", "3", "aliases.json"}
    assert all({path.name for path in (model / version).iterdir()} == files for version in "123")


def test_the_metadata_says_what_the_graph_cannot(registry):
    metadata = decode(ModelMetadata, (registry / "flight-delay/2/model.json").read_bytes())
    assert {given.name for given in metadata.inputs if given.nullable} == set(WEATHER)
    assert metadata.task.output == "probabilities"
    assert 0.0 < metadata.task.threshold < 1.0
    assert metadata.slices[0].values == ("EWR", "JFK", "LGA")
    assert 0.5 < metadata.metrics["auc"] < 1.0
    assert metadata.tags["training_window"] == "2013-01..2013-03"


def test_the_reference_is_of_the_held_out_flights(registry, some):
    reference = decode(Reference, (registry / "flight-delay/1/reference.json").read_bytes())
    held_out = some[(some["month"] == 1) & (some["day"] % 4 == 0) & some["late"].notna()]
    assert reference.rows == reference.labelled == len(held_out)
    assert reference.positives == int(held_out["late"].sum())
    assert {feature.name for feature in reference.features} == set(RECIPES[0].inputs)
    assert set(reference.slice_counts) == {"origin=EWR", "origin=JFK", "origin=LGA"}


def test_building_again_replaces_what_the_demo_made(registry, some):
    before = (registry / "flight-delay/1/model.onnx").read_bytes()
    build(some, registry, 1, PlainView(quiet_console()))
    assert (registry / "flight-delay/1/model.onnx").read_bytes() == before


def test_a_model_that_somebody_else_made_is_left_alone(some, tmp_path):
    folder = tmp_path / "flight-delay" / "1"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"theirs")
    with pytest.raises(InvalidInput, match="did not make"):
        build(some, tmp_path, 1, PlainView(quiet_console()))
    assert (folder / "model.onnx").read_bytes() == b"theirs"
