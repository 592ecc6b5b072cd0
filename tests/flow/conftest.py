"""Real processes: small ONNX models in a folder, and a whole Pointsman on free ports around them."""

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

from gateway.edge.connection import LINGER_SECONDS
from gateway.fleet.worker_status import read_statuses
from tests.services.ports import free_ports


def scoring_model(path, columns, weights, bias):
    """A graph: probabilities [n, 2] = sigmoid of a weighted sum of named [n, 1] float columns; strings take part by a constant."""
    floats = [name for name in columns if columns[name] == TensorProto.FLOAT]
    inputs = [helper.make_tensor_value_info(name, kind, [None, 1]) for name, kind in columns.items()]
    nodes = [
        helper.make_node("Concat", floats, ["x"], axis=1),
        helper.make_node("MatMul", ["x", "w"], ["z0"]),
        helper.make_node("Add", ["z0", "b"], ["z"]),
        helper.make_node("Sigmoid", ["z"], ["p"]),
        helper.make_node("Sub", ["one", "p"], ["q"]),
        helper.make_node("Concat", ["q", "p"], ["probabilities"], axis=1),
    ]
    strings = [name for name in columns if columns[name] == TensorProto.STRING]
    nodes += [helper.make_node("Identity", [name], [f"{name}_seen"]) for name in strings]
    initializers = [
        numpy_helper.from_array(np.array(weights, np.float32).reshape(-1, 1), "w"),
        numpy_helper.from_array(np.array([bias], np.float32), "b"),
        numpy_helper.from_array(np.array([1.0], np.float32), "one"),
    ]
    outputs = [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2])]
    outputs += [
        helper.make_tensor_value_info(f"{name}_seen", TensorProto.STRING, [None, 1])
        for name in columns
        if columns[name] == TensorProto.STRING
    ]
    graph = helper.make_graph(nodes, "score", inputs, outputs, initializers)
    path.parent.mkdir(parents=True, exist_ok=True)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def failing_model(path):
    """As version 1 by its signature, but every row looks up a place that does not exist: it loads, and fails at run."""
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in ("distance", "hour")]
    nodes = [
        helper.make_node("Add", ["distance", "hour"], ["sum"]),
        helper.make_node("Cast", ["sum"], ["place"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "place"], ["picked"], axis=0),
        helper.make_node("Squeeze", ["picked", "axis"], ["p"]),
        helper.make_node("Concat", ["p", "p"], ["probabilities"], axis=1),
    ]
    initializers = [
        numpy_helper.from_array(np.zeros((3, 1), np.float32), "table"),
        numpy_helper.from_array(np.array([2], np.int64), "axis"),
    ]
    outputs = [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2])]
    graph = helper.make_graph(nodes, "fail", inputs, outputs, initializers)
    path.parent.mkdir(parents=True, exist_ok=True)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


BINARY = {"kind": "binary", "output": "probabilities", "classes": [0, 1], "positive": 1, "threshold": 0.5}
FLOATS = {"distance": TensorProto.FLOAT, "hour": TensorProto.FLOAT}


def four_versions(root):
    """Versions 1 and 2 on the same inputs, 3 that also needs `temp`, and 4 that fails at every run; champion is 1."""
    scoring_model(root / "1" / "model.onnx", FLOATS, [0.001, 0.05], -2.0)
    scoring_model(root / "2" / "model.onnx", FLOATS, [0.002, 0.05], -2.5)
    scoring_model(root / "3" / "model.onnx", FLOATS | {"temp": TensorProto.FLOAT}, [0.001, 0.05, -0.01], -1.0)
    failing_model(root / "4" / "model.onnx")
    for version in "1234":
        (root / version / "model.json").write_text(json.dumps({"task": BINARY, "owner": "tests"}))
    (root / "aliases.json").write_text(json.dumps({"champion": "1"}))


@pytest.fixture
def registry(tmp_path):
    """A folder with `flight-delay`, of four versions."""
    four_versions(tmp_path / "models" / "flight-delay")
    return tmp_path / "models"


class Running(NamedTuple):
    """A started Pointsman."""

    process: subprocess.Popen
    environment: dict
    command: list
    log: Path
    state: Path
    data: str
    admin: str
    monitor: str

    def children(self):
        """Pids of the supervisor's children by role and slot."""
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                environment = (entry / "environ").read_bytes()
            except OSError:
                continue
            if b"pointsman.child" in words and str(self.state).encode() in environment:
                found[words[words.index(b"--slot") + 1].decode()] = int(entry.name)
        return found

    def stop(self, timeout=90):
        """Ctrl-C, and wait for the drain."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout)


def wait_until(true, seconds=60.0, every=0.05, what="it"):
    """Ask until the answer is yes; the bound is for a hung process, not for a slow one."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := true():
            return answer
        time.sleep(every)
    raise AssertionError(f"{what} did not happen within {seconds} s")


def answers(url):
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
def start(tmp_path, registry):
    """Start a Pointsman: `start("up", workers=2, **settings)`; all of it is gone after the test."""
    with starting(tmp_path, registry) as launch:
        yield launch


@pytest.fixture(scope="module")
def shared(request, tmp_path_factory):
    """One `up` for all tests of a file that name the fixture `model`: each has a model of its own there, by the test's name."""
    folder = tmp_path_factory.mktemp("shared")
    for item in request.session.items:
        if item.path == request.path and "model" in item.fixturenames:
            four_versions(folder / "models" / item.name)
    with starting(folder, folder / "models") as launch:
        yield launch("up", workers=2)


class Model(NamedTuple):
    """A model that only one test knows."""

    name: str
    folder: Path
    infer: str


@pytest.fixture
def model(request, shared):
    """This test's own model of four versions on the shared server: no other test moves its traffic or is counted with it."""
    name = request.node.name
    return Model(name, Path(shared.environment["POINTSMAN_REGISTRY"]) / name, f"{shared.data}/v2/models/{name}/infer")


PATIENCE_MS = 60_000
"""Far from what a busy machine makes a request wait: a test that is about deadlines sets its own."""


@contextlib.contextmanager
def starting(folder, registry):
    """What starts processes with their state and logs in the folder; in the end all are gone."""
    started = []

    def launch(role="up", state=None, ports=None, wait=True, files=None, **settings):
        state = state or folder / "state"
        http, admin, monitor = ports or free_ports(3)
        chosen = {
            "registry": registry,
            "state_dir": state,
            "http_port": http,
            "admin_port": admin,
            "monitor_port": monitor,
        }
        small = {"log_disk_reserve_bytes": 0, "log_segment_bytes": 2**20}
        chosen = small | {"request_timeout_ms": PATIENCE_MS} | chosen | settings
        environment = {k: v for k, v in os.environ.items() if not k.startswith("POINTSMAN_")}
        environment |= {f"POINTSMAN_{name.upper()}": str(value) for name, value in chosen.items()}
        command = [sys.executable, "-m", "pointsman", role]
        log = folder / f"{role}-{len(started)}.log"
        with log.open("wb") as out:
            few = [] if files is None else ["sh", "-c", f'ulimit -n {files}; exec "$@"', "sh"]
            process = subprocess.Popen([*few, *command], env=environment, stdout=out, stderr=subprocess.STDOUT)
        addresses = [f"http://127.0.0.1:{port}" for port in (http, admin, monitor)]
        running = Running(process, environment, command, log, state, *addresses)
        started.append(running)
        if wait:
            ready(role, running)
        return running

    def ready(role, running):
        url = f"{running.monitor}/health/live" if role == "monitor" else f"{running.data}/v2/health/ready"
        try:
            if role == "forward":
                wait_until((running.state / "forwarder.json").exists, seconds=60, what="the forwarder's first word")
            else:
                wait_until(lambda: answers(url), seconds=60, what=f"readiness of {role}")
            if role == "up":
                wait_until(lambda: answers(f"{running.monitor}/health/live"), what="readiness of the monitor")
            if role in {"up", "serve"}:
                wait_until(lambda: answers(f"{running.admin}/admin/models"), what="readiness of the admin API")
                # the first one of them is enough for an answer; a shift that comes now is told to those alone who are known
                wanted, known = int(running.environment.get("POINTSMAN_WORKERS", "1")), running.state / "workers"
                wait_until(lambda: len(read_statuses(known)) >= wanted, what=f"the word of {wanted} workers")
        except AssertionError:
            print(running.log.read_text()[-4000:])
            raise

    launch.ready = ready
    launch.adopt = started.append
    yield launch
    for running in started:
        if running.process.poll() is None:
            running.process.send_signal(signal.SIGTERM)
    for running in started:
        try:
            running.process.wait(40)
        except subprocess.TimeoutExpired:
            running.process.kill()
            running.process.wait()
        for pid in running.children().values():
            with contextlib.suppress(ProcessLookupError):  # it ended by itself meanwhile
                os.kill(pid, signal.SIGKILL)


def body(**parameters):
    """One good request for versions 1 and 2."""
    request = {
        "inputs": [
            {"name": "distance", "shape": [1, 1], "datatype": "FP32", "data": [1400.0]},
            {"name": "hour", "shape": [1, 1], "datatype": "FP32", "data": [17.0]},
        ]
    }
    return request | ({"parameters": parameters} if parameters else {})


@pytest.fixture
def flight():
    """The maker of good requests."""
    return body


@pytest.fixture
def until():
    """Waiting with a bound."""
    return wait_until


REST_SECONDS = 0.005
"""How long a client rests after an answer, so that the clients leave some of a small machine to whom they ask."""


class Load:
    """Clients on raw keep-alive connections that remember every answer; a broken connection is opened again."""

    def __init__(self, host, port, make_body, pause=0.0):
        self.host, self.port, self.make_body, self.pause = host, port, make_body, pause
        self.answers = []
        self.failures = []
        self.resets = 0
        self.stopping = False

    async def client(self, number):
        turn = 0
        reader = writer = None
        asked = time.monotonic()
        while not self.stopping:
            turn += 1
            payload = json.dumps(self.make_body(routing_key=f"unit-{number}-{turn % 97}")).encode()
            # a drain closes a connection on which nothing is asked for so long: so it was where this process stood still
            if writer is not None and reader.at_eof() and time.monotonic() - asked >= LINGER_SECONDS:
                writer.close()
                writer = None
            asked = time.monotonic()
            try:
                if writer is None:
                    reader, writer = await asyncio.open_connection(self.host, self.port)
                writer.write(HEAD % len(payload) + payload)
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(re.search(rb"content-length: (\d+)", head)[1])
                reply = json.loads(await reader.readexactly(length))
            except (OSError, asyncio.IncompleteReadError):
                self.resets += 1
                if writer is not None:
                    writer.close()
                writer = None
                await asyncio.sleep(0.01)
                continue
            if head.startswith(b"HTTP/1.1 200"):
                parameters = reply["parameters"]
                self.answers.append((parameters["prediction_id"], parameters["variant"], reply["model_version"]))
            else:
                self.failures.append((head[:12].decode(), reply))
            if b"connection: close" in head:
                writer.close()
                writer = None
            await asyncio.sleep(self.pause)
        if writer is not None:
            writer.close()

    async def during(self, clients, work):
        """Run `work` (in a thread) while the clients load; what it returns."""
        running = [asyncio.create_task(self.client(number)) for number in range(clients)]
        try:
            return await asyncio.to_thread(work)
        finally:
            self.stopping = True
            await asyncio.gather(*running)


HEAD = b"POST /v2/models/flight-delay/infer HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"


@pytest.fixture
def load():
    """The maker of load: `load(running, body)`; each client rests `pause` seconds after each answer."""

    def make(running, make_body=body, pause=REST_SECONDS):
        host, port = running.data.removeprefix("http://").split(":")
        return Load(host, int(port), make_body, pause)

    return make


@pytest.fixture
def records():
    """All committed records of a spool: `records(state, Kind.PREDICTION)`."""
    from contracts.label import Label
    from contracts.plan import Change
    from contracts.prediction import Prediction
    from contracts.wire import decode
    from prediction_log.expansion import record_json
    from prediction_log.spool.reader import SpoolReader
    from prediction_log.spool.segment import Kind

    kinds = {Kind.PREDICTION: Prediction, Kind.LABEL: Label, Kind.AUDIT: Change}

    def read(state, kind):
        reader = SpoolReader(state / "spool", {})
        found = []
        while batch := reader.poll(10_000):
            found += [decode(kinds[kind], record_json(entry.payload)) for entry in batch if entry.kind == kind]
        return found

    return read
