"""The admin API as typed calls.

Enters: a model and what to do with its traffic. Leaves: what the admin API answered, or an error of `contracts.errors`
whose message says what to do next. Never retries: a change asked for twice would be made twice.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from contracts.card import Card
from contracts.errors import Conflict, InvalidInput, ModelRejected, NotFound, PointsmanError, Unavailable
from contracts.gate import GateResult
from contracts.plan import Change, Plan
from contracts.settings import Settings
from contracts.wire import Contract, decode, encode
from gateway.admin.bodies import Changes, GateKept, Gates, Models, Monitors, Moved, Promotions, Refused, Workers

T = TypeVar("T", bound=Contract)

CONNECT_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 180.0
"""A version that is new is fetched and probed before the answer: that may take as long as loading it."""


class NobodyAnswers(Unavailable):
    """No admin API listens there."""


_ERRORS: Final[Mapping[int, type[PointsmanError]]] = {
    400: InvalidInput,
    403: InvalidInput,
    404: NotFound,
    409: Conflict,
    413: InvalidInput,
    422: ModelRejected,
    428: InvalidInput,
}


def admin_address(settings: Settings) -> str:
    """Where the admin API answers on this machine, by its settings."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.admin_host, settings.admin_host)  # noqa: S104 - compared, not bound
    return f"http://[{host}]:{settings.admin_port}" if ":" in host else f"http://{host}:{settings.admin_port}"


@asynccontextmanager
async def admin_client(address: str) -> "AsyncIterator[AdminClient]":
    """A client of the admin API at `address`, such as http://127.0.0.1:8003; authorities are read for https alone."""
    timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
    url = _checked(address)
    async with httpx.AsyncClient(base_url=url, timeout=timeout, trust_env=False, verify=url.scheme == "https") as http:
        yield AdminClient(http)


_NOT_CONNECTED: Final = (httpx.ConnectError, httpx.ConnectTimeout)


class AdminClient:
    """Calls of the admin API; each raises what the API refuses with, and `Unavailable` where nobody answers."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def models(self) -> Models:
        """What is registered, loaded and routed."""
        return await self._ask(Models, "GET", "/admin/models")

    async def plan(self, model: str) -> Plan:
        """The plan of a model."""
        return await self._ask(Plan, "GET", f"/admin/models/{_quoted(model)}/plan")

    async def card(self, model: str, version: str) -> Card:
        """What the gateway knows of a version."""
        return await self._ask(Card, "GET", f"/admin/models/{_quoted(model)}/versions/{_quoted(version)}/card")

    async def workers(self) -> Workers:
        """The living workers of all hosts."""
        return await self._ask(Workers, "GET", "/admin/workers")

    async def monitors(self) -> Monitors:
        """The living monitors and how far each is."""
        return await self._ask(Monitors, "GET", "/admin/monitors")

    async def history(self, model: str, limit: int) -> tuple[Change, ...]:
        """The newest changes of a model's plan first."""
        found = await self._ask(Changes, "GET", f"/admin/models/{_quoted(model)}/history", params={"limit": limit})
        return found.changes

    async def keep_gate(self, result: GateResult) -> GateKept:
        """Have what a gate found kept and logged."""
        return await self._ask(GateKept, "POST", f"/admin/models/{_quoted(result.model)}/gates", content=encode(result))

    async def gates(self, model: str, limit: int) -> Gates:
        """What the gates of a model found, the last evaluated first."""
        return await self._ask(Gates, "GET", f"/admin/models/{_quoted(model)}/gates", params={"limit": limit})

    async def promotions(self, model: str, limit: int) -> Promotions:
        """What moves of a model's alias `champion` asked for, and the moves of its aliases."""
        return await self._ask(Promotions, "GET", f"/admin/models/{_quoted(model)}/promotions", params={"limit": limit})

    async def approve(self, model: str, promotion_id: str, body: Mapping[str, Any]) -> Moved:
        """Make a promotion's candidate the champion."""
        path = f"/admin/models/{_quoted(model)}/promotions/{_quoted(promotion_id)}/approve"
        return await self._ask(Moved, "POST", path, json=_said(body))

    async def refuse(self, model: str, promotion_id: str, body: Mapping[str, Any]) -> Refused:
        """Leave the champion as it is."""
        path = f"/admin/models/{_quoted(model)}/promotions/{_quoted(promotion_id)}/refuse"
        return await self._ask(Refused, "POST", path, json=_said(body))

    async def do(self, model: str, verb: str, body: Mapping[str, Any]) -> Moved:
        """Apply a verb such as `canary`; the body as the admin API describes it, None left out."""
        return await self._ask(Moved, "POST", f"/admin/models/{_quoted(model)}/{verb}", json=_said(body))

    async def _ask(self, kind: type[T], method: str, path: str, **request: Any) -> T:
        try:
            response = await self._http.request(method, path, **request)
        except httpx.TransportError as error:
            silent = NobodyAnswers if isinstance(error, _NOT_CONNECTED) else Unavailable
            raise silent(self._silent(error)) from error
        if response.status_code != httpx.codes.OK:
            raise self._refusal(response)
        try:
            return decode(kind, response.content)
        except InvalidInput as error:
            raise Unavailable(
                f"{self._address} answered {path} with {error}: is it the admin API of this release?"
            ) from None

    @property
    def _address(self) -> str:
        return str(self._http.base_url).rstrip("/")

    def _silent(self, error: Exception) -> str:
        """Why there is no answer; where the request may have arrived, asking again might do it twice."""
        if isinstance(error, _NOT_CONNECTED):
            return (
                f"nobody answers at {self._address}: start Pointsman with `pointsman up`, "
                "or name its admin API with --admin URL"
            )
        if isinstance(error, httpx.ReadTimeout):
            what = f"did not answer in {ANSWER_SECONDS:.0f} s"
        else:
            what = f"broke off ({error or type(error).__name__})"
        return f"the admin API at {self._address} {what}: look at the traffic before asking again"

    def _refusal(self, response: httpx.Response) -> PointsmanError:
        try:
            message = str(msgspec.json.decode(response.content)["error"])
        except (msgspec.MsgspecError, KeyError, TypeError):
            return Unavailable(
                f"{self._address} answered {response.status_code} without a reason: is it the admin API?"
            )
        return _ERRORS.get(response.status_code, Unavailable)(message)


def _checked(address: str) -> httpx.URL:
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL as error:
        raise InvalidInput(f"{address!r} is no address of an admin API: {error}") from None
    if url.scheme not in {"http", "https"} or not url.host or (url.port or 1) > 65535:
        raise InvalidInput(f"{address!r} is no address of an admin API: write one such as http://127.0.0.1:8003")
    return url


def _said(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value is not None}


def _quoted(model: str) -> str:
    # a name with a slash must not climb into another path
    return quote(model, safe="")
