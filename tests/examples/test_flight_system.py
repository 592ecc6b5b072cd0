"""Starting the system fails with its own words, never by waiting in silence."""

import asyncio
import socket

import pytest

from examples.flights.addresses import HOST, Addresses, free_addresses, free_port
from examples.flights.system import SystemFailed, running_system
from pointsman.claims import sole_owner


def test_a_system_that_cannot_start_is_told_with_the_end_of_its_log(tmp_path):
    async def run():
        async with running_system(tmp_path / "models", tmp_path, free_addresses(), {}):
            pytest.fail("it started on a state directory that another one holds")

    with sole_owner(tmp_path, "worker.lock"), pytest.raises(SystemFailed, match=r"(?s)ended with code 1.*is in use"):
        asyncio.run(run())


def test_where_a_default_port_is_taken_another_one_is_found():
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        wanted = taken.getsockname()[1]
        found = Addresses(*(free_port(wanted) for _ in range(3)))
        assert wanted not in found
        assert found.gateway == f"http://{HOST}:{found.http_port}"
