"""A host to follow plans on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.plan_host import Host


@pytest.fixture
def host(tmp_path: Path, graphs: Any) -> Iterator[Host]:
    """A host whose registry has versions 1 to 3 of `m`."""
    made = Host(tmp_path, graphs)
    yield made
    made.pool.shutdown()
