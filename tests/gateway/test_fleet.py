"""Who lives and where they are: what each fleet keeps its word about, in files of one host and over Redis."""

import asyncio
import os
import re
import subprocess
import sys
import time

import pytest

from contracts.errors import StoreUnavailable
from contracts.standing import (
    REMEMBERED_MS,
    VERDICTS_MAX,
    WORKERS,
    MonitorStanding,
    latest,
    monitor_key,
    verdicts_key,
    worker_key,
)
from contracts.verdict import Verdict
from gateway.fleet import in_redis, seam
from gateway.fleet.convergence import await_convergence
from gateway.fleet.host_identity import host_id
from gateway.fleet.in_redis import RedisFleet
from gateway.fleet.redis_link import RedisLink
from gateway.fleet.seam import HostFleet, applied_of
from gateway.fleet.worker_status import WorkerStatus
from gateway.traffic.last_good import LastGood
from monitor.fleet_report import FileReport, RedisReport, keep_telling

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("patient_links", "long_lives")]

SILENT_SECONDS = 210
"""Longer than a word counts here."""


@pytest.fixture
def long_lives(monkeypatch):
    """A word that is said once counts for minutes: whom the machine holds up is not silent."""
    for module in (in_redis, seam):
        monkeypatch.setattr(module, "ALIVE_MS", 200_000)


def now_us():
    return time.time_ns() // 1000


@pytest.fixture
def anyio_backend():
    return "asyncio"


class Deployment:
    """One host of a deployment: a gateway's view and a monitor's voice."""

    def __init__(self, folder, url, host="here-1"):
        files = HostFleet(folder, now_us)
        self.fleet = RedisFleet(url, host, files) if url else files
        self.report = RedisReport(url) if url else FileReport(folder)
        self.url = url

    def name(self, slot):
        return f"here-1/{slot}" if self.url else slot

    async def aclose(self):
        await self.fleet.aclose()
        await self.report.aclose()


@pytest.fixture(params=["files", "redis"])
async def deployment(request, tmp_path):
    made = Deployment(tmp_path, request.getfixturevalue("redis_server").url if request.param == "redis" else "")
    yield made
    await made.aclose()


@pytest.fixture
async def hosts(tmp_path, redis_server):
    """Hosts of one fleet: `hosts("a")`."""
    made = {}

    def host(name):
        if name not in made:
            made[name] = Deployment(tmp_path / name, redis_server.url, name)
        return made[name].fleet

    yield host
    for one in made.values():
        await one.aclose()


def status(slot="worker-0", revision=1, **more):
    told = {"pid": os.getpid(), "started_us": 1, "applied": {"m": revision}, "at_us": now_us()}
    return WorkerStatus(slot=slot, **told | more)


async def until(true, seconds=100.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := await true():
            return answer
        await asyncio.sleep(0.005)
    raise AssertionError(f"not within {seconds} s")


def verdict(guard="g", judged_us=1, outcome="pass", variant="canary-2"):
    told = {"model": "m", "version": "2", "digest": "d", "revision": 3, "evidence": (), "from_us": 0, "to_us": 1}
    return Verdict(variant=variant, guard=guard, outcome=outcome, judged_us=judged_us, policy_hash="p", **told)


async def test_what_a_worker_tells_is_what_everyone_sees(deployment):
    assert (await deployment.fleet.workers()).workers == []
    deployment.fleet.tell(status(revision=1))
    deployment.fleet.tell(told := status(revision=2, errors={"m": "why"}))
    deployment.fleet.tell(status("worker-1", 1))

    async def both():
        seen = (await deployment.fleet.workers()).workers
        return seen if [one.applied["m"] for one in seen] == [2, 1] else None

    first, second = await until(both)
    assert [first.name, second.name] == [deployment.name("worker-0"), deployment.name("worker-1")]
    assert first == told.at(first.host)


@pytest.fixture
def ended_pid():
    """The pid of a process that is gone."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    return gone.pid


async def test_a_worker_that_leaves_or_died_is_not_seen(deployment, ended_pid):
    deployment.fleet.tell(status("worker-0"))
    deployment.fleet.tell(status("worker-1"))
    deployment.fleet.tell(status("worker-2", pid=ended_pid))
    await until(lambda: _names(deployment.fleet, ["worker-0", "worker-1"]))
    deployment.fleet.leave("worker-0")

    await until(lambda: _names(deployment.fleet, ["worker-1"]))


async def _names(fleet, slots):
    return [one.slot for one in (await fleet.workers()).workers] == slots


async def test_monitors_are_seen_while_they_tell(deployment):
    stop = asyncio.Event()
    told = MonitorStanding(member="here-1/monitor-0", started_us=1, at_us=now_us(), partitions=(0, 3), lag_records=7)
    telling = asyncio.create_task(keep_telling(deployment.report, lambda: told, stop))
    await until(deployment.fleet.monitors)

    assert await deployment.fleet.monitors() == [told]
    stop.set()
    await telling
    assert await deployment.fleet.monitors() == []


async def test_a_hint_is_seen_by_everyone(deployment, tmp_path):
    assert await deployment.fleet.hinted() == ""
    await deployment.fleet.hint("first")
    assert await deployment.fleet.hinted() == "first"
    await deployment.fleet.hint("second")
    other = Deployment(tmp_path, deployment.url, "there-1")
    assert await other.fleet.hinted() == "second"
    await other.aclose()


async def test_a_hint_that_cannot_be_passed_on_is_said(tmp_path):
    fleet = HostFleet(tmp_path / "absent", now_us)
    with pytest.raises(StoreUnavailable, match="cannot be written"):
        await fleet.hint("first")
    (tmp_path / "registry_hint").mkdir()
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        await HostFleet(tmp_path, now_us).hinted()


async def test_the_latest_verdict_of_each_variant_and_guard_is_kept(deployment):
    report, fleet = deployment.report, deployment.fleet
    assert await fleet.verdicts("m") == ()
    await report.judged("m", [verdict("auc", 5), verdict("psi", 5, "no_data")])
    await report.judged("m", [verdict("auc", 4, "fail"), verdict("psi", 6, "fail"), verdict("auc", 6, variant="ab-3")])
    await report.judged("other", [verdict("auc", 9, "error")])

    found = await fleet.verdicts("m")
    assert [(one.variant, one.guard, one.judged_us, one.outcome) for one in found] == [
        ("ab-3", "auc", 6, "pass"),
        ("canary-2", "auc", 5, "pass"),
        ("canary-2", "psi", 6, "fail"),
    ]
    assert [one.outcome for one in await fleet.verdicts("other")] == ["error"]


async def test_verdicts_are_bounded_and_the_longest_unjudged_go_first(deployment):
    await deployment.report.judged("m", [verdict(f"g{n:05}", 1000 + n) for n in range(VERDICTS_MAX + 5)])
    await deployment.report.judged("m", [verdict("again", 10**9)])

    found = await deployment.fleet.verdicts("m")
    assert len(found) == VERDICTS_MAX
    assert {"again", "g00006", f"g{VERDICTS_MAX + 4:05}"} <= {one.guard for one in found}
    assert "g00005" not in {one.guard for one in found}


def test_the_latest_of_verdicts_does_not_depend_on_their_order():
    some = tuple(verdict(guard, judged) for guard in "ab" for judged in (3, 1, 2))

    assert latest(some, ()) == latest((), some[::-1]) == latest(some[:2], some[2:])
    assert [(one.guard, one.judged_us) for one in latest(some, ())] == [("a", 3), ("b", 3)]


async def test_every_host_sees_every_host(hosts):
    for name in "ab":
        for slot in range(3):
            hosts(name).tell(status(f"worker-{slot}", 41))
    expected = [f"{name}/worker-{slot}" for name in "ab" for slot in range(3)]

    async def all_of(name):
        return [one.name for one in (await hosts(name).workers()).workers] == expected

    await until(lambda: all_of("a"))
    await until(lambda: all_of("b"))


async def test_the_last_words_are_sent_when_a_host_closes(tmp_path, redis_server, hosts, monkeypatch):
    monkeypatch.setattr(in_redis, "LEAVE_SECONDS", 100.0)
    leaving = Deployment(tmp_path / "here", redis_server.url)
    for number in range(50):
        leaving.fleet.tell(status("worker-0", number))
        leaving.fleet.tell(status("worker-1", number))
    leaving.fleet.leave("worker-0")
    await leaving.aclose()

    assert [(one.name, one.applied["m"]) for one in (await hosts("a").workers()).workers] == [("here-1/worker-1", 49)]


async def test_closing_does_not_wait_for_a_silent_redis(tmp_path, redis_server):
    leaving = Deployment(tmp_path / "here", redis_server.url)
    leaving.fleet.tell(status())
    redis_server.pause()
    leaving.fleet.leave("worker-0")
    async with asyncio.timeout(60):  # a reply would be given ten minutes
        await leaving.aclose()
    redis_server.go_on()


async def test_waiting_for_a_revision_covers_all_hosts(hosts):
    hosts("a").tell(status("worker-0", 5))
    hosts("b").tell(status("worker-0", 4))
    await until(lambda: _count(hosts("a"), 2))
    waiting = asyncio.create_task(await_convergence(hosts("a"), "m", 5, 200_000, time.monotonic_ns))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    hosts("b").tell(status("worker-0", 5))

    assert str(await waiting).startswith("2/2 in ")


async def _count(fleet, count):
    return len((await fleet.workers()).workers) == count


async def test_a_host_that_vanished_is_silent_for_a_while_and_then_forgotten(hosts, redis_server):
    """By Redis's clock alone: what a key has left is set forward here, as if time had gone by."""
    hosts("a").tell(status(revision=7))
    hosts("b").tell(status(revision=6))
    await until(lambda: _count(hosts("a"), 2))
    link = RedisLink(redis_server.url, seconds_max=600.0)
    await link.call("PEXPIRE", worker_key("b/worker-0"), REMEMBERED_MS - SILENT_SECONDS * 1000)

    seen = await hosts("a").workers()
    assert [one.name for one in seen.workers] == ["a/worker-0"]
    (silent,) = seen.silent
    assert SILENT_SECONDS <= seconds_in(silent, "b/worker-0 ({} s)") < SILENT_SECONDS + 60
    assert seen.warnings == (f"silent, and perhaps on an older plan: {silent}",)
    waited = await await_convergence(hosts("a"), "m", 7, 1000, time.monotonic_ns)
    assert (waited.complete, str(waited).endswith(" ms; 1 silent")) == (True, True)
    await link.call("PEXPIRE", worker_key("b/worker-0"), 1)
    await until(lambda: _unspoken(hosts("a")))
    assert await link.call("SMEMBERS", WORKERS) == {b"a/worker-0"}
    await link.aclose()


def seconds_in(said, sentence):
    """The number of seconds that stands in such a sentence: the machine may have taken some of its own."""
    return int(re.fullmatch(re.escape(sentence).replace(r"\{\}", r"(\d+)"), said)[1])


async def _unspoken(fleet):
    return (await fleet.workers()).silent == ()


async def test_a_silent_monitor_is_spoken_of_with_how_long(tmp_path, redis_server):
    one = Deployment(tmp_path, redis_server.url)
    await one.report.tell(MonitorStanding(member="b/monitor", started_us=1, at_us=2))
    link = RedisLink(redis_server.url, seconds_max=600.0)
    await link.call("PEXPIRE", monitor_key("b/monitor"), REMEMBERED_MS - SILENT_SECONDS * 1000)

    (monitor,) = await one.fleet.monitors()
    assert SILENT_SECONDS <= seconds_in(monitor.problem, "silent for {} s") < SILENT_SECONDS + 60
    await link.aclose()
    await one.aclose()


async def test_without_redis_this_host_is_known_and_that_is_said(hosts, redis_server):
    hosts("a").tell(status("worker-0", 2))
    hosts("b").tell(status("worker-0", 2))
    await until(lambda: _count(hosts("a"), 2))
    redis_server.kill()

    seen = await hosts("a").workers()
    assert [one.name for one in seen.workers] == ["a/worker-0"]
    assert "only the workers of this host are known: Redis at" in seen.missing
    waited = await await_convergence(hosts("a"), "m", 2, 50, time.monotonic_ns)
    assert not waited.complete
    with pytest.raises(StoreUnavailable):
        await hosts("a").monitors()
    redis_server.start(keep=True)
    hosts("a").tell(status("worker-0", 3))
    hosts("b").tell(status("worker-0", 3))
    await until(lambda: _count(hosts("a"), 2))


async def test_a_silent_redis_makes_no_worker_wait_and_holds_one_word_each(hosts, redis_server):
    hosts("a").tell(status())
    await until(lambda: _count(hosts("a"), 1))
    redis_server.pause()
    for revision in range(200):
        hosts("a").tell(status("worker-0", revision))
    assert len(hosts("a")._unsent) == 1
    redis_server.go_on()
    hosts("a").tell(status("worker-0", 777))

    async def newest():
        return [one.applied["m"] for one in (await hosts("b").workers()).workers] == [777]

    await until(newest)


async def test_words_of_another_release_are_passed_over(hosts, redis_server):
    link = RedisLink(redis_server.url, seconds_max=600.0)
    await link.call("SADD", WORKERS, "old/worker-0")
    await link.call("SET", worker_key("old/worker-0"), '{"colour": "red"}')
    await link.call("SADD", "{pointsman}:monitors", "old")
    await link.call("SET", monitor_key("old"), "[]")
    await link.call("HSET", verdicts_key("m"), "a/b", "?")
    await link.aclose()

    assert (await hosts("a").workers()).workers == []
    assert await hosts("a").monitors() == []
    assert await hosts("a").verdicts("m") == ()


async def test_the_newest_that_runs_is_told_of_this_host_and_of_the_others(hosts, tmp_path):
    from contracts.plan import VersionRef
    from gateway.traffic import shifts

    kept = LastGood(tmp_path / "last_good")
    assert await applied_of("m", kept, hosts("a")) == (0, "", None)
    plan = shifts.start("m", VersionRef(version="1", digest="d"), "salt")
    kept.save(plan)
    hosts("b").tell(status("worker-3", 1))
    await until(lambda: _count(hosts("a"), 1))
    assert await applied_of("m", kept, hosts("a")) == (1, "this host", plan)
    hosts("b").tell(status("worker-3", 2))

    async def second():
        return await applied_of("m", kept, hosts("a")) == (2, "worker b/worker-3", None)

    await until(second)


def test_a_host_has_one_name_whoever_asks_and_keeps_it(tmp_path):
    numbers = iter(["aaaaaa", "bbbbbb", "cccccc"])
    first = host_id(tmp_path / "state", "node 7/x", lambda: next(numbers))

    assert first == "node-7-x-aaaaaa"
    assert host_id(tmp_path / "state", "renamed", lambda: next(numbers)) == first
    assert host_id(tmp_path / "other", "node 7/x", lambda: next(numbers)) == "node-7-x-bbbbbb"


def test_a_name_that_the_power_took_before_it_was_on_the_disk_is_made_anew_once_for_all(tmp_path):
    numbers = iter(["aaaaaa", "bbbbbb"])
    (tmp_path / "host_id").touch()

    assert host_id(tmp_path, "node", lambda: next(numbers)) == "node-aaaaaa"
    assert host_id(tmp_path, "node", lambda: next(numbers)) == "node-aaaaaa"
    assert [path.name for path in tmp_path.iterdir()] == ["host_id"]


async def test_a_hint_that_is_no_text_is_a_hint_like_any_other(tmp_path):
    fleet = HostFleet(tmp_path, now_us)
    await fleet.hint("first")
    (tmp_path / "registry_hint").write_bytes(b"\xff\x00")
    assert await fleet.hinted() != "first"
