"""The card as a whole: the gateway's part from the admin API, the live part from the monitor's HTTP address.

Enters: two addresses and a version. Leaves: the card; where the monitor does not answer in time it says so. Never takes the
monitor's silence for an error.
"""

from collections.abc import Sequence
from typing import Final

import httpx

from contracts.card import Card
from contracts.errors import InvalidRecord
from contracts.statistic import Statistic
from contracts.wire import Contract, decode
from gateway.cards.assembly import Unknown, with_live
from pointsman.addresses import http_client, reason_of
from pointsman.admin_client import admin_client

MONITOR_SECONDS: Final = 10.0


class Rows(Contract, frozen=True, kw_only=True):
    """The body of `GET /summaries`."""

    rows: tuple[Statistic, ...]


async def ask_card(admin: str, monitor: str, model: str, version: str) -> Card:
    """The card of a version; raises what the admin API refuses with."""
    async with admin_client(admin) as client:
        known = await client.card(model, version)
    return with_live(known, _statistics(monitor, model, version))


def _statistics(address: str, model: str, version: str) -> Sequence[Statistic] | Unknown:
    """Those over all traffic of the version; why not, where there are none to be had."""
    with http_client(address, MONITOR_SECONDS) as client:
        try:
            response = client.get("/summaries", params={"model": model, "version": version, "slice": "all"})
        except httpx.TransportError as error:
            return Unknown(f"the monitor does not answer at {address} ({error or type(error).__name__})")
    if response.status_code != httpx.codes.OK:
        return Unknown(f"the monitor at {address} answered {response.status_code}: {reason_of(response)}")
    try:
        return decode(Rows, response.content).rows
    except InvalidRecord as error:
        return Unknown(f"{address} answered with {error}: is it the monitor of this release?")
