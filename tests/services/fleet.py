"""A whole fleet of real processes on one machine: hosts (gateway and forwarder), monitors, Kafka behind a proxy, Redis.

Enters: the maker of processes. Leaves: a running fleet whose parts can be killed, held and started again by name; its
certificate; and the counts of its monitors beside those of one undisturbed pass over all spools.
"""

import asyncio
import json
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from contracts.settings import Settings
from monitor.counts.consume import Tick
from monitor.counts.spool_source import SpoolSource
from monitor.main import embedded_consumer
from monitor.pages.queries import open_reader
from prediction_log.spool.reader import SpoolReader

CAUGHT_UP_SECONDS = 90.0
VERIFY_SECONDS = 150.0
STOP_SECONDS = 60.0
PARTITIONS = 4


class Member(NamedTuple):
    """One `pointsman` command and how it runs now."""

    role: str
    running: Any


class Fleet:
    """Members by name: `a`, `b`... are gateways, `a-forward`... their forwarders, `monitor-0`... the monitors."""

    def __init__(
        self, start: Callable[..., Any], folder: Path, kafka: str, prefix: str, redis: str, **options: Any
    ) -> None:
        self._start = start
        self._folder = folder
        self._shared = {
            "kafka": kafka,
            "kafka_options": json.dumps({"prefix": prefix, "partitions": PARTITIONS} | options),
            "redis": redis,
        }
        self.members: dict[str, Member] = {}

    def add_host(self, name: str, **settings: Any) -> Any:
        """A gateway with its forwarder on a state directory of their own, begun; `ready` waits for it."""
        state = self._folder / name
        self._add(name, "serve", state, **settings)
        self._add(f"{name}-forward", "forward", state)
        return self.members[name].running

    def add_monitor(self, name: str) -> Any:
        """A monitor with a state directory of its own, begun; `ready` waits for it."""
        self._add(name, "monitor", self._folder / name)
        return self.members[name].running

    def ready(self, *names: str) -> None:
        """Return when these members are ready; all where none is named. Members start beside each other."""
        for name in names or self.members:
            self._start.ready(*self.members[name])

    def running(self, name: str) -> Any:
        """The member as it runs now."""
        return self.members[name].running

    def spools(self) -> list[Path]:
        """Every host's state directory."""
        return [self._folder / name for name, member in self.members.items() if name + "-forward" in self.members]

    def kill(self, name: str) -> None:
        """Kill -9 of a member's supervisor; its children drain by themselves."""
        self.running(name).process.kill()
        self.running(name).process.wait()

    def again(self, name: str) -> None:
        """Start a member again, as its service manager would."""
        role, running = self.members[name]
        with running.log.open("ab") as out:
            process = subprocess.Popen(running.command, env=running.environment, stdout=out, stderr=out)
        self.members[name] = Member(role, running._replace(process=process))
        self._start.adopt(self.members[name].running)

    def stop(self, *names: str) -> list[int]:
        """SIGTERM for all of these, and their exit codes."""
        for name in names:
            self.running(name).process.terminate()
        return [self.running(name).process.wait(STOP_SECONDS) for name in names]

    def verify(self) -> tuple[int, dict[str, Any]]:
        """`pointsman log verify --kafka`: exit code and certificate; `{}` where there is none."""
        some = next(iter(self.members.values())).running
        states = [word for state in self.spools() for word in ("--state-dir", str(state))]
        done = subprocess.run(
            [*some.command[:3], "log", "verify", "--kafka", self._shared["kafka"], *states, "--json", "--wait", "20"],
            env=some.environment,
            capture_output=True,
            text=True,
            timeout=VERIFY_SECONDS,
            check=False,
        )
        return done.returncode, json.loads(done.stdout or "{}") or {"error": done.stderr[-3000:]}

    def certified(self) -> dict[str, Any]:
        """The certificate, as soon as it is full. Raises AssertionError with what it lacks where it never is."""
        end = time.monotonic() + CAUGHT_UP_SECONDS
        while True:
            code, certificate = self.verify()
            if code == 0:
                return certificate
            if time.monotonic() > end:
                raise AssertionError(f"no full certificate: {lacking(certificate)}")
            time.sleep(1)

    def oracle(self) -> dict[Any, Any]:
        """The counts of one undisturbed pass over all spools together."""
        spool = self._folder / "oracle-spool"
        spool.mkdir(exist_ok=True)
        for state in self.spools():
            for slot in (state / "spool").iterdir():
                link = spool / f"{state.name}-{slot.name}"
                if slot.is_dir() and not link.exists():
                    link.symlink_to(slot)
        return asyncio.run(self._one_pass(spool))

    async def _one_pass(self, spool: Path) -> dict[Any, Any]:
        some = next(iter(self.members.values())).running
        settings = Settings(registry=some.environment["POINTSMAN_REGISTRY"], state_dir=self._folder / "oracle")
        path = self._folder / f"oracle-{time.monotonic_ns()}.sqlite"
        tick = await single_pass(settings, spool, path)
        assert tick.caught_up
        return summaries(path)

    def _add(self, name: str, role: str, state: Path, **settings: Any) -> None:
        running = self._start(role, state=state, wait=False, **(self._shared | settings))
        self.members[name] = Member(role, running)


def lacking(certificate: dict[str, Any]) -> str:
    """What keeps a certificate from being full, in few words."""
    plain = {name: value for name, value in certificate.items() if name != "logs"}
    logs = [
        {name: value for name, value in log.items() if value}
        for log in certificate.get("logs", ())
        if not log["ok"] or log["pending"]
    ]
    return json.dumps(plain | {"logs": logs})[:6000]


async def single_pass(settings: Settings, spool: Path, path: Path) -> Tick:
    """Count a whole spool in one undisturbed step, into the state at `path`."""
    consumer = embedded_consumer(settings, path)
    source = SpoolSource(lambda positions: SpoolReader(spool, positions))
    source.open(consumer.open())
    tick = await asyncio.to_thread(lambda: consumer.take(source.read(10**7), 0))
    consumer.close()
    return tick


def summaries(path: Path) -> dict[Any, Any]:
    """Every count of a state or a view, by what it counts."""
    with closing(open_reader(path)) as reader:
        return {key: (cells.tolist(), counts.tolist()) for key, cells, counts in reader.summaries()}
