"""`pointsman log ls|cat|verify` on a real spool."""

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from contracts.wire import encode
from pointsman.log import log_app
from prediction_log.spool.places import log_directories, segment_path
from prediction_log.spool.segment import Kind
from prediction_log.spool.writer import open_writer
from tests.prediction_log.compact_kit import plain_twin

RECORDS = [
    (Kind.PREDICTION, {"prediction_id": "p1", "model": "flight-delay", "variant": "champion"}),
    (Kind.PREDICTION, {"prediction_id": "p1", "model": "flight-delay", "variant": "rival"}),
    (Kind.PREDICTION, {"prediction_id": "p2", "model": "fraud", "variant": "champion"}),
    (Kind.LABEL, {"prediction_id": "p1#0", "label": 1}),
    (Kind.AUDIT, {"model": "flight-delay", "verb": "promote"}),
]


def run(*arguments):
    return CliRunner().invoke(log_app, list(arguments), env={"COLUMNS": "200"})


def lines(*arguments):
    result = run("cat", *arguments)
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def state_dir(tmp_path):
    async def write():
        writer = await open_writer(tmp_path / "spool", "worker-0", segment_bytes=64 * 1024, disk_reserve_bytes=0)
        for kind, record in RECORDS:
            await writer.append(kind, json.dumps(record).encode())
        await writer.aclose()

    asyncio.run(write())
    return tmp_path


@pytest.fixture
def damaged(state_dir):
    (log,) = log_directories(state_dir / "spool")
    path = segment_path(log.path, 1)
    path.write_bytes(path.read_bytes().replace(b'"fraud"', b'"frAud"'))
    return state_dir


def test_cat_prints_every_record_as_a_line_of_json(state_dir):
    found = lines("--state-dir", str(state_dir))

    assert [(line["seq"], line["kind"], line["record"]) for line in found] == [
        (seq, kind.name.lower(), record) for seq, (kind, record) in enumerate(RECORDS, start=1)
    ]
    (log,) = log_directories(state_dir / "spool")
    assert {line["log_id"] for line in found} == {log.log_id}


@pytest.mark.parametrize(
    ("options", "seqs"),
    [
        (["--model", "flight-delay"], [1, 2, 5]),
        (["--model", "flight-delay", "--kind", "prediction"], [1, 2]),
        (["--prediction-id", "p1"], [1, 2, 4]),
        (["--kind", "label"], [4]),
        (["--limit", "2"], [1, 2]),
        (["--kind", "prediction", "--limit", "2", "--model", "fraud", "--json"], [3]),
        (["--model", "nobody"], []),
        (["--follow", "--limit", "5"], [1, 2, 3, 4, 5]),
    ],
)
def test_cat_selects(state_dir, options, seqs):
    assert [line["seq"] for line in lines("--state-dir", str(state_dir), *options)] == seqs


def test_cat_prints_compact_records_as_json_and_tells_of_one_that_cannot_be_read(tmp_path):
    twins = [plain_twin(1), plain_twin(2, model="fraud"), plain_twin(3)]

    async def write():
        writer = await open_writer(tmp_path / "spool", "worker-0", disk_reserve_bytes=0)
        for payload in (*(twin.payload for twin in twins), twins[0].payload[:-1], b'{"model":"m"}'):
            await writer.append(Kind.PREDICTION, payload)
        await writer.aclose()

    asyncio.run(write())
    result = run("cat", "--state-dir", str(tmp_path))

    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["record"] for line in found[:3]] == [json.loads(encode(twin.prediction)) for twin in twins]
    assert [line["seq"] for line in found] == [1, 2, 3, 5]
    assert "seq 4: the payload" in result.stderr
    assert [line["seq"] for line in lines("--state-dir", str(tmp_path), "--model", "fraud")] == [2]
    wanted = twins[2].prediction.prediction_id
    assert [line["seq"] for line in lines("--state-dir", str(tmp_path), "--prediction-id", wanted)] == [3]
    assert json.loads(run("verify", "--state-dir", str(tmp_path), "--json").stdout)["records"] == 5


def test_cat_names_the_kinds_there_are(state_dir):
    result = run("cat", "--state-dir", str(state_dir), "--kind", "commit")

    assert result.exit_code == 2
    assert "prediction, label, audit" in result.output


def test_ls_lists_writers_and_segments(state_dir):
    table = run("ls", "--state-dir", str(state_dir)).output
    (row,) = json.loads(run("ls", "--state-dir", str(state_dir), "--json").stdout)

    assert "worker-0" in table
    assert row["slot"] == "worker-0"
    assert (row["segment"], row["state"], row["level"], row["last_seq"]) == (1, "written", "process", 5)
    assert row["bytes"] == segment_path(log_directories(state_dir / "spool")[0].path, 1).stat().st_size


def test_where_there_is_no_log_every_command_says_so_without_an_error(tmp_path):
    assert run("ls", "--state-dir", str(tmp_path)).exit_code == 0
    assert lines("--state-dir", str(tmp_path)) == []
    result = run("verify", "--state-dir", str(tmp_path))
    assert result.exit_code == 0
    assert "0 of 0 records" in result.output


def test_verify_certifies_a_whole_log_and_says_that_nobody_counted_it(state_dir):
    result = run("verify", "--state-dir", str(state_dir))

    assert result.exit_code == 0, result.output
    assert "5 of 5 records, no gap, hash chain ok" in result.output
    assert "the monitor's part is not certified" in result.output


def test_verify_names_what_is_missing_and_exits_1(damaged):
    result = run("verify", "--state-dir", str(damaged))

    assert result.exit_code == 1
    assert "NOT COMPLETE: 4 of 5 records, 1 missing, hash chain broken" in result.output
    assert "seq 3: 1 records cannot be read" in result.output


def test_verify_prints_the_certificate_as_json(damaged):
    result = run("verify", "--state-dir", str(damaged), "--json")

    assert result.exit_code == 1
    certificate = json.loads(result.stdout)
    assert (certificate["records"], certificate["missing"], certificate["ok"]) == (4, 1, False)
    assert certificate["logs"][0]["gaps"] == [[3, 3]]


@pytest.mark.parametrize(
    ("counted", "exit_code", "words"),
    [
        ([(1, 5)], 0, "each counted exactly once"),
        ([(1, 4)], 1, "seq 5: in the log, not counted"),
        ([(1, 3), (3, 5)], 1, "COUNTED TWICE"),
    ],
)
def test_verify_holds_the_log_against_what_the_monitor_counted(state_dir, monkeypatch, counted, exit_code, words):
    (log,) = log_directories(state_dir / "spool")
    asked = []
    monkeypatch.setattr("monitor.counts.state.counted", lambda path: asked.append(path) or {log.log_id: counted})
    Path(state_dir / "monitor.sqlite").touch()

    result = run("verify", "--state-dir", str(state_dir))

    assert asked == [state_dir / "monitor.sqlite"]
    assert result.exit_code == exit_code
    assert words in result.output
