"""The whole plan over HTTP, the lists, the description, and what every error looks like."""

import json
import re

import pytest

from contracts.errors import StoreUnavailable
from contracts.standing import MonitorStanding
from contracts.verdict import Verdict
from contracts.wire import encode
from gateway.admin.requests import HISTORY_MAX
from monitor.fleet_report import FileReport

pytestmark = pytest.mark.anyio

PLAN = "/admin/models/flight-delay/plan"
HISTORY = "/admin/models/flight-delay/history"


async def test_a_plan_is_read_edited_and_put_back(desk):
    await desk.do("canary", version="2", share="5%")
    response = await desk.client.get(PLAN)
    plan, tag = response.json(), response.headers["etag"]
    plan["challengers"][0]["ranges"] = [[0, 2**31]]
    put = await desk.client.put(
        PLAN, json=plan, headers={"If-Match": tag, "X-Pointsman-Actor": "ada"}, params={"reason": "half"}
    )

    assert (put.status_code, put.headers["etag"]) == (200, '"3"')
    assert (await desk.get(PLAN))["challengers"][0]["ranges"] == [[0, 2**31]]
    (newest, *_) = (await desk.get(HISTORY))["changes"]
    assert (newest["verb"], newest["who"], newest["reason"]) == ("put", "ada", "half")


async def test_a_put_without_if_match_is_428(desk):
    await desk.do("warm", version="2")
    response = await desk.client.put(PLAN, json=await desk.get(PLAN))

    assert response.status_code == 428
    assert "If-Match" in response.json()["error"]


async def test_a_put_from_an_old_revision_is_409_with_both(desk):
    await desk.do("warm", version="2")
    old = await desk.get(PLAN)
    await desk.do("warm", version="3")
    response = await desk.client.put(PLAN, json=old, headers={"If-Match": '"2"'})

    assert (response.status_code, response.headers["etag"]) == (409, '"3"')
    assert (response.json()["expected_plan"], response.json()["current_revision"]) == (old, 3)


@pytest.mark.parametrize("tag", ["seven", '"7', "*", '"-1"', '"1.0"', '""'])
async def test_an_if_match_that_is_no_revision_is_400(desk, tag):
    await desk.do("warm", version="2")
    response = await desk.client.put(PLAN, json=await desk.get(PLAN), headers={"If-Match": tag})

    assert response.status_code == (409 if tag == '"7' else 400)


async def test_a_version_that_is_new_to_a_put_plan_is_checked_like_any_other(desk):
    await desk.do("warm", version="2")
    plan = await desk.get(PLAN)
    held = plan["warm"][0]
    challenger = {"name": "c", "version": "3", "digest": "0" * 64, "mode": "canary", "ranges": [[0, 5]]}
    wrong = await desk.client.put(PLAN, json=plan | {"challengers": [challenger]}, headers={"If-Match": '"2"'})
    desk.broken.add("broken")
    broken = await desk.client.put(PLAN, json=plan | {"challengers": [challenger]}, headers={"If-Match": '"2"'})
    known = plan | {"challengers": [challenger | held]}
    right = await desk.client.put(PLAN, json=known, headers={"If-Match": '"2"'})

    assert (wrong.status_code, "other files are registered" in wrong.json()["error"]) == (422, True)
    assert broken.status_code == 422
    assert (right.status_code, right.json()["plan"]["warm"]) == (200, [])


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"revision": 9}, "leave it at 2"),
        ({"model": "other"}, "for model 'other'"),
        ({"colour": "red"}, "colour"),
        ({"salt": 5}, "salt"),
        ({"schema": 2}, "schema"),
    ],
)
async def test_a_plan_that_is_none_for_this_model_is_400(desk, edit, message):
    await desk.do("warm", version="2")
    plan = await desk.get(PLAN)
    response = await desk.client.put(PLAN, json=plan | edit, headers={"If-Match": '"2"'})

    assert response.status_code == 400
    assert message in response.json()["error"]


async def test_ranges_that_overlap_are_400_and_say_whose(desk):
    await desk.do("canary", version="2", share="5%")
    plan = await desk.get(PLAN)
    plan["challengers"][0]["ranges"] = [[0, 10], [5, 20]]
    response = await desk.client.put(PLAN, json=plan, headers={"If-Match": '"2"'})

    assert response.status_code == 400
    assert "canary-2" in response.json()["error"]


async def test_a_model_nobody_serves_has_no_plan(desk):
    assert "has no plan" in (await desk.get("/admin/models/nobody/plan", 404))["error"]
    assert "has no plan" in (await desk.get("/admin/models/nobody/history", 404))["error"]
    assert await desk.get("/admin/audit?model=nobody") == {"changes": []}


async def test_models_shows_registered_loaded_and_routed(desk):
    desk.register("1", model="another")
    before = await desk.get("/admin/models")
    await desk.do("warm", version="2")
    desk.worker("worker-0", 1)
    row = (await desk.get("/admin/models"))["models"][1]

    assert [(m["model"], m["versions"], m["plan"]) for m in before["models"]] == [
        ("another", ["1"], None),
        ("flight-delay", ["1", "2", "3"], None),
    ]
    assert (row["aliases"], row["plan"]["revision"]) == ({"champion": "1"}, 2)
    assert row["loaded"] == {"worker-0": [{"version": "1", "digest": "d1"}]}


async def test_models_answers_without_the_registry_with_what_is_loaded(desk):
    await desk.do("warm", version="2")
    desk.worker("worker-0", 2)
    desk.root.rename(desk.root.with_name("away"))
    reply = await desk.get("/admin/models")

    assert [(m["model"], m["versions"], m["plan"]["revision"]) for m in reply["models"]] == [("flight-delay", [], 2)]
    assert reply["warnings"]


async def test_models_answers_without_the_plan_store_with_what_is_loaded(desk, monkeypatch):
    await desk.do("warm", version="2")
    desk.worker("worker-0", 2)

    async def away(model):
        raise StoreUnavailable("the plan store is gone: put it back")

    monkeypatch.setattr(desk.store, "read", away)
    reply = await desk.get("/admin/models")
    assert [(m["plan"], m["loaded"].keys()) for m in reply["models"]] == [(None, {"worker-0"})]
    assert reply["warnings"] == ["flight-delay: its plan is not known: the plan store is gone: put it back"]
    refused = await desk.client.post("/admin/models/flight-delay/switch", json={"version": "3"})
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")


async def test_the_audit_lists_the_changes_of_all_models_newest_first(desk):
    desk.register("1", model="another")
    desk.register("2", model="another")
    await desk.do("warm", version="2")
    await desk.do("switch", version="1", model="another")
    changes = (await desk.get("/admin/audit"))["changes"]

    assert [(c["model"], c["verb"]) for c in changes] == [
        ("another", "switch"),
        ("another", "start"),
        ("flight-delay", "warm"),
        ("flight-delay", "start"),
    ]
    assert len((await desk.get("/admin/audit?limit=3"))["changes"]) == 3
    assert {c["model"] for c in (await desk.get("/admin/audit?model=another"))["changes"]} == {"another"}


@pytest.mark.parametrize(
    "limit",
    [
        "0",
        "-1",
        "1.5",
        "many",
        str(HISTORY_MAX + 1),
        "99999999999999999999",
        "",
        f"000000001{HISTORY_MAX}",
        f"000000001{'0' * 5000}",
    ],
)
async def test_a_limit_out_of_bounds_is_400(desk, limit):
    assert "limit" in (await desk.get(f"/admin/audit?limit={limit}", 400))["error"]


async def test_workers_lists_the_living(desk):
    desk.worker("worker-1", 4)
    (desk.workers / "worker-2.json").write_text("torn")
    (worker,) = (await desk.get("/admin/workers"))["workers"]

    assert (worker["slot"], worker["applied"]) == ("worker-1", {"flight-delay": 4})


async def test_monitors_and_verdicts_are_shown_as_they_were_told(desk, tmp_path):
    report = FileReport(tmp_path)
    at_us = desk.clock.now_us()
    told = MonitorStanding(member="monitor-0", started_us=1, at_us=at_us, partitions=(0, 2), lag_records=7)
    await report.tell(told)
    await report.tell(MonitorStanding(member="gone", started_us=1, at_us=at_us - 6_000_000))
    judged = Verdict(
        model="flight-delay", version="2", digest="d", variant="canary-2", revision=3, guard="auc", outcome="fail",
        evidence=(), from_us=0, to_us=1, judged_us=2, policy_hash="p",
    )  # fmt: skip
    await report.judged("flight-delay", [judged])

    assert await desk.get("/admin/monitors") == {"monitors": [json.loads(encode(told))]}
    assert await desk.get("/admin/models/flight-delay/verdicts") == {"verdicts": [json.loads(encode(judged))]}
    assert await desk.get("/admin/models/another/verdicts") == {"verdicts": []}


async def test_health_is_503_while_the_store_cannot_be_read(desk, monkeypatch):
    assert (await desk.get("/admin/health"))["status"] == "ok"

    async def away():
        raise StoreUnavailable("the plan store is gone: put it back")

    monkeypatch.setattr(desk.store, "generation", away)
    assert await desk.get("/admin/health", 503) == {"error": "the plan store is gone: put it back"}


async def test_the_description_covers_every_route_and_every_reference_resolves(desk):
    document = await desk.get("/openapi.json")
    served = {(method, route.path) for route in desk.app.routes for method in route.methods - {"HEAD"}}
    described = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    references = set(re.findall(r'"#/components/schemas/(\w+)"', (await desk.client.get("/openapi.json")).text))

    assert served == described
    assert len(served) == 30
    assert references <= document["components"]["schemas"].keys()
    for item in document["paths"].values():
        for operation in item.values():
            assert operation["summary"]
    for path, item in document["paths"].items():
        named = {p["name"] for operation in item.values() for p in operation["parameters"] if p["in"] == "path"}
        assert named == set(re.findall(r"{(\w+)}", path))


async def test_the_description_of_a_put_asks_for_if_match_and_tells_of_428(desk):
    put = (await desk.get("/openapi.json"))["paths"]["/admin/models/{model}/plan"]["put"]

    assert [p["required"] for p in put["parameters"] if p["name"] == "If-Match"] == [True]
    assert {"200", "400", "404", "409", "422", "428", "503"} <= put["responses"].keys()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("POST", "/admin/workers", 405),
        ("DELETE", PLAN, 405),
        ("POST", "/admin/models/m/dance", 404),
    ],
)
async def test_every_error_is_json_with_an_error(desk, method, path, status):
    response = await desk.client.request(method, path)

    assert response.status_code == status
    assert list(response.json()) == ["error"]


@pytest.mark.parametrize("body", [b"{", b"[]", b"null", b"\xff", b'{"version": "2", "version": 3}'])
async def test_bytes_that_are_no_body_are_400(desk, body):
    response = await desk.client.post("/admin/models/flight-delay/switch", content=body)

    assert response.status_code == 400
    assert response.json()["error"].startswith("not a VersionBody")


async def test_a_body_without_end_is_413(desk):
    response = await desk.client.post("/admin/models/flight-delay/switch", content=b" " * (2**20 + 1))

    assert (response.status_code, list(response.json())) == (413, ["error"])


async def test_a_bug_is_500_and_hides_its_words(desk, monkeypatch):
    async def broken(*_):
        raise RuntimeError("secret")

    monkeypatch.setattr(desk.store, "read", broken)
    response = await desk.client.get(PLAN)

    assert response.status_code == 500
    assert "secret" not in response.text


async def test_a_page_from_elsewhere_cannot_move_traffic(desk):
    refused = await desk.client.post(
        "/admin/models/flight-delay/switch", json={"version": "2"}, headers={"Origin": "https://evil.example"}
    )
    own = await desk.client.get("/admin/workers", headers={"Origin": "http://127.0.0.1:8003"})

    assert (refused.status_code, list(refused.json())) == (403, ["error"])
    assert own.status_code == 200


@pytest.mark.parametrize("path", ["plan", "history", "verdicts", "gates", "promotions", "versions"])
@pytest.mark.parametrize("name", ["a%00b", "a%0Ab", "%2E%2E", "x" * 129, "%C3%A4"])
async def test_what_can_name_no_model_is_404(desk, path, name):
    assert "names nothing" in (await desk.get(f"/admin/models/{name}/{path}", 404))["error"]
    assert (await desk.do("warm", 404, model=name, version="2"))["error"].endswith("no '._-' first")


@pytest.mark.parametrize("revision", [2**63, 10**30, -(10**30)])
async def test_a_revision_beyond_all_numbers_never_was(desk, revision):
    await desk.do("warm", version="2")
    moved = await desk.do("warm", 409, version="3", expected_revision=revision)
    assert (moved["expected_plan"], moved["current_revision"]) == (None, 2)
    assert "no earlier revision" in (await desk.do("rollback", 404, to=revision))["error"]
