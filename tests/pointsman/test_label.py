"""`pointsman label`: every label of a file reaches the real gateway's log once; what was refused is told by row and reason."""

import asyncio
import json
import socket
import threading
from uuid import UUID

import httpx
import msgspec
import pytest
from typer.testing import CliRunner

from contracts.errors import InvalidInput, Unavailable
from contracts.label import Label
from contracts.settings import Settings
from gateway.worker import serve_worker
from pointsman.label import BATCH_LABELS, KEPT_MAX, WAITS_SECONDS, Answer, Outcome, Refusal, send
from pointsman.main import app
from prediction_log.spool.reader import SpoolReader
from prediction_log.spool.segment import Kind

PATIENCE_SECONDS = 60


class Gateway:
    """A worker on a free port, in a thread of its own."""

    def __init__(self, home):
        self.home = home
        (home / "models").mkdir()
        settings = Settings(registry=str(home / "models"), state_dir=home / "state", log_disk_reserve_bytes=0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._loop, self._stop = asyncio.new_event_loop(), asyncio.Event()
        serving = serve_worker(settings, "worker-0", self._listener, self._stop)
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(serving,))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive()
        self._loop.close()

    def logged(self):
        """Every label in the log, in its order."""
        reader, found = SpoolReader(self.home / "state" / "spool", {}), []
        while entries := reader.poll(5000):
            found += [msgspec.json.decode(e.payload, type=Label) for e in entries if e.kind == Kind.LABEL]
        return found


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with Gateway(tmp_path_factory.mktemp("gateway")) as gateway:
        yield gateway


@pytest.fixture
def gateway(running):
    """The running gateway; `before` labels are in its log already."""
    running.before = len(running.logged())
    return running


def prediction_id(number):
    return str(UUID(int=(number + 1) << 80 | 7 << 76 | 2 << 62))


def run(path, gateway, *arguments):
    return CliRunner().invoke(app, ["label", str(path), "--gateway", gateway.address, *arguments])


def test_every_label_of_a_file_is_logged_once_in_its_order(gateway, tmp_path):
    count = 2 * BATCH_LABELS + 7
    path = tmp_path / "labels.csv"
    path.write_text("prediction_id,label\n" + "".join(f"{prediction_id(i)},{i % 2}\n" for i in range(count)))
    result = run(path, gateway)
    assert result.exit_code == 0, result.output
    assert f"{count:,} labels accepted, 0 refused" in result.output
    logged = gateway.logged()[gateway.before :]
    assert [(label.prediction_id, label.label) for label in logged] == [(prediction_id(i), i % 2) for i in range(count)]


def test_times_versions_and_retractions_arrive_as_written(gateway, tmp_path):
    path = tmp_path / "labels.jsonl"
    rows = [
        {
            "prediction_id": prediction_id(1) + "#2",
            "label": 0.5,
            "observed_at": "2013-04-01T12:00:00Z",
            "label_version": 3,
        },
        {"prediction_id": prediction_id(2), "label": None, "op": "retract"},
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    assert run(path, gateway).exit_code == 0
    first, second = gateway.logged()[gateway.before :]
    assert (first.prediction_id, first.label, first.label_version) == (prediction_id(1) + "#2", 0.5, 3)
    assert first.observed_us == 1_364_817_600_000_000
    assert (second.op, second.label) == ("retract", None)


def test_refused_labels_are_named_by_row_and_reason_and_the_exit_code_is_1(gateway, tmp_path):
    path = tmp_path / "labels.csv"
    good = [f"{prediction_id(i)},1\n" for i in range(BATCH_LABELS)]
    path.write_text(
        "prediction_id,label\n" + "".join(good) + f"not-an-id,1\n{prediction_id(5)},\n{prediction_id(6)},1\n"
    )
    result = run(path, gateway)
    assert result.exit_code == 1
    assert f"{BATCH_LABELS + 1:,} labels accepted, 2 refused" in result.output
    assert f"row {BATCH_LABELS + 1} (not-an-id): prediction_id:" in result.output
    assert f"row {BATCH_LABELS + 2} ({prediction_id(5)}): label: missing or null" in result.output
    assert len(gateway.logged()) == gateway.before + BATCH_LABELS + 1


def test_json_tells_the_same(gateway, tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text(f"prediction_id,label\n{prediction_id(1)},1\nwrong,1\n")
    result = CliRunner().invoke(app, ["label", str(path), "--gateway", gateway.address, "--json"])
    outcome = json.loads(result.stdout)
    assert (outcome["accepted"], outcome["refused"]) == (1, 1)
    assert [(refused["row"], refused["prediction_id"]) for refused in outcome["refusals"]] == [(2, "wrong")]
    assert result.exit_code == 1


def test_a_file_that_breaks_off_tells_what_was_accepted_before(gateway, tmp_path):
    path = tmp_path / "labels.jsonl"
    rows = [json.dumps({"prediction_id": prediction_id(i), "label": 1}) for i in range(BATCH_LABELS)]
    path.write_text("\n".join([*rows, "{broken"]))
    result = run(path, gateway)
    assert isinstance(result.exception, InvalidInput)
    assert f"labels.jsonl:{BATCH_LABELS + 1}: not JSON" in str(result.exception)
    assert f"stopped early: {BATCH_LABELS:,} labels accepted" in result.output


def test_a_file_of_no_label_is_no_error(gateway, tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("prediction_id,label\n")
    assert "0 labels accepted, 0 refused" in run(path, gateway).output


def answering(*statuses):
    """A client of a gateway that answers with these, one after the other; and the requests it got."""
    left, bodies = list(statuses), []

    def handle(request):
        bodies.append(request.content)
        status = left.pop(0)
        if status is None:
            raise httpx.ConnectError("connection refused")
        body = {"accepted": 1, "refused": []} if status == 202 else {"error": f"says {status}"}
        return httpx.Response(status, json=body)

    return httpx.Client(transport=httpx.MockTransport(handle), base_url="http://gateway"), bodies


def test_a_gateway_that_cannot_log_just_now_is_asked_again_with_the_same_labels():
    waits = []
    client, bodies = answering(None, 503, 429, 202)
    assert send(client, [{"prediction_id": "a", "label": 1}], waits.append).accepted == 1
    assert waits == list(WAITS_SECONDS[:3])
    assert len(set(bodies)) == 1


def test_patience_ends_and_says_why():
    waits = []
    client, _ = answering(*[503] * (len(WAITS_SECONDS) + 1))
    with pytest.raises(Unavailable, match="answered 503: says 503, after 6 tries"):
        send(client, [{"prediction_id": "a", "label": 1}], waits.append)
    assert waits == list(WAITS_SECONDS)


def test_a_refused_request_is_not_sent_again():
    client, bodies = answering(413, 202)
    with pytest.raises(InvalidInput, match="answered 413: says 413"):
        send(client, [{"prediction_id": "a", "label": 1}], lambda _: None)
    assert len(bodies) == 1


def test_of_many_refusals_the_first_are_kept_and_all_are_counted():
    outcome = Outcome()
    many = KEPT_MAX + 5
    outcome.add([{"prediction_id": "x"}] * many, Answer(0, [Refusal(i, "no") for i in range(many)]))
    outcome.add([{"prediction_id": "y"}], Answer(0, [Refusal(0, "no")]))
    assert outcome.refused == many + 1
    assert len(outcome.refusals) == KEPT_MAX
    assert outcome.refusals[-1].row == KEPT_MAX
