"""Everything that can befall a fleet: its parts killed, held, restarted, its network cut, slow, silent, its stores away.

Enters: a running fleet, its broker, the proxy before the broker, its Redis, and chance. Leaves: one fault after another, each
mended before the next; how often each kind struck. Never judges what the fleet made of it.
"""

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.services.fleet import Fleet
from tests.services.kafka import Broker
from tests.services.proxy import Proxy
from tests.services.redis import RedisServer

SHORT_SECONDS = 1.5
HANG_SECONDS = 12.0
"""Longer than a supervisor waits for a child that hangs."""
LONG = frozenset({"worker_hung"})
"""Kinds for long runs only."""


class Faults:
    """Faults of all kinds in turn, shuffled. `until` waits for a condition."""

    def __init__(
        self,
        fleet: Fleet,
        broker: Broker,
        network: Proxy,
        redis: RedisServer,
        until: Callable[..., Any],
        chance: random.Random,
        *,
        long: bool,
    ) -> None:
        self.fleet = fleet
        self.broker = broker
        self.network = network
        self.redis = redis
        self.until = until
        self.chance = chance
        self.struck: Counter[str] = Counter()
        self.seconds: Counter[str] = Counter()
        self._left_out = frozenset() if long else LONG
        self._deck: list[str] = []

    def kinds(self) -> list[str]:
        """The names of all faults of this run."""
        named = [name.removeprefix("fault_") for name in dir(self) if name.startswith("fault_")]
        return sorted(name for name in named if name not in self._left_out)

    def strike(self) -> None:
        """The next fault; each kind comes once before any comes again."""
        if not self._deck:
            self._deck = self.kinds()
            self.chance.shuffle(self._deck)
        name = self._deck.pop()
        began = time.monotonic()
        getattr(self, f"fault_{name}")()
        self.struck[name] += 1
        self.seconds[name] += round(time.monotonic() - began, 1)

    def fault_worker_killed(self) -> None:
        self._signal(self._host(), self.chance.choice(["worker-0", "worker-1"]), signal.SIGKILL)

    def fault_worker_held(self) -> None:
        self._hold(self._host(), "worker-0", SHORT_SECONDS)

    def fault_worker_hung(self) -> None:
        self._hold(self._host(), "worker-1", HANG_SECONDS)

    def fault_forwarder_killed(self) -> None:
        self._signal(f"{self._host()}-forward", "forward", signal.SIGKILL)

    def fault_forwarder_held(self) -> None:
        self._hold(f"{self._host()}-forward", "forward", SHORT_SECONDS)

    def fault_second_forwarder(self) -> None:
        """Another forwarder on a spool that has one: it is turned away, and says why."""
        running = self.fleet.running(f"{self._host()}-forward")
        self.until(lambda: running.children().get("forward"), what="the first forwarder runs")
        second = subprocess.run(
            running.command, env=running.environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert second.returncode != 0
        assert "in use by another pointsman" in second.stderr

    def fault_monitor_killed(self) -> None:
        self._signal(self._monitor(), "monitor", signal.SIGKILL)

    def fault_monitor_held(self) -> None:
        self._hold(self._monitor(), "monitor", 2 * SHORT_SECONDS)

    def fault_monitor_comes_and_goes(self) -> None:
        """A third monitor joins, is given partitions, and leaves."""
        if "monitor-2" in self.fleet.members:
            self.fleet.again("monitor-2")
        else:
            self.fleet.add_monitor("monitor-2")
        self.fleet.ready("monitor-2")
        time.sleep(SHORT_SECONDS)
        self._stop("monitor-2")

    def fault_host_killed(self) -> None:
        host = self._host()
        self.fleet.kill(host)
        self.fleet.again(host)

    def fault_host_restarted(self) -> None:
        """As a deployment does it: gateway and forwarder end in order and start again."""
        host = self._host()
        self._stop(host, f"{host}-forward")
        self.fleet.again(host)
        self.fleet.again(f"{host}-forward")
        self.fleet.ready(host)

    def fault_kafka_killed(self) -> None:
        self.broker.kill()
        time.sleep(0.5)
        self.broker.start()

    def fault_kafka_held(self) -> None:
        self.broker.pause()
        time.sleep(2 * SHORT_SECONDS)
        self.broker.go_on()

    def fault_kafka_away_at_start(self) -> None:
        """A forwarder and a monitor that start while no Kafka is there."""
        members = f"{self._host()}-forward", self._monitor()
        self._stop(*members)
        self.broker.kill()
        for member in members:
            self.fleet.again(member)
        self.fleet.ready(*members)
        self.broker.start()

    def fault_network_cut(self) -> None:
        for _ in range(5):
            self.network.cut()
            time.sleep(0.2)

    def fault_network_slow(self) -> None:
        with self.network.being(latency_s=0.5, bytes_per_second=20_000):
            time.sleep(2 * SHORT_SECONDS)

    def fault_network_silent(self) -> None:
        with self.network.being(silent=True):
            time.sleep(2 * SHORT_SECONDS)
        self.network.cut()

    def fault_replies_lost(self) -> None:
        with self.network.being(lost_replies=True):
            time.sleep(SHORT_SECONDS)
            self.network.cut()

    def fault_redis_killed(self) -> None:
        self.redis.kill()
        time.sleep(0.5)
        self.redis.start(keep=True)

    def fault_redis_held(self) -> None:
        self.redis.pause()
        time.sleep(SHORT_SECONDS)
        self.redis.go_on()

    def _host(self) -> str:
        return self.chance.choice("ab")

    def _monitor(self) -> str:
        return f"monitor-{self.chance.randrange(2)}"

    def _stop(self, *members: str) -> None:
        """In order: each had begun to supervise, so it ends with code 0."""
        for member in members:
            pid = self.fleet.running(member).process.pid
            children = Path(f"/proc/{pid}/task/{pid}/children")
            self.until(children.read_text, seconds=60, what=f"{member} has begun")
        codes = self.fleet.stop(*members)
        assert set(codes) == {0}, dict(zip(members, codes, strict=True))

    def _signal(self, member: str, slot: str, number: signal.Signals) -> int:
        running = self.fleet.running(member)
        pid: int = self.until(lambda: running.children().get(slot), what=f"{member} {slot} running")
        try:
            os.kill(pid, number)
        except ProcessLookupError:  # it ended by itself meanwhile
            return 0
        return pid

    def _hold(self, member: str, slot: str, seconds: float) -> None:
        pid = self._signal(member, slot, signal.SIGSTOP)
        time.sleep(seconds)
        if pid:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:  # its supervisor had waited long enough
                pass
