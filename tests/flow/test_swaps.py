"""Versions are swapped under load, each loaded and let go again: no request fails, and each answer is of one version."""

import asyncio
import json
import shutil

import httpx

from prediction_log.spool.segment import Kind

SWAPS = 100
CLIENTS = 4
VERSIONS = [str(number) for number in range(11, 19)]
"""More than a plan keeps warm, so that each swap loads one and lets one go."""


def test_a_hundred_swaps_under_load_fail_no_request(start, registry, load, records, until):
    root = registry / "flight-delay"
    for number, version in enumerate(VERSIONS):
        shutil.copytree(root / str(1 + number % 2), root / version)
    running = start("serve")
    switch = f"{running.admin}/admin/models/flight-delay/switch"
    revisions = {}

    def swap():
        with httpx.Client(timeout=120) as client:
            for number in range(SWAPS):
                version = VERSIONS[number % len(VERSIONS)]
                verb = {"version": version, "who": "test", "reason": "swap", "wait_ms": 60_000}
                reply = client.post(switch, json=verb)
                assert reply.status_code == 200, reply.text
                answer = reply.json()
                assert answer["converged"].startswith("1/1"), answer
                revisions[answer["plan"]["revision"]] = version
                # one answer for each client may be of a request that was routed before
                enough = len(traffic.answers) + CLIENTS
                until(lambda least=enough: len(traffic.answers) > least, every=0.002, what="an answer by this plan")

    traffic = load(running)
    asyncio.run(traffic.during(CLIENTS, swap))
    loaded = httpx.get(f"{running.data}/v2/models/flight-delay").json()["versions"]
    assert running.stop() == 0

    assert (traffic.failures, traffic.resets) == ([], 0)
    assert len(loaded) < len(VERSIONS), "those that nobody needs are let go"
    found = {record.prediction_id: record for record in records(running.state, Kind.PREDICTION)}
    assert {record.revision for record in found.values()} >= set(revisions)
    for prediction_id, _, version in traffic.answers:
        record = found[prediction_id]
        assert record.version == version == revisions.get(record.revision, "1")
    print(f"\n{SWAPS} swaps, {len(traffic.answers)} answers, {json.dumps(loaded)} loaded at the end")
