"""One route of the admin API, described once: the server's routes and `/openapi.json` are both made from these.

Enters: descriptions. Leaves: an OpenAPI 3.1 document. Never serves anything.
"""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, NamedTuple

import msgspec

from contracts.wire import Contract
from gateway.admin.bodies import Failure, MovedOn
from gateway.admin.requests import HISTORY_DEFAULT, HISTORY_MAX, WAIT_MS_MAX, Handle

MODEL = {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}
VERSION = {"name": "version", "in": "path", "required": True, "schema": {"type": "string"}}
PROMOTION = {"name": "promotion", "in": "path", "required": True, "schema": {"type": "string"}}
IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "schema": {"type": "string"},
    "description": 'The revision that the change is made from, in quotes: "7"',
}
ACTOR = {
    "name": "X-Pointsman-Actor",
    "in": "header",
    "schema": {"type": "string"},
    "description": "Who asks, where the body does not say; goes into the history",
}
REASON = {"name": "reason", "in": "query", "schema": {"type": "string"}, "description": "Why; goes into the history"}
WAIT = {
    "name": "wait_ms",
    "in": "query",
    "schema": {"type": "number", "minimum": 0, "maximum": WAIT_MS_MAX},
    "description": "Answer when every living worker follows, or after that many milliseconds",
}
LIMIT = {
    "name": "limit",
    "in": "query",
    "schema": {"type": "integer", "minimum": 1, "maximum": HISTORY_MAX, "default": HISTORY_DEFAULT},
}
ONE_MODEL = {"name": "model", "in": "query", "schema": {"type": "string"}}


class Endpoint(NamedTuple):
    """One route. `refusals` are the statuses it may refuse with, beside 400 and 503; `etag`: replies carry the revision;
    `page`: who accepts `text/html` rather than JSON gets a page.
    """

    method: str
    path: str
    summary: str
    handle: Handle
    reply: type[Contract] | None
    body: type[Contract] | None = None
    parameters: tuple[dict[str, Any], ...] = ()
    refusals: tuple[int, ...] = ()
    etag: bool = False
    page: bool = False


def openapi(endpoints: Iterable[Endpoint], version: str) -> dict[str, Any]:
    """The OpenAPI document of the endpoints."""
    endpoints = list(endpoints)
    types = {kind for e in endpoints for kind in (e.reply, e.body) if kind} | {Failure, MovedOn}
    in_order = sorted(types, key=lambda kind: kind.__name__)
    _, schemas = msgspec.json.schema_components(in_order, ref_template="#/components/schemas/{name}")
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Pointsman admin API", "version": version},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": endpoint.summary,
        "operationId": f"{endpoint.method.lower()}_{endpoint.path.strip('/').translate(str.maketrans('/.', '__', '{}'))}",
        "parameters": list(endpoint.parameters),
        "responses": {"200": _success(endpoint)},
    }
    for status in sorted({400, 503, *endpoint.refusals}):
        kinds = (MovedOn, Failure) if status == 409 else (Failure,)
        operation["responses"][str(status)] = {"description": HTTPStatus(status).phrase, "content": _json(*kinds)}
    if endpoint.body is not None:
        operation["requestBody"] = {"required": True, "content": _json(endpoint.body)}
    return operation


def _success(endpoint: Endpoint) -> dict[str, Any]:
    response: dict[str, Any] = {"description": "Done"}
    if endpoint.reply is not None:
        page = {"text/html": {"schema": {"type": "string"}}} if endpoint.page else {}
        response["content"] = _json(endpoint.reply) | page
    if endpoint.etag:
        response["headers"] = {"ETag": {"schema": {"type": "string"}, "description": "The plan's revision, in quotes"}}
    return response


def _json(*kinds: type[Contract]) -> dict[str, Any]:
    """A body of this type, or of any of these."""
    schemas = [{"$ref": f"#/components/schemas/{kind.__name__}"} for kind in kinds]
    return {"application/json": {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}}}
