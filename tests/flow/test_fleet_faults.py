"""A fleet under faults: whatever dies, stalls or is cut, what was answered reaches Kafka and the counts, each once.

Two hosts with two workers each, their forwarders behind a bad network, two monitors, one Redis, one Kafka. Clients remember
every answer. Each kind of fault strikes once; `POINTSMAN_TEST_FAULTS` and `POINTSMAN_TEST_SEED` make it longer or another
one: `make soak`.
"""

import asyncio
import os
import random
import time

import httpx
import pytest

from prediction_log.spool.segment import Kind
from tests.services.faults import Faults
from tests.services.fleet import Fleet, summaries

FAULTS = int(os.environ.get("POINTSMAN_TEST_FAULTS", "0"))
SEED = int(os.environ.get("POINTSMAN_TEST_SEED", "20261120"))
CLIENTS = 4
REST_SECONDS = 0.02
REFUSED_IN_ORDER = "HTTP/1.1 503"


@pytest.mark.timeout(900 + 30 * FAULTS)
def test_no_fault_loses_or_doubles_an_answer(
    own_kafka, redis_server, make_proxy, start, load, records, until, tmp_path
):
    began = time.monotonic()
    kafka = own_kafka(1)
    broker = kafka.brokers[0]
    network = make_proxy(broker.behind_port, broker.through_port)
    fleet = Fleet(start, tmp_path, broker.through, kafka.prefix(), redis_server.url)
    hosts = [fleet.add_host(name, workers=2, log_segment_bytes=256 * 1024) for name in "ab"]
    monitors = [fleet.add_monitor(f"monitor-{number}") for number in range(2)]
    fleet.ready()
    split(hosts[0])
    traffics = [load(host, pause=REST_SECONDS) for host in hosts]
    faults = Faults(fleet, broker, network, redis_server, until, random.Random(SEED), long=FAULTS > 0)

    asyncio.run(under_load(traffics, lambda: strike(faults, hosts, traffics, until)))
    struck = time.monotonic()
    assert fleet.stop("a", "b") == [0, 0]
    certificate = fleet.certified()
    expected = fleet.oracle()
    for monitor in monitors:
        view = next(monitor.state.rglob("view.sqlite"))
        until(lambda view=view: summaries(view) == expected, seconds=120, every=0.5, what="the counts of one pass")
    check(fleet, traffics, records)
    report(certificate, traffics, faults)
    print(f"{struck - began:.0f} s of faults, {time.monotonic() - struck:.0f} s of proof")


def strike(faults, hosts, traffics, until):
    """All faults, with labels between them; in the end every host is well."""
    chance = random.Random(SEED + 1)
    for number in range(FAULTS or len(faults.kinds())):
        label(hosts[number % 2], [answer for traffic in traffics for answer in traffic.answers[-60:]], chance)
        faults.strike()
        time.sleep(chance.random() * 0.5)
    for host in hosts:
        until(lambda host=host: answers(f"{host.data}/v2/health/ready"), seconds=60, what="a host is ready again")


async def under_load(traffics, work):
    """Run `work` in a thread while every host is asked."""
    done = asyncio.Event()
    loop = asyncio.get_running_loop()

    def until_done():
        asyncio.run_coroutine_threadsafe(done.wait(), loop).result()

    async def working():
        try:
            await asyncio.to_thread(work)
        finally:
            done.set()

    ends = await asyncio.gather(
        working(), *(traffic.during(CLIENTS, until_done) for traffic in traffics), return_exceptions=True
    )
    for end in ends:
        if isinstance(end, BaseException):
            raise end


def split(host):
    """A canary, so that there are two variants to tell apart."""
    verb = {"version": "2", "share": 0.3, "who": "test", "reason": "faults", "wait_ms": 60_000}
    reply = httpx.post(f"{host.admin}/admin/models/flight-delay/canary", json=verb, timeout=120)
    assert reply.status_code == 200, reply.text


def label(host, answered, chance):
    """Labels for these answers, some twice, some corrected, some taken back, through either host."""
    if not answered:
        return
    labels = [{"prediction_id": answer[0], "label": chance.randint(0, 1)} for answer in answered]
    labels += [
        labels[0] | {"label_version": 1, "label": 1},
        labels[-1],
        labels[-1] | {"label_version": 2, "op": "retract", "label": None},
    ]
    try:
        reply = httpx.post(f"{host.data}/v2/labels", json={"labels": labels}, timeout=30)
    except httpx.TransportError:
        return
    assert reply.status_code in {200, 202, 503}, reply.text


def answers(url):
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def check(fleet, traffics, records):
    """Every answer that a client got is in its host's spool, as it was told; nothing but 200 and 503 was said."""
    for state, traffic in zip(fleet.spools(), traffics, strict=True):
        found = {record.prediction_id: record for record in records(state, Kind.PREDICTION) if record.answered}
        assert [answer for answer in traffic.answers if answer[0] not in found] == []
        for prediction_id, variant, version in traffic.answers:
            assert (found[prediction_id].variant, found[prediction_id].version) == (variant, version)
        assert [failure for failure in traffic.failures if failure[0] != REFUSED_IN_ORDER] == []


def report(certificate, traffics, faults):
    """The numbers, for whoever reads the run."""
    print(f"\nseed {SEED}, {faults.struck.total()} faults: {dict(sorted(faults.struck.items()))}")
    print(f"seconds: {dict(sorted(faults.seconds.items()))}")
    print(
        f"{sum(len(traffic.answers) for traffic in traffics)} answers, "
        f"{sum(traffic.resets for traffic in traffics)} resets, "
        f"{sum(len(traffic.failures) for traffic in traffics)} refused; {certificate['records']} records in Kafka, "
        f"{certificate['duplicates']} duplicates dropped, {certificate['missing']} missing, "
        f"{certificate['counted']} counted"
    )
