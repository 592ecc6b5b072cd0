"""The card over HTTP: JSON or a page, from whoever knows something; a source that is away makes a gap."""

import pytest

from contracts.card import Card
from contracts.wire import decode, encode
from gateway.cards.assembly import NOT_ASKED
from tests.gateway.gate_results import flight_gate

pytestmark = pytest.mark.anyio

MODEL = "flight-delay"
BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


def path(version="2", model=MODEL):
    return f"/admin/models/{model}/versions/{version}/card"


async def card(desk, version="2"):
    response = await desk.client.get(path(version))
    assert response.status_code == 200, response.text
    return decode(Card, response.content)


def gaps(found):
    return {gap.part: gap.reason for gap in found.gaps}


async def test_the_card_says_what_registry_store_and_workers_know(desk):
    (desk.root / MODEL / "2" / "model.json").write_text('{"description": "late or not", "limits": "no cargo"}')
    await desk.do("canary", version="2", share="5%", who="ada", reason="first look")
    await desk.post(f"/admin/models/{MODEL}/gates", encode(flight_gate()))
    desk.worker("worker-0", 2)
    found, champion = await card(desk), await card(desk, "1")
    digest = (await desk.registry.fetch(MODEL, "2")).digest

    assert (found.model, found.version, found.digest, found.pointsman) == (MODEL, "2", digest, "0.1.0")
    assert found.made_us == 1_700_000_000_000_000
    assert found.files.metadata.limits == "no cargo"
    assert found.files.bytes == sum(file.stat().st_size for file in (desk.root / MODEL / "2").iterdir())
    assert [spec.name for spec in found.signature.inputs] == ["x"]
    assert [(role.role, role.digest) for role in found.roles] == [("canary", digest)]
    assert [(step.revision, step.who, step.verb, step.reason) for step in found.traffic] == [
        (2, "ada", "canary", "first look")
    ]
    assert champion.aliases == ("champion",)
    assert [step.revision for step in champion.traffic] == [2, 1]
    assert found.gates == ()
    assert "are of other files" in gaps(found)["gates"], "the gate is of another digest"
    assert gaps(found)["live"] == NOT_ASKED
    assert "reference build" in gaps(found)["reference"]


async def test_a_browser_gets_a_page_and_a_program_gets_json(desk):
    (desk.root / MODEL / "2" / "model.json").write_text('{"description": "<script>alert(1)</script>"}')
    page = await desk.client.get(path(), headers=BROWSER)

    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert page.headers["vary"] == "accept"
    assert "&lt;script&gt;alert(1)" in page.text
    assert "<script" not in page.text
    for accept in ("*/*", "application/json", "application/json, text/html", ""):
        response = await desk.client.get(path(), headers={"accept": accept})
        assert response.headers["content-type"] == "application/json", accept


async def test_a_version_that_nobody_knows_is_404(desk):
    for unknown in (path("9"), path("2", "no-such-model"), path("..%2f1")):
        assert "error" in await desk.get(unknown, 404)


async def test_a_version_that_left_the_registry_keeps_its_history(desk, tmp_path):
    await desk.do("canary", version="2", share="5%", reason="look")
    pinned = (await desk.store.read(MODEL)).challengers[0].digest
    (desk.root / MODEL / "2").rename(tmp_path / "gone")
    for known in (tmp_path / "cache").rglob("*.json"):
        known.unlink(missing_ok=True)
    found = await card(desk)

    assert [step.reason for step in found.traffic] == ["look"]
    assert found.digest == pinned
    assert found.files is None
    assert "2" in gaps(found)["files"]


async def test_files_that_cannot_be_served_are_told_with_the_reason(desk):
    desk.broken.add("broken")
    found = await card(desk)
    assert found.signature is None
    assert "it answers its own example with NaN" in gaps(found)["signature"]

    (desk.root / MODEL / "3" / "model.json").write_text('{"descriptoin": 1}')
    found = await card(desk, "3")
    assert found.files is None
    assert "descriptoin" in gaps(found)["files"]


async def test_what_model_json_says_for_people_is_bounded(desk):
    (desk.root / MODEL / "2" / "model.json").write_text('{"limits": "%s"}' % ("x" * 20_001))
    assert "length <= 20000" in gaps(await card(desk))["files"]


async def test_without_the_store_the_rest_is_told(desk, tmp_path):
    await desk.store.aclose()
    store = tmp_path / "plans.sqlite"
    store.unlink(missing_ok=True)
    store.mkdir()
    found = await card(desk)

    assert (found.roles, found.traffic, found.gates) == (None, None, None)
    assert found.files is not None
    assert {"roles", "traffic", "gates"} <= gaps(found).keys()
    assert "error" in await desk.get(path("9"), 503)


async def test_a_card_is_probed_once_and_shares_the_probe_of_a_shift(desk):
    await card(desk)
    await card(desk)
    await desk.do("canary", version="2", share="5%")
    assert len([one for one in desk.probed if one == (await desk.registry.fetch(MODEL, "2")).path]) == 1


async def test_the_description_tells_of_both_forms(desk):
    operation = (await desk.get("/openapi.json"))["paths"]["/admin/models/{model}/versions/{version}/card"]["get"]
    assert operation["responses"]["200"]["content"].keys() == {"application/json", "text/html"}
    assert {"200", "400", "404", "503"} <= operation["responses"].keys()
