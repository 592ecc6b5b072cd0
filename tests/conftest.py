"""ONNX graphs to serve, good and bad, made by the `onnx` package; a shelf of versions to serve them from; real servers."""

import asyncio
import json
import os
import ssl
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import numpy as np
import pytest
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from registry_client.folder import FolderRegistry
from registry_client.registry import FetchedVersion
from tests.services.kafka import Cluster, Elsewhere, cluster
from tests.services.ports import free_ports
from tests.services.proxy import Proxy
from tests.services.redis import RedisServer

OPSET = 21
IR_VERSION = 10

ONNX_OF = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}


LONG = (
    *("test_fleet_", "test_demo_command", "test_group", "test_mlflow_", "test_forwarder_faults", "test_losses"),
    *(
        "test_explain",
        "test_serving",
        "test_restoring",
        "test_drain",
        "test_supervisor",
        "test_publishing",
        "test_kill",
    ),
    *("test_unreadable", "test_mutations", "test_gate_tags", "test_state_moves", "test_services", "test_install"),
)

hypothesis.settings.register_profile("anywhere", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("anywhere")
"""How fast the machine is says nothing about a law."""


class Graphs:
    """Builds graphs; a shape is a list of sizes, names of free dimensions and None."""

    def value(self, name: str, shape: Sequence[int | str | None] | None, datatype: str = "FP32") -> ValueInfoProto:
        return helper.make_tensor_value_info(name, ONNX_OF[datatype], shape)

    def constant(self, name: str, values: Any, datatype: type = np.float32) -> TensorProto:
        return numpy_helper.from_array(np.asarray(values, datatype), name)

    def node(self, operator: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> NodeProto:
        return helper.make_node(operator, inputs, outputs, **attributes)

    def model(
        self,
        nodes: Sequence[NodeProto],
        inputs: Sequence[ValueInfoProto],
        outputs: Sequence[ValueInfoProto],
        constants: Iterable[TensorProto] = (),
        *,
        opset: int = OPSET,
        domains: Iterable[str] = (),
    ) -> ModelProto:
        graph = helper.make_graph(nodes, "graph", inputs, outputs, list(constants))
        imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
        return helper.make_model(graph, opset_imports=imports, ir_version=IR_VERSION)

    def mlp(self, bias: float = 0.0, features: int = 3) -> ModelProto:
        """From x [n, features] to p [n, 1]: a sigmoid over two layers."""
        random = np.random.default_rng(7)
        return self.model(
            [
                self.node("Gemm", ["x", "w1", "b1"], ["h"]),
                self.node("Relu", ["h"], ["r"]),
                self.node("Gemm", ["r", "w2", "b2"], ["z"]),
                self.node("Sigmoid", ["z"], ["p"]),
            ],
            [self.value("x", ["n", features])],
            [self.value("p", ["n", 1])],
            [
                self.constant("w1", random.normal(size=(features, 8))),
                self.constant("b1", random.normal(size=8)),
                self.constant("w2", random.normal(size=(8, 1))),
                self.constant("b2", [bias]),
            ],
        )

    def identity(self, datatype: str = "FP32", shape: Sequence[int | str | None] | None = ("n", 2)) -> ModelProto:
        """From x to y, the same."""
        return self.model(
            [self.node("Identity", ["x"], ["y"])],
            [self.value("x", shape, datatype)],
            [self.value("y", shape, datatype)],
        )

    def external(self, *, dims: Sequence[int] = (4, 4), **entries: str) -> ModelProto:
        """From x [n, 4] to y = x W where the entries say where the data of W lie."""
        weights = TensorProto(name="W", data_type=TensorProto.FLOAT, dims=dims, data_location=TensorProto.EXTERNAL)
        for key, value in entries.items():
            weights.external_data.add(key=key, value=value)
        return self.model(
            [self.node("MatMul", ["x", "W"], ["y"])],
            [self.value("x", ["n", 4])],
            [self.value("y", ["n", 4])],
            [weights],
        )

    def loop(self, trips: int) -> ModelProto:
        """From x [n, 2] to y = x + trips, one at a time."""
        body = helper.make_graph(
            [self.node("Add", ["v", "one"], ["v_next"]), self.node("Identity", ["go"], ["go_on"])],
            "body",
            [self.value("trip", [], "INT64"), self.value("go", [], "BOOL"), self.value("v", ["n", 2])],
            [self.value("go_on", [], "BOOL"), self.value("v_next", ["n", 2])],
            [self.constant("one", [1])],
        )
        return self.model(
            [self.node("Loop", ["trips", "", "x"], ["y"], body=body)],
            [self.value("x", ["n", 2])],
            [self.value("y", ["n", 2])],
            [self.constant("trips", trips, np.int64)],
        )

    def hanging(self) -> ModelProto:
        """X [n, 1] -> y = x, after as many turns as the greatest x says: quick for zeros, for ever for a huge one."""
        body = helper.make_graph(
            [self.node("Add", ["v", "none"], ["v_next"]), self.node("Identity", ["go"], ["go_on"])],
            "body",
            [self.value("trip", [], "INT64"), self.value("go", [], "BOOL"), self.value("v", ["n", 1])],
            [self.value("go_on", [], "BOOL"), self.value("v_next", ["n", 1])],
            [self.constant("none", [0])],
        )
        return self.model(
            [
                self.node("ReduceMax", ["x"], ["most"], keepdims=0),
                self.node("Cast", ["most"], ["trips"], to=7),
                self.node("Loop", ["trips", "", "x"], ["y"], body=body),
            ],
            [self.value("x", ["n", 1])],
            [self.value("y", ["n", 1])],
        )

    def bomb(self, elements: int) -> ModelProto:
        """From x [n, 2] to y = x + the sum of as many zeros: 4 bytes each, only made when it runs."""
        return self.model(
            [
                self.node("ConstantOfShape", ["count"], ["zeros"]),
                self.node("ReduceSum", ["zeros"], ["sum"], keepdims=0),
                self.node("Add", ["x", "sum"], ["y"]),
            ],
            [self.value("x", ["n", 2])],
            [self.value("y", ["n", 2])],
            [self.constant("count", [elements], np.int64)],
        )

    def nested_ifs(self, depth: int, inner: TensorProto | None = None) -> bytes:
        """From x [n, 2] to y through as many Ifs within Ifs: bytes, because protobuf itself copies no deep ones.

        The innermost branch also holds the constant `inner`.
        """
        nodes = b""
        for level in range(depth):
            branch = _graph(nodes or self._leaf(), [] if level or inner is None else [inner])
            nodes = b"".join(
                [
                    _field(1, b"condition"),
                    _field(2, b"y"),
                    _field(4, b"If"),
                    _field(5, _graph_attribute("then_branch", branch)),
                    _field(5, _graph_attribute("else_branch", _graph(self._leaf(), []))),
                ]
            )
        model = self.model(
            [
                self.node("ReduceSum", ["x"], ["sum"], keepdims=0),
                self.node("Cast", ["sum"], ["condition"], to=TensorProto.BOOL),
            ],
            [self.value("x", ["n", 2])],
            [self.value("y", ["n", 2])],
        )
        return model.SerializeToString() + _field(7, _field(1, nodes))

    def _leaf(self) -> bytes:
        return self.node("Identity", ["x"], ["y"]).SerializeToString()


def _graph(node: bytes, constants: Sequence[TensorProto]) -> bytes:
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None).SerializeToString()
    initializers = b"".join(_field(5, constant.SerializeToString()) for constant in constants)
    return _field(1, node) + _field(2, b"branch") + initializers + _field(12, output)


def _graph_attribute(name: str, graph: bytes) -> bytes:
    return _field(1, name.encode()) + _field(6, graph) + bytes([20 << 3 & 0xFF | 0x80, 1, AttributeProto.GRAPH])


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    head = b""
    while value > 0x7F:
        head += bytes([value & 0x7F | 0x80])
        value >>= 7
    return head + bytes([value])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take half a minute and more: the last ones would keep one core waiting."""
    items.sort(key=lambda item: not item.path.name.startswith(LONG))


@pytest.fixture(scope="session", autouse=True)
def authorities_read_once() -> Iterator[None]:
    """Tests ask by plain HTTP, thousands of times: httpx would read all certificate authorities for each, 50 ms of CPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", cache(ssl.create_default_context))
        yield


@pytest.fixture(scope="session", autouse=True)
def patient_clients() -> Iterator[None]:
    """A reply that a busy machine gives late is as good as any; where nobody says otherwise httpx gives up after 5 s."""
    with pytest.MonkeyPatch.context() as patch:
        for step in ("connect", "read", "write", "pool"):
            patch.setattr(httpx._config.DEFAULT_TIMEOUT_CONFIG, step, 60.0)
        yield


@pytest.fixture(scope="session")
def graphs() -> Graphs:
    """The builder of graphs."""
    return Graphs()


class Shelf:
    """A folder registry with its cache, at a time when all files have settled."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "models"
        self.cache = folder / "cache"
        self.root.mkdir()
        self.registry = FolderRegistry(self.root, self.cache, clock=lambda: 2**62)

    def write(
        self,
        name: str,
        version: str,
        graph: ModelProto | bytes,
        /,
        *,
        files: dict[str, bytes] | None = None,
        **documents: Any,
    ) -> Path:
        """Write a version and return its folder; keyword arguments are JSON documents by their stem."""
        folder = self.root / name / version
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.onnx").write_bytes(graph if isinstance(graph, bytes) else graph.SerializeToString())
        for path, content in (files or {}).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        for stem, document in documents.items():
            (folder / f"{stem}.json").write_text(json.dumps(document))
        return folder

    def fetch(self, name: str, version: str) -> FetchedVersion:
        return asyncio.run(self.registry.fetch(name, version))

    def put(self, graph: ModelProto | bytes, /, **documents: Any) -> FetchedVersion:
        """Write the next version of the model `m` and fetch it."""
        taken = self.root / "m"
        version = str(len(list(taken.iterdir())) + 1) if taken.exists() else "1"
        self.write("m", version, graph, **documents)
        return self.fetch("m", version)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """An empty shelf."""
    return Shelf(tmp_path)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster | Elsewhere]:
    """A Kafka for all tests, never stopped by any: `kafka.address`; `kafka.prefix()` for topics of one's own."""
    given = os.environ.get("POINTSMAN_TEST_KAFKA")
    if given:
        yield Elsewhere(given)
        return
    one = cluster(tmp_path_factory.mktemp("kafka"))
    one.start()
    yield one
    one.stop()


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[Callable[[int], Cluster]]:
    """Brokers that a test may stop and kill: `own_kafka(1)` starts them."""
    started: list[Cluster] = []

    def start(brokers: int = 1) -> Cluster:
        one = cluster(tmp_path / f"kafka-{len(started)}", brokers)
        started.append(one)
        one.start()
        return one

    yield start
    for one in started:
        one.stop()


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of this test's own: `redis_server.url`; it may be stopped, killed and started."""
    one = RedisServer(tmp_path / "redis")
    one.start(keep=True)
    yield one
    one.kill()


@pytest.fixture
def make_proxy() -> Iterator[Callable[..., Proxy]]:
    """The maker of proxies: `make_proxy(target_port, port=None)`, listening when it returns."""
    made: list[Proxy] = []

    def make(target_port: int, port: int | None = None) -> Proxy:
        one = Proxy(port or free_ports(1)[0], target_port)
        one.start()
        made.append(one)
        return one

    yield make
    for one in made:
        one.close()
