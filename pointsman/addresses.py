"""Where the roles answer, and how the command line talks to them.

Enters: settings, addresses as people write them. Leaves: addresses, clients, reasons. Never asks anything itself.
"""

import httpx
import msgspec

from contracts.errors import InvalidInput
from contracts.settings import Settings

ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  compared with, never bound


def gateway_address(settings: Settings) -> str:
    """The data plane on this machine."""
    return _address(settings.host, settings.http_port)


def monitor_address(settings: Settings) -> str:
    """The monitor on this machine."""
    return _address(settings.monitor_host, settings.monitor_port)


def http_client(address: str, timeout_seconds: float) -> httpx.Client:
    """A client of this address; InvalidInput where it is none. Proxies of the environment are not for these.

    Certificate authorities are read only where they will be asked: it takes as long as importing numpy.
    """
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL as error:
        raise InvalidInput(f"{address!r} is no address: {error}") from None
    if url.scheme not in {"http", "https"} or not url.host:
        raise InvalidInput(f"{address!r} is no address: write one such as http://127.0.0.1:8000")
    return httpx.Client(base_url=url, timeout=timeout_seconds, trust_env=False, verify=url.scheme == "https")


def reason_of(response: httpx.Response) -> str:
    """The reason in an error's body, else the beginning of the body."""
    try:
        return str(msgspec.json.decode(response.content)["error"])
    except (msgspec.MsgspecError, KeyError, TypeError):
        return response.text[:200]


def _address(host: str, port: int) -> str:
    host = ANYWHERE.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
