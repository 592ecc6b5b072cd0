"""The admin API on port 8003: plans, narrow verbs, history, audit, models and workers.

Enters: HTTP from people and pipelines. Leaves: JSON; every error is `{"error": ...}`, every plan carries its revision as
ETag. Never decides what a verb does to a plan (`gateway.traffic.shifts`), never runs a model.
"""

import logging
from typing import NamedTuple

import msgspec
from msgspec.structs import replace
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from contracts.card import Card
from contracts.errors import PointsmanError
from contracts.gate import GateResult
from contracts.plan import Plan
from contracts.wire import Contract, encode
from gateway.admin.bodies import (
    Changes,
    Failure,
    GateKept,
    Gates,
    Health,
    Hinted,
    Judged,
    Models,
    Monitors,
    Moved,
    MovedOn,
    Promotions,
    Refused,
    VerbBody,
    Versions,
    Workers,
)
from gateway.admin.card_reply import card_reply
from gateway.admin.deliveries import SECRET, Deliveries
from gateway.admin.gate_book import GateBook
from gateway.admin.models import model_rows, versions_of
from gateway.admin.plan_control import Accepted, Origin, PlanControl, PlanMoved
from gateway.admin.promotion_desk import APPROVE, PromotionDesk
from gateway.admin.requests import (
    Handle,
    actor_of,
    body_of,
    limit_of,
    model_of,
    promotion_of,
    raw_body_of,
    revision_of,
    same_site,
    wait_of,
)
from gateway.admin.routes import (
    ACTOR,
    IF_MATCH,
    LIMIT,
    MODEL,
    ONE_MODEL,
    PROMOTION,
    REASON,
    VERSION,
    WAIT,
    Endpoint,
    openapi,
)
from gateway.admin.verbs import VERBS, Verb
from gateway.cards.gathering import CardSources, ReadSignature
from gateway.clock import Clock
from gateway.fleet.convergence import await_convergence
from gateway.fleet.seam import Fleet, Seen
from gateway.models.version_states import VersionStates
from gateway.plan_store.store import PlanStore
from gateway.status import status_of
from registry_client.registry import RegistryClient


class AdminParts(NamedTuple):
    """What the admin API is made of."""

    control: PlanControl
    gates: GateBook
    store: PlanStore
    registry: RegistryClient
    fleet: Fleet
    clock: Clock
    version: str
    signature: ReadSignature
    states: VersionStates
    promotions: PromotionDesk
    webhook_secret: str = ""


class Admin:
    """The handlers; `endpoints` lists them as routes."""

    def __init__(self, parts: AdminParts) -> None:
        self._parts = parts
        self._deliveries = Deliveries(parts.webhook_secret)

    def endpoints(self) -> tuple[Endpoint, ...]:
        """Every route there is."""
        plan = "/admin/models/{model}/plan"
        history = "/admin/models/{model}/history"
        gates = "/admin/models/{model}/gates"
        return (
            Endpoint("GET", "/admin/health", "Whether plans can be read", self.health, Health),
            Endpoint("GET", "/admin/models", "Registered, loaded, routed", self.models, Models),
            Endpoint("GET", plan, "The plan", self.plan, Plan, None, (MODEL,), (404,), etag=True),
            Endpoint(
                "PUT",
                plan,
                "Replace the plan by one made from the revision in If-Match",
                self.put_plan,
                Moved,
                Plan,
                (MODEL, ACTOR, {**IF_MATCH, "required": True}, REASON, WAIT),
                (404, 409, 422, 428),
                etag=True,
            ),
            Endpoint("GET", history, "Who changed what when", self.history, Changes, None, (MODEL, LIMIT), (404,)),
            Endpoint(
                "GET",
                "/admin/models/{model}/verdicts",
                "What the monitors' guards said last",
                self.verdicts,
                Judged,
                None,
                (MODEL,),
            ),
            Endpoint("GET", gates, "What its gates found", self.gates, Gates, None, (MODEL, LIMIT)),
            Endpoint(
                "POST", gates, "Keep what a gate found", self.keep_gate, GateKept, GateResult, (MODEL,), (409, 413)
            ),
            *self._version_endpoints(),
            *map(self._verb_endpoint, VERBS),
            *self._promotion_endpoints(),
            Endpoint("GET", "/admin/audit", "All changes", self.audit, Changes, None, (LIMIT, ONE_MODEL)),
            Endpoint("GET", "/admin/workers", "The living workers", self.workers, Workers),
            Endpoint("GET", "/admin/monitors", "The living monitors", self.monitors, Monitors),
            Endpoint(
                "POST",
                "/admin/registry/webhook",
                "A signed delivery of MLflow's: all workers look at the registry at once",
                self.webhook,
                Hinted,
                refusals=(401, 404, 413),
            ),
            Endpoint("GET", "/openapi.json", "This description", self.description, None),
        )

    def _version_endpoints(self) -> tuple[Endpoint, ...]:
        path = "/admin/models/{model}/versions"
        card = "What is known of a version, but for what the monitor measures; and what is not known"
        return (
            Endpoint("GET", path, "How each version stands", self.versions, Versions, None, (MODEL,), (404,)),
            Endpoint(
                "GET", f"{path}/{{version}}/card", card, self.card, Card, None, (MODEL, VERSION), (404,), page=True
            ),
        )

    def _promotion_endpoints(self) -> tuple[Endpoint, ...]:
        path = "/admin/models/{model}/promotions"
        approve, refuse = f"{path}/{{promotion}}/approve", f"{path}/{{promotion}}/refuse"
        parameters = (MODEL, PROMOTION, ACTOR, IF_MATCH, WAIT)
        asked, made = (
            "What moves of the alias champion asked for, and all moves seen",
            "Make its candidate the champion",
        )
        return (
            Endpoint("GET", path, asked, self.promotions, Promotions, None, (MODEL, LIMIT)),
            Endpoint("POST", approve, made, self.approve, Moved, VerbBody, parameters, (404, 409, 422), etag=True),
            Endpoint("POST", refuse, "Leave it", self.refuse, Refused, VerbBody, parameters[:3], (404, 409)),
        )

    def _verb_endpoint(self, verb: Verb) -> Endpoint:
        path, parameters = f"/admin/models/{{model}}/{verb.name}", (MODEL, ACTOR, IF_MATCH, WAIT)
        handle, refusals = self.verb(verb), (404, 409, 422)
        return Endpoint("POST", path, verb.summary, handle, Moved, verb.body, parameters, refusals, etag=True)

    async def health(self, _: Request) -> Response:
        """200 while the plan store can be read."""
        await self._parts.store.generation()
        workers, seen = (await self._parts.fleet.workers()).workers, self._deliveries
        return _json(
            Health(status="ok", workers=len(workers), webhooks_taken=seen.taken, webhooks_refused=seen.refused)
        )

    async def models(self, _: Request) -> Response:
        """Every model that is registered or loaded."""
        seen = await self._parts.fleet.workers()
        parts = self._parts
        rows, warnings = await model_rows(parts.registry, parts.store, seen.workers, parts.states)
        return _json(Models(models=rows, warnings=(*warnings, *seen.warnings)))

    async def versions(self, request: Request) -> Response:
        """Every version of a model with its state, and why it is rejected where it is."""
        parts, seen = self._parts, await self._parts.fleet.workers()
        found = await versions_of(parts.registry, parts.store, seen.workers, parts.states, model_of(request))
        return _json(replace(found, warnings=(*found.warnings, *seen.warnings)))

    async def plan(self, request: Request) -> Response:
        """The plan itself, to be edited and put back."""
        plan = await self._parts.control.plan(model_of(request))
        return _json(plan, revision=plan.revision)

    async def put_plan(self, request: Request) -> Response:
        """Compare-and-set of a whole plan."""
        expected = revision_of(request)
        if expected is None:
            raise HTTPException(428, 'say which revision the plan is made from: If-Match: "7" (the ETag of GET)')
        wanted = await body_of(request, Plan)
        reason = request.query_params.get("reason", "")
        origin = Origin(actor_of(request), "put", reason, expected)
        accepted = await self._parts.control.replace(model_of(request), origin, wanted)
        return await self._moved(accepted, wait_of(request, 0.0))

    def verb(self, verb: Verb) -> Handle:
        """The handler of one narrow verb."""

        async def handle(request: Request) -> Response:
            body = await body_of(request, verb.body)
            wait_ms, origin = wait_of(request, body.wait_ms), _origin(request, verb.name, body)
            return await self._moved(await verb.apply(self._parts.control, model_of(request), origin, body), wait_ms)

        return handle

    async def promotions(self, request: Request) -> Response:
        """The promotions of a model and the moves of its aliases; none where none was seen."""
        book, limit = await self._parts.promotions.book(model_of(request)), limit_of(request)
        return _json(Promotions(promotions=book.promotions[:limit], moves=book.moves[:limit]))

    async def approve(self, request: Request) -> Response:
        """Make a promotion's candidate the champion."""
        body = await body_of(request, VerbBody)
        wait_ms, origin = wait_of(request, body.wait_ms), _origin(request, APPROVE, body)
        desk = self._parts.promotions
        return await self._moved(await desk.approve(model_of(request), promotion_of(request), origin), wait_ms)

    async def refuse(self, request: Request) -> Response:
        """Leave the champion as it is."""
        body = await body_of(request, VerbBody)
        desk, origin = self._parts.promotions, _origin(request, "refuse", body)
        promotion, unlogged = await desk.refuse(model_of(request), promotion_of(request), origin)
        missing = f"the promotion is refused, but that is missing from the log: {unlogged}"
        return _json(Refused(promotion=promotion, warnings=(missing,) if unlogged else ()))

    async def history(self, request: Request) -> Response:
        """One model's changes, newest first."""
        model = model_of(request)
        changes = await self._parts.control.history(model, limit_of(request))
        if not changes:
            await self._parts.control.plan(model)
        return _json(Changes(changes=tuple(changes)))

    async def verdicts(self, request: Request) -> Response:
        """The latest verdict of each variant and guard; none where nothing was judged."""
        return _json(Judged(verdicts=await self._parts.fleet.verdicts(model_of(request))))

    async def gates(self, request: Request) -> Response:
        """The gate results of a model; none where no gate was recorded."""
        return _json(Gates(gates=tuple(await self._parts.gates.gates(model_of(request), limit_of(request)))))

    async def keep_gate(self, request: Request) -> Response:
        """Keep a result and log it; the reply says what of that is missing."""
        result = await body_of(request, GateResult)
        return _json(GateKept(gate=result, warnings=await self._parts.gates.keep(model_of(request), result)))

    async def card(self, request: Request) -> Response:
        """The card of a version: JSON, or a page for a browser."""
        parts = self._parts
        now_us, release, states = parts.clock.now_us, parts.version, parts.states
        sources = CardSources(parts.registry, parts.store, parts.fleet, parts.signature, states, now_us, release)
        return await card_reply(sources, request)

    async def audit(self, request: Request) -> Response:
        """The changes of all models, newest first."""
        changes = await self._parts.control.history(request.query_params.get("model"), limit_of(request))
        return _json(Changes(changes=tuple(changes)))

    async def workers(self, _: Request) -> Response:
        """The living workers, as they describe themselves."""
        seen = await self._parts.fleet.workers()
        return _json(Workers(workers=tuple(seen.workers), warnings=seen.warnings))

    async def monitors(self, _: Request) -> Response:
        """The living monitors, as they describe themselves."""
        return _json(Monitors(monitors=tuple(await self._parts.fleet.monitors())))

    async def webhook(self, request: Request) -> Response:
        """Tell the workers to look at the registry, where the delivery is genuine; what it says is not read."""
        if not self._deliveries.wanted:
            raise HTTPException(404, f"no webhook is expected: set {SECRET} to the secret that MLflow signs with")
        delivery = self._deliveries.check(request.headers, await raw_body_of(request), self._parts.clock.now_us() / 1e6)
        if delivery is None:
            raise HTTPException(401, "this delivery is refused")
        new = self._deliveries.is_new(delivery)
        if new:
            await self._parts.fleet.hint(self._parts.clock.new_id())
            self._deliveries.take(delivery)
        return _json(Hinted(told=new))

    async def description(self, _: Request) -> Response:
        """The OpenAPI document."""
        document = openapi(self.endpoints(), self._parts.version)
        return Response(msgspec.json.encode(document), media_type="application/json")

    async def moved_on(self, _: Request, error: Exception) -> Response:
        """409 with the plan the caller saw and the plan that is."""
        assert isinstance(error, PlanMoved), "registered for it alone"
        upto = max(0, min(error.expected, error.current.revision))  # stores know no greater numbers, callers do
        found = await self._parts.store.history(error.current.model, 1, upto=upto)
        seen = found[0].after if found and found[0].revision == error.expected else None
        body = MovedOn(
            error=str(error),
            expected_revision=error.expected,
            expected_plan=seen,
            current_revision=error.current.revision,
            current_plan=error.current,
        )
        return _json(body, status=409, revision=error.current.revision)

    async def _moved(self, accepted: Accepted, wait_ms: float) -> Response:
        change = accepted.change
        seen = await await_convergence(
            self._parts.fleet, change.model, change.revision, wait_ms, self._parts.clock.mono_ns
        )
        body = Moved(
            plan=change.after,
            change=change,
            workers=seen.applied,
            errors=seen.errors,
            converged=str(seen) if wait_ms else None,
            warnings=(
                *(
                    (f"the change stands, but is missing from the log: {accepted.unlogged}",)
                    if accepted.unlogged
                    else ()
                ),
                *Seen([], seen.missing, seen.silent).warnings,
            ),
        )
        return _json(body, revision=change.revision)


def admin_app(parts: AdminParts) -> Starlette:
    """The ASGI application."""
    admin = Admin(parts)
    return Starlette(
        routes=[Route(e.path, same_site(e.handle), methods=[e.method]) for e in admin.endpoints()],
        exception_handlers={
            PlanMoved: admin.moved_on,
            PointsmanError: _refused,
            HTTPException: _http_error,
            Exception: _broken,
        },
    )


def _origin(request: Request, verb: str, body: VerbBody) -> Origin:
    expected = revision_of(request) if body.expected_revision is None else body.expected_revision
    return Origin(body.who or actor_of(request), verb, body.reason, expected)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, PointsmanError), "registered for it alone"
    return _json(Failure(error=str(error)), status=status_of(error))


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "registered for it alone"
    return _json(Failure(error=str(error.detail)), status=error.status_code)


async def _broken(_: Request, error: Exception) -> Response:
    logging.getLogger("pointsman.admin").error("an admin request broke", exc_info=error)
    return _json(Failure(error="internal error; the admin API's log has the details"), status=500)


def _json(body: Contract, *, status: int = 200, revision: int | None = None) -> Response:
    headers = {} if revision is None else {"etag": f'"{revision}"'}
    if status == 503:
        headers["retry-after"] = "1"
    return Response(encode(body), status, headers, media_type="application/json")
