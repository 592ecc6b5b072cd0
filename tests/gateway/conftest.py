"""A host to follow plans on; links to a Redis that nobody takes for silent."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gateway.fleet.redis_link import RedisLink
from tests.gateway.plan_host import Host


@pytest.fixture
def host(tmp_path: Path, graphs: Any) -> Iterator[Host]:
    """A host whose registry has versions 1 to 3 of `m`."""
    made = Host(tmp_path, graphs)
    yield made
    made.pool.shutdown()


@pytest.fixture
def patient_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stores, fleets and reports give a Redis ten minutes for a reply: one that the machine held up is none that is away."""
    for module in ("gateway.fleet.in_redis", "gateway.plan_store.redis"):
        monkeypatch.setattr(f"{module}.RedisLink", partial(RedisLink, seconds_max=600.0))
    monkeypatch.setattr("monitor.fleet_report.COMMAND_SECONDS", 600.0)
