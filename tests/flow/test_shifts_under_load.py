"""A shift is one atomic write: under load, with two workers, no request fails and every record has exactly one revision."""

import asyncio
import re
import statistics

import httpx

from gateway.traffic.routing import points_of, route, unit_hash
from prediction_log.spool.segment import Kind

SHIFTS = 100
CLIENTS = 6


def test_a_hundred_shifts_under_load_fail_nobody(start, load, records, until):
    running = start("serve", workers=2)
    admin = f"{running.admin}/admin/models/flight-delay"
    verb = {"version": "2", "who": "test", "reason": "shift", "wait_ms": 60_000}
    assert httpx.post(f"{admin}/canary", json=verb | {"share": 0.05}, timeout=120).status_code == 200
    plans = {}
    took_ms = []

    def shift():
        with httpx.Client(timeout=120) as client:
            for number in range(SHIFTS):
                reply = client.post(f"{admin}/canary", json=verb | {"share": 0.1 + number % 8 / 10})
                assert reply.status_code == 200, reply.text
                answer = reply.json()
                plans[answer["plan"]["revision"]] = answer["plan"]
                converged = re.fullmatch(r"2/2 in (\d+) ms", answer["converged"])
                assert converged, answer
                took_ms.append(int(converged[1]))
                # one answer for each client may be of a request that was routed before
                enough = len(traffic.answers) + CLIENTS
                until(lambda least=enough: len(traffic.answers) > least, every=0.002, what="an answer by this plan")

    traffic = load(running)
    asyncio.run(traffic.during(CLIENTS, shift))
    running.stop()
    print(f"\n{SHIFTS} shifts, 2 workers, under load: median {statistics.median(took_ms)} ms, worst {max(took_ms)} ms")

    assert traffic.failures == []
    assert traffic.resets == 0
    assert len(plans) == SHIFTS
    used = check_records(running, records, {answer[0] for answer in traffic.answers}, stored_plans(running))
    assert used >= set(plans)


def stored_plans(running):
    """All revisions, read from the store itself."""
    from gateway.plan_store.sqlite import SqlitePlanStore

    async def read():
        store = SqlitePlanStore(running.state / "plans.sqlite")
        changes = await store.history("flight-delay", 1000)
        await store.aclose()
        return {change.revision: change.after for change in changes}

    return asyncio.run(read())


def check_records(running, records, answered, plans):
    """Every answer is in the log once, and its variant is the one its revision's plan gives its unit; the revisions."""
    found = [record for record in records(running.state, Kind.PREDICTION) if record.answered]
    points = {revision: points_of(plan) for revision, plan in plans.items()}
    by_hash = {}
    for number in range(CLIENTS):
        for turn in range(97):
            unit = f"unit-{number}-{turn}"
            by_hash[f"{unit_hash(next(iter(plans.values())).salt, unit):016x}"] = unit

    assert {record.prediction_id for record in found} == answered
    assert len(found) == len(answered)
    for record in found:
        unit = by_hash[record.assignment.unit_hash]
        expected = route(points[record.revision], unit, "routing_key")
        assert (record.variant, record.assignment) == (expected.variant.name, expected.assignment)
    return {record.revision for record in found}
