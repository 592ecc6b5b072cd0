"""How each version stands, over HTTP: what the admin API rejected itself, what workers say, and what cannot be asked."""

import os

import pytest

from contracts.version_state import VersionState
from gateway.fleet.worker_status import WorkerStatus, write_status

pytestmark = pytest.mark.anyio

VERSIONS = "/admin/models/flight-delay/versions"


async def states(desk):
    return {row["version"]: row for row in (await desk.get(VERSIONS))["versions"]}


async def test_a_version_that_the_admin_api_had_to_reject_says_so_until_it_is_good(desk):
    desk.broken.add("broken")
    await desk.do("canary", 422, version="2", share="5%")
    found = await states(desk)

    assert [(v, row["state"]) for v, row in found.items()] == [
        ("1", "rejected"),
        ("2", "available"),
        ("3", "available"),
    ]
    assert found["1"] == {
        "version": "1",
        "state": "rejected",
        "reason": "it answers its own example with NaN",
        "since_us": desk.clock.now_us(),
        "by": ["admin"],
    }
    desk.broken.clear()
    await desk.do("canary", version="2", share="5%")
    assert {row["state"] for row in (await states(desk)).values()} == {"available"}


async def test_a_card_is_enough_to_find_that_a_version_is_bad_and_that_it_is_good_again(desk):
    (desk.root / "flight-delay" / "3" / "model.onnx").write_bytes(b"")
    assert (await states(desk))["3"]["state"] == "available"
    await desk.client.get(f"{VERSIONS}/3/card")
    row = (await states(desk))["3"]

    assert (row["state"], row["by"], desk.probed) == ("rejected", ["admin"], [])
    assert row["reason"] == "model.onnx is empty"
    desk.register("3")
    await desk.client.get(f"{VERSIONS}/3/card")
    assert (await states(desk))["3"]["state"] == "available"


async def test_what_workers_say_is_shown_and_in_the_list_of_models_too(desk):
    said = VersionState(version="2", state="rejected", reason="onnxruntime cannot load it", since_us=7)
    one = WorkerStatus(
        slot="worker-0", pid=os.getpid(), started_us=1, versions={"flight-delay": (said,)}, at_us=desk.clock.now_us()
    )
    write_status(desk.workers, one)
    row = (await states(desk))["2"]
    (model,) = (await desk.get("/admin/models"))["models"]

    assert row == {
        "version": "2",
        "state": "rejected",
        "reason": "onnxruntime cannot load it",
        "since_us": 7,
        "by": ["worker-0"],
    }
    assert model["states"][1] == row
    (told,) = (await desk.get("/admin/workers"))["workers"]
    assert told["versions"]["flight-delay"][0]["reason"] == "onnxruntime cannot load it"


async def test_without_the_registry_what_is_loaded_is_known_and_the_rest_is_a_warning(desk):
    desk.worker("worker-0", 1)
    desk.root.rename(desk.root.with_name("away"))
    reply = await desk.get(VERSIONS)

    assert [(row["version"], row["state"]) for row in reply["versions"]] == [("1", "loaded")]
    assert reply["warnings"]


async def test_a_model_nobody_knows_has_no_versions(desk):
    assert "nobody" in (await desk.get("/admin/models/nobody/versions", 404))["error"]
    desk.root.rename(desk.root.with_name("away"))
    await desk.get("/admin/models/nobody/versions", 503)
