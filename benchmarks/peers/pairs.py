"""Pointsman and one peer at a time, loaded in turns: what each did, and the ratio of each pair of neighbours in time.

Enters: a model's folder, a peer with its environment, turns. Leaves: an `Outcome`: the loads of both, or the reason why there
are none. Each server was asked once before it was loaded, and has to give the model's own answer. Only one peer runs at a
time, so that none pays for another's idle processes.
"""

import json
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime

from benchmarks.closed_loop import CONNECTIONS, ROW, Ask, Load, wrk
from benchmarks.peers.catalogue import Peer
from benchmarks.scenarios import model_file
from benchmarks.served import NotServedError, Served, cpu_seconds, free_port, memory_mb, served, strayed

ASK_SECONDS_MAX = 30.0


class Turn(NamedTuple):
    """A load, and the microseconds of CPU that each request cost the server's processes together (0: none was answered)."""

    load: Load
    cpu_us: float


class Outcome(NamedTuple):
    """What came of a pair. `ours[i]` and `theirs[i]` were measured one right after the other; `reason` says why there are
    none.
    """

    name: str
    version: str = ""
    batching: str = ""
    ours: list[Turn] = []
    theirs: list[Turn] = []
    memory_mb: float = 0.0
    reason: str = ""


class WrongAnswerError(Exception):
    """A server answers something else than the model does; the message says what."""


@contextmanager
def serving(peer: Peer, python: Path, folder: Path) -> Iterator[Served]:
    """The peer over the model of a folder, ready."""
    state = folder / peer.key
    state.mkdir()
    ports = [free_port() for _ in range(3)]
    settings = {
        "PEER_MODEL": model_file(folder),
        "PEER_PORTS": ",".join(map(str, ports)),
        "PYTHONPATH": peer.script.parent,
        "PYTHONUNBUFFERED": "1",
        "HOME": state,
        "BENTOML_HOME": state / "bentoml",
        "BENTOML_DO_NOT_TRACK": "True",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",
    }
    with served([str(python), str(peer.script)], ports[0], peer.ready, state, settings) as server:
        yield server


def measured(name: str, ours: Served, theirs: Served, ask: Ask, turns: int, seconds: int) -> Outcome:
    """Load both in turns, after a turn that does not count; who goes first changes from turn to turn."""
    kept: tuple[list[Turn], list[Turn]] = ([], [])
    sides = ((ours, Ask(), kept[0]), (theirs, ask, kept[1]))
    for server, asked, _ in sides:
        costed(server, asked, seconds)
    for number in range(turns):
        for server, asked, side in sides if number % 2 == 0 else reversed(sides):
            side.append(costed(server, asked, seconds))
    return Outcome(name, ours=kept[0], theirs=kept[1], memory_mb=memory_mb(theirs.mark))


def costed(server: Served, ask: Ask, seconds: int) -> Turn:
    """Load a server, and see what the requests cost it."""
    before = cpu_seconds(server.mark)
    load = wrk(server.port, CONNECTIONS, server.folder, seconds, ask=ask)
    spent = cpu_seconds(server.mark) - before
    requests = load.requests_per_s * seconds
    return Turn(load, spent * 1e6 / requests if requests else 0.0)


def with_peer(peer: Peer, python: Path, folder: Path, ours: Served, turns: int, seconds: int) -> Outcome:
    """Start a peer, check it, measure it beside Pointsman."""
    try:
        with serving(peer, python, folder) as theirs:
            check(theirs, peer.ask, folder)
            outcome = measured(peer.name, ours, theirs, peer.ask, turns, seconds)
    except (NotServedError, WrongAnswerError) as error:
        return Outcome(peer.name, reason=f"did not start: {error}")
    if not any(turn.load.requests_per_s for turn in outcome.theirs):
        return Outcome(peer.name, reason="answered nothing under load")
    return outcome


def check(server: Served, ask: Ask, folder: Path) -> None:
    """Compare one answer with the model's own, and the server's processes with the core that they belong on."""
    body = ask.body % 1 if "%" in ask.body else ask.body
    url = f"http://127.0.0.1:{server.port}{ask.path}"
    request = urllib.request.Request(url, body.encode(), {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=ASK_SECONDS_MAX) as reply:
            said = json.loads(reply.read())
    except urllib.error.HTTPError as error:
        raise WrongAnswerError(f"{error.code} for a request: {error.read()[:150]!r}") from None
    except OSError as error:
        raise WrongAnswerError(f"no answer to a request: {error}") from None
    wanted = expected(folder)
    if not np.allclose(probabilities(said), wanted, atol=1e-4):
        raise WrongAnswerError(f"it answers {json.dumps(said)[:100]}, the model {wanted.tolist()}")
    away = strayed(server.mark)
    if away:
        raise WrongAnswerError(f"{len(away)} of its processes run on other cores than the servers' own")


def probabilities(said: Any) -> list[float]:
    """Those of the only row, out of a V2 reply or out of nested lists."""
    if isinstance(said, list):
        return [float(value) for value in said[0]]
    found = [output["data"] for output in said.get("outputs", []) if output["name"] == "probabilities"]
    return [float(value) for value in np.ravel(found[0])] if found else []


def expected(folder: Path) -> Any:
    """The model's own answer to the row that everybody is asked about."""
    session = onnxruntime.InferenceSession(str(model_file(folder)), providers=["CPUExecutionProvider"])
    row = np.array([[float(value) for value in ROW.split(",")]], np.float32)
    answer = session.run(["probabilities"], {session.get_inputs()[0].name: row})[0][0]
    return np.asarray(answer)


def temporary_folder() -> "tempfile.TemporaryDirectory[str]":
    """A folder with a short path: the sockets that some servers make in it allow a hundred characters."""
    return tempfile.TemporaryDirectory(prefix="pm-", ignore_cleanup_errors=True)
