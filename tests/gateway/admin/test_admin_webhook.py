"""MLflow's webhook at the admin API: a signed, fresh delivery tells the workers once; nothing else tells them anything."""

import base64
import hashlib
import hmac
import json

import httpx
import pytest

from gateway.admin import deliveries
from gateway.admin.app import AdminParts, admin_app
from gateway.admin.gate_book import GateBook
from gateway.admin.requests import BODY_BYTES_MAX

pytestmark = pytest.mark.anyio

SECRET = "not a secret of anybody"
NOW = 1_700_000_000
BODY = b'{"entity": "model_version_alias", "action": "created", "data": {"name": "iris", "version": "1"}}'
PATH = "/admin/registry/webhook"


def signed(body=BODY, delivery="d-1", sent=NOW, secret=SECRET):
    mac = hmac.new(secret.encode(), f"{delivery}.{sent}.".encode() + body, hashlib.sha256).digest()
    return {
        "x-mlflow-delivery-id": delivery,
        "x-mlflow-timestamp": str(sent),
        "x-mlflow-signature": "v1," + base64.b64encode(mac).decode(),
    }


@pytest.fixture
async def hook(desk):
    gates, signature = GateBook(desk.store, desk.audit), desk.check_version.signature
    parts = AdminParts(
        desk.control,
        gates,
        desk.store,
        desk.registry,
        desk.fleet,
        desk.clock,
        "0.1.0",
        signature,
        desk.states,
        desk.promotions,
        SECRET,
    )
    parts = parts._replace(clock=desk.clock._replace(new_id=iter(f"mark-{turn}" for turn in range(9)).__next__))
    transport = httpx.ASGITransport(admin_app(parts), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8003") as client:
        yield client


async def counted(hook):
    health = (await hook.get("/admin/health")).json()
    return health["webhooks_taken"], health["webhooks_refused"]


@pytest.mark.parametrize("sent", [NOW, NOW - 300, NOW + 300])
async def test_a_signed_and_fresh_delivery_tells_the_workers(hook, desk, sent):
    reply = await hook.post(PATH, content=BODY, headers=signed(sent=sent))
    assert (reply.status_code, reply.json()) == (200, {"told": True})
    assert await desk.fleet.hinted() == "mark-0"
    assert await counted(hook) == (1, 0)


async def test_nothing_in_the_body_is_believed_or_even_read(hook, desk):
    body = b"\xff no JSON at all"
    assert (await hook.post(PATH, content=body, headers=signed(body))).json() == {"told": True}


async def test_a_replayed_delivery_tells_nobody_again(hook, desk):
    await hook.post(PATH, content=BODY, headers=signed())
    again = await hook.post(PATH, content=BODY, headers=signed())
    assert (again.status_code, again.json()) == (200, {"told": False})
    assert await desk.fleet.hinted() == "mark-0"
    assert (await hook.post(PATH, content=BODY, headers=signed(delivery="d-2"))).json() == {"told": True}
    assert await desk.fleet.hinted() == "mark-1"


REFUSED = {
    "another secret": (BODY, signed(secret="guessed")),
    "an empty secret": (BODY, signed(secret="")),
    "another body": (BODY.replace(b"1", b"2"), signed()),
    "a body cut short": (BODY[:-1], signed()),
    "no body": (b"", signed()),
    "too old": (BODY, signed(sent=NOW - 301)),
    "of the future": (BODY, signed(sent=NOW + 301)),
    "time moved": (BODY, signed(sent=NOW - 301) | {"x-mlflow-timestamp": str(NOW)}),
    "id moved": (BODY, signed() | {"x-mlflow-delivery-id": "d-2"}),
    "time no number": (BODY, signed(sent="now")),
    "time infinite": (BODY, signed(sent="1e400")),
    "time of other digits": (BODY, signed() | {"x-mlflow-timestamp": "\xb2\xb3"}),
    "id empty": (BODY, signed(delivery="")),
    "id too long": (BODY, signed(delivery="d" * 129)),
    "signature cut short": (BODY, signed() | {"x-mlflow-signature": signed()["x-mlflow-signature"][:-1]}),
    "signature of no version": (BODY, signed() | {"x-mlflow-signature": signed()["x-mlflow-signature"][3:]}),
    "signature not ASCII": (BODY, signed() | {"x-mlflow-signature": "v1,\xe9"}),
    "signature empty": (BODY, signed() | {"x-mlflow-signature": ""}),
    "no headers": (BODY, {}),
}


@pytest.mark.parametrize("why", REFUSED)
async def test_whatever_is_not_signed_or_not_fresh_is_401_without_a_word_why(hook, desk, why):
    body, headers = REFUSED[why]
    headers = {name: value.encode("latin-1") for name, value in headers.items()}
    reply = await hook.post(PATH, content=body, headers=headers)
    assert (reply.status_code, reply.json()) == (401, {"error": "this delivery is refused"})
    assert await desk.fleet.hinted() == ""
    assert await counted(hook) == (0, 1)


async def test_a_body_without_end_is_not_read_to_its_end(hook, desk):
    body = b"x" * (BODY_BYTES_MAX + 1)
    assert (await hook.post(PATH, content=body, headers=signed(body))).status_code == 413
    assert await desk.fleet.hinted() == ""


async def test_without_a_secret_it_says_what_to_set(desk):
    reply = await desk.client.post(PATH, content=BODY, headers=signed(secret=""))
    assert reply.status_code == 404
    assert "set MLFLOW_WEBHOOK_SECRET" in reply.json()["error"]
    assert await desk.fleet.hinted() == ""


async def test_a_hint_that_cannot_be_passed_on_is_503_and_may_come_again(hook, desk, monkeypatch):
    monkeypatch.setattr(desk.fleet, "_state_dir", desk.root / "absent")
    assert (await hook.post(PATH, content=BODY, headers=signed())).status_code == 503
    monkeypatch.undo()
    assert (await hook.post(PATH, content=BODY, headers=signed())).json() == {"told": True}


async def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(deliveries, "SEEN_MAX", 3)
    seen = deliveries.Deliveries(SECRET)
    for turn in range(5):
        seen.take(f"d-{turn}")
    assert [seen.is_new(f"d-{turn}") for turn in range(5)] == [True, True, False, False, False]


async def test_it_is_described(desk):
    described = await desk.get("/openapi.json")
    assert {"200", "401", "404"} <= set(described["paths"][PATH]["post"]["responses"])
    assert json.dumps(described["components"]["schemas"]["Hinted"])
