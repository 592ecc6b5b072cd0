"""kill -9 of anything loses nothing that was answered, and the monitor counts each record exactly once."""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import time
from collections import Counter

import httpx

from contracts.settings import Settings
from prediction_log.spool.segment import Kind
from tests.services.fleet import single_pass, summaries

ROUNDS = 15
CLIENTS = 6
ANSWERS = 500


def test_killing_workers_monitor_and_supervisor_loses_no_answer_and_no_count(start, load, records, until, tmp_path):
    running = start("up", workers=2, log_segment_bytes=256 * 1024)
    verb = {"version": "2", "who": "test", "reason": "kill test", "wait_ms": 60_000}
    admin = f"{running.admin}/admin/models/flight-delay"
    assert httpx.post(f"{admin}/canary", json=verb | {"share": 0.3}, timeout=120).status_code == 200
    supervisors = [running.process]

    traffic = load(running)

    def kill_in_turn():
        chance = random.Random(7)
        until(lambda: traffic.answers, what="the first answer")
        for number in range(ROUNDS):
            time.sleep(0.4 + chance.random() * 0.4)
            label(running, traffic.answers[-60:], chance)
            victim = ("worker-0", "monitor", "worker-1", "monitor", "supervisor")[number % 5]
            if victim == "supervisor":
                supervisors[-1].kill()
                supervisors[-1].wait()
                with (tmp_path / "again.log").open("ab") as out:
                    again = subprocess.Popen(running.command, env=running.environment, stdout=out, stderr=out)
                supervisors.append(again)
            else:
                pid = until(lambda name=victim: running.children().get(name), what=f"{victim} running again")
                with contextlib.suppress(ProcessLookupError):  # left by a supervisor that was killed, it has drained
                    os.kill(pid, signal.SIGKILL)
        until(lambda: httpx_ok(f"{running.data}/v2/health/ready"), what="readiness after the kills")
        after = max(len(traffic.answers) + CLIENTS, ANSWERS)
        until(lambda: len(traffic.answers) > after, seconds=120, what=f"{after} answers")

    try:
        asyncio.run(traffic.during(CLIENTS, kill_in_turn))
        check(running, traffic, records, until)
    finally:
        supervisors[-1].send_signal(signal.SIGINT)
        supervisors[-1].wait(60)
    assert summaries(running.state / "monitor.sqlite") == one_pass(running, tmp_path / "oracle.sqlite")


def label(running, answers, chance):
    """Labels for these answers, some twice, some corrected; what a dying worker takes along is sent again by nobody."""
    labels = [{"prediction_id": answer[0], "label": chance.randint(0, 1)} for answer in answers]
    labels += [
        labels[0] | {"label_version": 1, "label": 1},
        labels[-1],
        labels[-1] | {"label_version": 2, "op": "retract", "label": None},
    ]
    try:
        httpx.post(f"{running.data}/v2/labels", json={"labels": labels}, timeout=30)
    except httpx.TransportError:
        pass


def one_pass(running, path):
    """The same counts from the log alone, in one undisturbed step."""
    settings = Settings(
        registry=running.environment["POINTSMAN_REGISTRY"], state_dir=running.state, monitor_tick_records_max=10**7
    )

    tick = asyncio.run(single_pass(settings, running.state / "spool", path))
    assert tick.caught_up
    assert tick.labels > 100
    return summaries(path)


def httpx_ok(url):
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def check(running, traffic, records, until):
    """Answered ids are in the log; the monitor's counts are those of one pass over it."""
    assert traffic.resets > 0, "the kills were felt"
    assert len(traffic.answers) > ANSWERS
    found = records(running.state, Kind.PREDICTION)
    ids = Counter(record.prediction_id for record in found if record.answered)
    lost = [answer for answer in traffic.answers if answer[0] not in ids]
    assert lost == []
    assert max(ids.values()) == 1, "one request, one answer, one record"
    said = {prediction_id: (variant, version) for prediction_id, variant, version in traffic.answers}
    for record in found:
        if record.prediction_id in said and record.answered:
            assert said[record.prediction_id] == (record.variant, record.version)

    oracle = Counter((record.version, record.variant) for record in found if record.status == "ok")
    until(lambda: monitor_counts(running) == oracle, seconds=90, what=f"the monitor counting {dict(oracle)}")
    until(lambda: verified(running), seconds=90, every=1.0, what="a full certificate: labels may be counted later")
    unexpected = [failure for failure in traffic.failures if "503" not in failure[0]]
    assert unexpected == []


def verified(running):
    """Whether all is in the log, and counted once; what is said where not."""
    done = subprocess.run(
        [*running.command[:3], "log", "verify", "--json"],
        env=running.environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    if done.returncode:
        print(done.stdout + done.stderr)
    return done.returncode == 0


def monitor_counts(running):
    """Predictions by version and variant, as the monitor says."""
    try:
        reply = httpx.get(
            f"{running.monitor}/summaries", params={"model": "flight-delay", "statistic": "predictions"}, timeout=20
        )
    except httpx.TransportError:
        return None
    rows = reply.json()["rows"] if reply.status_code == 200 else []
    return Counter({(row["version"], row["variant"]): int(row["value"]) for row in rows if not row["slice"]})
