"""The supervisor keeps real processes running, tells the hanging from the slow, and ends them in order."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest

from contracts.settings import Settings
from pointsman import supervisor
from pointsman.supervisor import Role, pause_before, stages, supervise

CHILD = """
import argparse, asyncio, json, os, re, sys, time
from pathlib import Path
from pointsman import child

parser = argparse.ArgumentParser()
for name in ("--role", "--slot"):
    parser.add_argument(name)
for name in ("--socket", "--parent", "--pulse"):
    parser.add_argument(name, type=int)
arguments = parser.parse_args()
diary = Path(sys.argv[0]).parent / "diary"


def note(what):
    with diary.open("a") as out:
        out.write(json.dumps([arguments.slot, what, os.getpid(), time.monotonic()]) + "\\n")


async def task(stop, hurry):
    note("begins")
    if "crashing" in arguments.slot:
        sys.exit(3)
    if "holding" in arguments.slot:
        await asyncio.sleep(0.2)
        re.match("(a+)+$", "a" * 60 + "b")  # in C, with the interpreter's lock, for years
    await stop.wait()
    note("stops")
    if "stuck" in arguments.slot:
        time.sleep(1000)
    if "slow" in arguments.slot:
        await hurry.wait()
    while "together" in arguments.slot and diary.read_text().count('"stops"') < 3:
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.3)
    note("ends")


asyncio.run(child._run(task, arguments.parent, arguments.pulse, 1.0))
"""


@pytest.fixture
def child(tmp_path):
    """The program of a child whose slot says how it behaves; it keeps a diary beside itself."""
    path = tmp_path / "child.py"
    path.write_text(CHILD)
    (tmp_path / "diary").touch()
    return path


@pytest.fixture(autouse=True)
def unhurried(monkeypatch):
    """Nobody is killed or given up because the machine stood still for a while."""
    for role in supervisor.HANG_SECONDS:
        monkeypatch.setitem(supervisor.HANG_SECONDS, role, 1000.0)
    monkeypatch.setattr(supervisor, "HURRY_SECONDS", 60.0)
    monkeypatch.setattr(supervisor, "stages", lambda given: [one._replace(seconds=60.0) for one in stages(given)])


@pytest.fixture
def brief(monkeypatch):
    """Of the drain, those who write the log have no more than the settings say; whoever comes after them is waited for."""

    def some(settings):
        return [stage if "worker" in stage.names else stage._replace(seconds=60.0) for stage in stages(settings)]

    monkeypatch.setattr(supervisor, "stages", some)


def diary(child, what=None):
    """(slot, what, pid, when) of everything that was noted."""
    lines = [json.loads(line) for line in (child.parent / "diary").read_text().splitlines()]
    return [line for line in lines if what in {None, line[1]}]


def pids(child, slot):
    return [pid for name, _, pid, _ in diary(child, "begins") if name == slot]


async def until(true, seconds=60.0):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.02)


def story(child, roles, tell, **settings):
    """Supervise these roles while `tell(stop, hurry)` runs, which says when to stop; the seconds that the end took."""

    async def run():
        stop, hurry = asyncio.Event(), asyncio.Event()
        command = (sys.executable, str(child))
        supervising = asyncio.create_task(supervise(roles, Settings(**settings), stop, hurry, command))
        await tell(stop, hurry)
        began = time.monotonic()
        stop.set()
        await supervising
        return time.monotonic() - began

    return asyncio.run(run())


def test_the_pause_before_a_start_is_none_then_doubles_up_to_half_a_minute():
    assert [pause_before(failures) for failures in range(11)] == [0, 0, 0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_a_drain_with_the_default_settings_ends_within_half_a_minute():
    assert max(stage.seconds for stage in stages(Settings())) < 30
    assert [stage.names for stage in stages(Settings())] == [("worker", "admin"), ("forward",), ("monitor",)]


def test_a_child_that_goes_on_dying_is_started_ever_more_rarely_and_touches_nobody_else(child):
    async def tell(stop, hurry):
        await until(lambda: len(pids(child, "crashing")) >= 4 and pids(child, "steady"))

    story(child, [Role("worker", "crashing"), Role("worker", "steady")], tell)

    starts = [when for slot, _, _, when in diary(child, "begins") if slot == "crashing"]
    gaps = [later - earlier for earlier, later in pairwise(starts)]
    assert gaps[1] >= 0.5
    assert gaps[2] >= 1.0
    assert len(pids(child, "steady")) == 1


def test_a_killed_child_is_started_again_at_once(child, caplog):
    async def tell(stop, hurry):
        await until(lambda: pids(child, "steady"))
        os.kill(pids(child, "steady")[0], signal.SIGKILL)
        await until(lambda: len(pids(child, "steady")) == 2)

    story(child, [Role("worker", "steady")], tell)

    assert "steady ended with code -9; it is started again in 0.0 s" in caplog.text


@pytest.mark.parametrize("how", ["stopped", "holding"])
def test_a_worker_that_hangs_is_killed_and_started_again_and_the_others_are_left_alone(child, monkeypatch, brief, how):
    """Stopped by a signal, or holding the interpreter's lock: no code of its own can tell anybody."""
    monkeypatch.setitem(supervisor.HANG_SECONDS, "worker", 4.0)
    kill_if_silent, heard_at = supervisor._Child.kill_if_silent, set()

    def watched(one, now):
        if one.role.slot == "steady":
            heard_at.add(one._beaten_at)
        kill_if_silent(one, now)

    monkeypatch.setattr(supervisor._Child, "kill_if_silent", watched)

    async def tell(stop, hurry):
        await until(lambda: pids(child, how) and pids(child, "steady"))
        if how == "stopped":
            await asyncio.sleep(1.5)
            with suppress(ProcessLookupError):  # it stood still by itself, and is killed for that
                os.kill(pids(child, how)[0], signal.SIGSTOP)
        seconds = 2 * supervisor.START_SECONDS  # one that was stopped before it first beat has that long
        await until(lambda: len(pids(child, how)) >= 2 and len(heard_at) > 3, seconds)

    story(child, [Role("worker", how), Role("admin", "steady")], tell, drain_timeout_seconds=0.5)

    assert len(pids(child, "steady")) == 1


def test_a_jump_of_the_clock_kills_nobody(child, monkeypatch):
    async def tell(stop, hurry):
        await until(lambda: pids(child, "steady"))
        monkeypatch.setattr(time, "time", lambda: 1e10)
        await asyncio.sleep(3)

    story(child, [Role("worker", "steady")], tell)

    assert len(pids(child, "steady")) == 1


def test_those_who_write_the_log_end_first_then_who_forwards_it_then_who_counts_it(child):
    writers = {"a-together": "admin", "w0-together": "worker", "w1-together": "worker"}
    roles = [Role("monitor", "m"), Role("forward", "f"), *(Role(name, slot) for slot, name in writers.items())]

    async def tell(stop, hurry):
        await until(lambda: len(diary(child, "begins")) == 5)

    story(child, roles, tell)

    when = {(slot, what): at for slot, what, _, at in diary(child)}
    writers_end = max(when[slot, "ends"] for slot in writers)
    assert max(when[slot, "stops"] for slot in writers) < min(when[slot, "ends"] for slot in writers)
    assert writers_end < when["f", "stops"] < when["f", "ends"] < when["m", "stops"] < when["m", "ends"]


def test_hurry_skips_the_waits_but_lets_everybody_end(child):
    async def hurried(hurry):
        await until(lambda: diary(child, "stops"))  # two signals that wait for a process at once are one
        hurry.set()

    async def tell(stop, hurry):
        await until(lambda: len(diary(child, "begins")) == 2)
        hurrying.append(asyncio.create_task(hurried(hurry)))

    hurrying = []
    story(child, [Role("worker", "slow"), Role("monitor", "m")], tell)

    assert [slot for slot, *_ in diary(child, "ends")] == ["slow", "m"]


def test_a_child_that_does_not_end_is_killed_when_its_time_is_up(child, brief):
    async def tell(stop, hurry):
        await until(lambda: len(diary(child, "begins")) == 2)

    took = story(child, [Role("worker", "stuck"), Role("monitor", "m")], tell, drain_timeout_seconds=0.5)

    assert 4.5 <= took < 100, "it sleeps for a thousand seconds"
    assert [slot for slot, *_ in diary(child, "ends")] == ["m"]


class EndsMeanwhile:
    """A process that is gone when it gets its second signal, before anybody was told."""

    returncode, pid = None, 0

    def __init__(self):
        self.signals, self.gone = 0, asyncio.Event()

    async def wait(self):
        await self.gone.wait()

    def terminate(self):
        self.signals += 1
        if self.signals == 2:
            self.gone.set()
            raise ProcessLookupError

    kill = terminate


@pytest.mark.parametrize("hurried", [False, True])
def test_a_child_that_ends_while_it_is_signalled_is_an_ended_child(hurried):
    async def run():
        hurry = asyncio.Event()
        one = supervisor._Child(Role("worker", "w"), Settings(), 0, asyncio.Event(), ())
        one._process = EndsMeanwhile()
        if hurried:
            hurry.set()
        await one.end(0.01, hurry)
        return one._process.signals

    assert asyncio.run(run()) == 2


def test_a_silent_child_that_is_gone_already_is_nothing_to_fail_about(monkeypatch):
    def gone(pid, number):
        raise ProcessLookupError

    one = supervisor._Child(Role("worker", "w"), Settings(), 0, asyncio.Event(), ())
    one._process, one._pulse = EndsMeanwhile(), 0
    monkeypatch.setattr(os, "kill", gone)

    one.kill_if_silent(1e9)

    assert one._beaten_at == 1e9


@pytest.mark.parametrize("how", ["steady", "stuck"])
def test_children_of_a_dead_supervisor_end_even_where_they_hang(child, how):
    program = (
        "import asyncio\nfrom contracts.settings import Settings\nfrom pointsman.supervisor import Role, supervise\n"
        f"asyncio.run(supervise([Role('worker', {how!r})], Settings(), asyncio.Event(), asyncio.Event(),"
        f" ({sys.executable!r}, {str(child)!r})))"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=Path.cwd())

    async def tell():
        await until(lambda: pids(child, how))
        parent.kill()
        parent.wait()
        await until(lambda: not lives(pids(child, how)[0]))

    asyncio.run(tell())


def lives(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
