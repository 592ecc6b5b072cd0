"""Clients of the command line: who answers to https is checked against the authorities, which plain HTTP does not wait for."""

import asyncio
import ssl

import pytest

from pointsman.addresses import http_client
from pointsman.admin_client import admin_client


def of_the_admin_api(address):
    async def made():
        async with admin_client(address) as client:
            return client._http

    return asyncio.run(made())


def of_the_data_plane(address):
    with http_client(address, 1.0) as client:
        return client


@pytest.mark.parametrize("make", [of_the_admin_api, of_the_data_plane])
def test_authorities_are_read_for_https_alone(make):
    plain, checked = (make(f"{scheme}://127.0.0.1:1")._transport._pool._ssl_context for scheme in ("http", "https"))

    assert plain.cert_store_stats()["x509_ca"] == 0
    assert checked.cert_store_stats()["x509_ca"] > 0
    assert (checked.verify_mode, checked.check_hostname) == (ssl.CERT_REQUIRED, True)
