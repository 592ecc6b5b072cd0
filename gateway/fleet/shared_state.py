"""What the processes of a deployment share, by the settings: plans and each other's state; on one host or over Redis.

Enters: settings. Leaves: a plan store and a fleet. Opens nothing: both take up their files and connections when used.
"""

import random
import secrets
import socket
from typing import NamedTuple

from contracts.settings import Settings
from gateway.clock import Clock
from gateway.fleet.host_identity import host_id
from gateway.fleet.seam import Fleet, HostFleet
from gateway.plan_store.sqlite import SqlitePlanStore
from gateway.plan_store.store import PlanStore


class SharedState(NamedTuple):
    """Where plans are kept, and who lives."""

    store: PlanStore
    fleet: Fleet

    async def aclose(self) -> None:
        """Let go of both."""
        await self.fleet.aclose()
        await self.store.aclose()


def shared_state(settings: Settings, clock: Clock) -> SharedState:
    """By the setting `redis`. Raises InvalidSettings where it is no URL of a Redis."""
    files = HostFleet(settings.state_dir, clock.now_us)
    if not settings.redis:
        return SharedState(SqlitePlanStore(settings.state_dir / "plans.sqlite"), files)
    from gateway.fleet.in_redis import RedisFleet  # noqa: PLC0415  a sixth of a worker's start, for fleets alone
    from gateway.fleet.redis_link import check_url  # noqa: PLC0415  likewise
    from gateway.plan_store.redis import RedisPlanStore  # noqa: PLC0415  likewise

    check_url(settings.redis)
    host = host_id(settings.state_dir, socket.gethostname(), lambda: secrets.token_hex(3))
    return SharedState(
        RedisPlanStore(settings.redis, clock.new_id, random.random), RedisFleet(settings.redis, host, files)
    )
