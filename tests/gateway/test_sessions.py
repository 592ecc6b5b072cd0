"""A session runs what its graph declares, off the event loop, and tells failures apart in words without paths."""

import asyncio
import gc
import threading
import weakref

import numpy as np
import pytest

from contracts.datatypes import NUMPY_OF
from contracts.errors import DeadlineExceeded, ModelFailed, ModelRejected
from contracts.signature import TensorSpec
from gateway.models.sessions import Stop, load, load_session, reason_of


def opened(fetched, **options):
    return asyncio.run(load_session(fetched, **options))


def rejection(fetched) -> str:
    with pytest.raises(ModelRejected) as caught:
        opened(fetched)
    return str(caught.value)


VALUES = {
    "BOOL": [True, False],
    "FP16": [1.5, -2.0],
    "FP32": [1.5, -2.0],
    "FP64": [1.5, -2.0],
    "BYTES": ["a", "\N{SNOWMAN}"],
}


@pytest.mark.parametrize("datatype", list(NUMPY_OF))
def test_every_datatype_goes_through_a_session_unchanged(shelf, graphs, datatype):
    session = opened(shelf.put(graphs.identity(datatype)))
    array = np.array([VALUES.get(datatype, [0, 7])], NUMPY_OF[datatype])

    (output,) = session.run({"x": array})

    assert session.signature.inputs == (TensorSpec(name="x", datatype=datatype, shape=(-1, 2)),)
    assert session.signature.outputs == (TensorSpec(name="y", datatype=datatype, shape=(-1, 2)),)
    assert output.dtype == array.dtype
    assert output.tolist() == array.tolist()


def mixed(graphs):
    """A string and a number a row -> twice the number, and the string."""
    return graphs.model(
        [graphs.node("Add", ["hours", "hours"], ["double"]), graphs.node("Identity", ["carrier"], ["who"])],
        [graphs.value("carrier", ["n", 1], "BYTES"), graphs.value("hours", ["n", 1])],
        [graphs.value("double", ["n", 1]), graphs.value("who", ["n", 1], "BYTES")],
    )


def test_strings_and_numbers_are_run_together_and_outputs_come_in_the_graphs_order(shelf, graphs):
    session = opened(shelf.put(mixed(graphs), input_example={"carrier": ["UA", "B6"], "hours": [1.5, 2]}))

    outputs = session.run({"hours": np.array([[4]], np.float32), "carrier": np.array([["AA"]], object)})

    assert [spec.name for spec in session.signature.outputs] == ["double", "who"]
    assert [output.tolist() for output in outputs] == [[[8.0]], [["AA"]]]


def test_a_batch_is_answered_row_by_row_like_single_rows(shelf, graphs):
    session = opened(shelf.put(graphs.mlp()))
    rows = np.random.default_rng(1).normal(size=(17, 3)).astype(np.float32)

    together = session.run({"x": rows})[0]
    alone = np.concatenate([session.run({"x": rows[i : i + 1]})[0] for i in range(17)])

    np.testing.assert_allclose(together, alone, rtol=1e-5)


def test_metadata_are_joined_to_the_graphs_inputs(shelf, graphs):
    said = [{"name": "x", "features": ["temp", "wind", "rain"], "nullable": True}]
    session = opened(shelf.put(graphs.mlp(), model={"inputs": said}, input_example={"x": [[1, 2, 3]]}))

    assert session.signature.inputs == (
        TensorSpec(name="x", datatype="FP32", shape=(-1, 3), features=("temp", "wind", "rain"), nullable=True),
    )


def test_a_free_number_of_columns_is_the_number_of_features(shelf, graphs):
    graph = graphs.model(
        [graphs.node("ReduceSum", ["x", "axis"], ["y"], keepdims=1)],
        [graphs.value("x", ["n", "k"])],
        [graphs.value("y", ["n", 1])],
        [graphs.constant("axis", [1], np.int64)],
    )
    named = opened(shelf.put(graph, model={"inputs": [{"name": "x", "features": ["a", "b"]}]}))
    free = opened(shelf.put(graph))

    assert named.signature.inputs[0].shape == (-1, 2)
    assert free.signature.inputs[0].shape == (-1, -1)


def test_a_graph_of_one_row_at_a_time_says_so(shelf, graphs):
    session = opened(shelf.put(graphs.identity(shape=[1, 2]), input_example={"x": [[1, 2]]}))

    assert session.batch_max == 1
    assert session.signature.inputs[0].shape == (1, 2)
    assert opened(shelf.put(graphs.identity())).batch_max is None


def test_an_output_of_unknown_rank_gets_the_rank_that_was_seen(shelf, graphs):
    graph = graphs.model(
        [graphs.node("Reshape", ["x", "shape"], ["y"])],
        [graphs.value("x", ["n", 4])],
        [graphs.value("y", None)],
        [graphs.constant("shape", [-1, 2, 2], np.int64)],
    )
    computed = graphs.model(
        [graphs.node("Shape", ["x"], ["shape"]), graphs.node("Reshape", ["x", "shape"], ["y"])],
        [graphs.value("x", ["n", 4])],
        [graphs.value("y", None)],
    )
    assert opened(shelf.put(graph)).signature.outputs[0].shape == (-1, 2, 2)
    assert opened(shelf.put(computed)).signature.outputs[0].shape in {(-1, -1), (-1, 4)}


def test_run_times_are_medians_of_warm_runs_in_microseconds(shelf, graphs):
    ticks = iter(range(10**6))
    session = opened(shelf.put(graphs.mlp()), rows=11, clock=lambda: next(ticks) * 7_000)

    assert session.run_us == 7.0
    assert session.row_us == 0.0


def test_a_machine_that_stood_still_in_a_warm_run_makes_no_slow_version_of_a_quick_one(shelf, graphs):
    ticks = iter([0, 9_000, 9_000 + 10**9, 2 * 10**9, 2 * 10**9 + 9_000, 3 * 10**9])
    session = opened(shelf.put(graphs.mlp()), rows=11, clock=lambda: next(ticks))

    assert (session.run_us, session.row_us) == (9.0, 0.0)


def test_external_data_of_the_version_are_loaded(shelf, graphs):
    weights = np.arange(16, dtype=np.float32)
    fetched = shelf.put(graphs.external(location="deep/w.bin"), files={"deep/w.bin": weights.tobytes()})

    output = opened(fetched).run({"x": np.eye(4, dtype=np.float32)[:1]})[0]

    assert output.tolist() == [[0.0, 1.0, 2.0, 3.0]]


@pytest.mark.parametrize(
    ("feeds", "reason"),
    [
        ({"x": np.ones((1, 4), np.float32)}, "INVALID_ARGUMENT : Got invalid dimensions for input: x"),
        ({"x": np.ones((1, 3), np.float64)}, "INVALID_ARGUMENT : Unexpected input data type"),
        ({"x": np.ones(3, np.float32)}, "INVALID_ARGUMENT : Invalid rank for input: x"),
        ({"z": np.ones((1, 3), np.float32)}, "Required inputs (['x']) are missing"),
    ],
)
def test_what_onnxruntime_refuses_is_a_failure_that_names_the_version(shelf, graphs, feeds, reason):
    session = opened(shelf.put(graphs.mlp()))

    with pytest.raises(ModelFailed) as caught:
        session.run(feeds)

    assert str(caught.value).startswith(f"version 1 of 'm': {reason}")
    assert session.run({"x": np.ones((2, 3), np.float32)})[0].shape == (2, 1)


def picky(graphs):
    """A graph that fails on rows over 9: x picks from a table of ten places."""
    return graphs.model(
        [graphs.node("Gather", ["table", "x"], ["y"])],
        [graphs.value("x", ["n"], "INT64")],
        [graphs.value("y", ["n"])],
        [graphs.constant("table", np.arange(10))],
    )


def test_a_failure_inside_the_graph_names_the_node_and_no_path(shelf, graphs, capfd):
    session = opened(shelf.put(picky(graphs)))

    with pytest.raises(ModelFailed) as caught:
        session.run({"x": np.array([3, 10], np.int64)})

    message = str(caught.value)
    assert "Gather" in message
    assert "indices element out of data bounds" in message
    assert "/" not in message
    assert "\n" not in message
    assert capfd.readouterr() == ("", "")
    assert session.run({"x": np.array([3], np.int64)})[0].tolist() == [3.0]


def test_an_endless_run_is_stopped_from_another_thread(shelf, graphs):
    """The trial of such a graph is ended, too: what takes its place here is a graph that is slow on large inputs only."""
    trips = graphs.loop(1)
    body = trips.graph.node[0]
    body.input[0] = "count"
    trips.graph.initializer.pop()
    trips.graph.node.insert(0, graphs.node("ReduceMax", ["x"], ["most"], keepdims=0))
    trips.graph.node.insert(1, graphs.node("Cast", ["most"], ["count"], to=7))
    session = opened(shelf.put(trips))
    stop = Stop()
    threading.Timer(0.05, stop.set).start()

    with pytest.raises(DeadlineExceeded, match=r"version 1 of 'm': the run was stopped"):
        session.run({"x": np.full((1, 2), 1e18, np.float32)}, stop)

    assert session.run({"x": np.full((1, 2), 3, np.float32)}, Stop())[0].tolist() == [[6.0, 6.0]]


@pytest.mark.parametrize("example", [None, {"x": [[1, 2]]}])
def test_a_trial_that_never_ends_is_ended_and_says_so(shelf, graphs, example):
    documents = {} if example is None else {"input_example": example}
    fetched = shelf.put(graphs.loop(2**62), **documents)

    with pytest.raises(ModelRejected, match=r"^m version 1: loading and trying it took longer than 0\.2 seconds$"):
        opened(fetched, seconds_max=0.2)


def test_a_version_is_loaded_and_tried_in_a_thread_of_its_own(shelf, graphs):
    threads = set()

    def clock() -> int:
        threads.add(threading.get_ident())
        return len(threads)

    opened(shelf.put(graphs.mlp()), clock=clock)

    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_a_session_that_nobody_holds_is_gone(shelf, graphs):
    session = opened(shelf.put(graphs.mlp()))
    alive = weakref.ref(session)
    del session
    gc.collect()

    assert alive() is None


def test_more_threads_give_the_same_answers(shelf, graphs):
    fetched = shelf.put(graphs.mlp())
    rows = np.ones((4, 3), np.float32)

    np.testing.assert_allclose(
        opened(fetched).run({"x": rows})[0], opened(fetched, threads=2).run({"x": rows})[0], rtol=1e-5
    )


def test_loading_without_a_name_gives_reasons_without_a_name(shelf, graphs):
    fetched = shelf.put(graphs.identity(shape=[3, 2]))
    with pytest.raises(ModelRejected) as caught:
        load(fetched.path, fetched.metadata, threads=1, rows=2, clock=lambda: 0)

    assert str(caught.value) == "input 'x' is fixed to 3 rows: export it with a free first dimension, or with 1"
    assert rejection(fetched) == f"m version 1: {caught.value}"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            (
                "[ONNXRuntimeError] : 1 : FAIL : Load model from /srv/a/model.onnx failed:/src/core/graph/model.cc:256 "
                "onnxruntime::Model::Model(onnx::ModelProto&&, const std::vector<int>&) Unsupported model IR version: 999\n"
            ),
            "FAIL : Unsupported model IR version: 999",
        ),
        ("[ONNXRuntimeError] : 1 : FAIL : cannot open /etc/secret/w.bin here", "FAIL : cannot open w.bin here"),
        ("a tensor(float)/tensor(double) mix of 3/4", "a tensor(float)/tensor(double) mix of 3/4"),
        ("", "ValueError"),
        ("x" * 1000, "x" * 300),
    ],
)
def test_reasons_are_one_short_line_without_places_on_disk(said, reason):
    assert reason_of(ValueError(said)) == reason
