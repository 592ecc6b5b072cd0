"""A whole Pointsman, asked by its users: predictions, versions, plans, labels, metrics, the report."""

import contextlib
import json
import shutil
import subprocess
import sys

import httpx
import pytest

from contracts.prediction import Prediction
from prediction_log.spool.segment import Kind

INFER = "/v2/models/flight-delay/infer"


def cli(running, *words):
    environment = running.environment
    done = subprocess.run([*running.command[:3], *words], env=environment, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout, done.stderr


def moved(running, *words):
    """A change that all workers follow before anybody asks them: how long they take is not told by the exit code."""
    code, _, said = cli(running, *words, "--wait", "60")
    return code == 0 and "not all" not in said


def test_a_newcomer_gets_a_prediction_a_record_and_a_count(shared, model, flight, records, until):
    reply = httpx.post(model.infer, json=flight(routing_key="N14228") | {"id": "mine"}).json()

    assert reply["model_name"] == model.name
    assert reply["model_version"] == "1"
    assert reply["id"] == "mine"
    assert reply["parameters"]["variant"] == "champion"
    assert [output["shape"] for output in reply["outputs"]] == [[1, 2]]
    (record,) = [
        r for r in records(shared.state, Kind.PREDICTION) if r.prediction_id == reply["parameters"]["prediction_id"]
    ]
    assert isinstance(record, Prediction)
    assert (record.status, record.answered, record.revision, record.request_id) == ("ok", True, 1, "mine")
    assert record.features == {"distance": [1400.0], "hour": [17.0]}
    assert record.outputs["probabilities"].data == pytest.approx(reply["outputs"][0]["data"])
    assert len(record.digest) == 64
    counted = until(
        lambda: [r for r in rows(shared, model) if r["statistic"] == "predictions" and r["value"]], what="the count"
    )
    assert [(r["version"], r["variant"], r["value"]) for r in counted] == [("1", "champion", 1.0)]


def test_it_says_where_everything_is_in_addresses_that_can_be_copied(shared, until):
    for address in (f"{shared.data}/v2/models/MODEL/infer", shared.admin, f"{shared.monitor}/", str(shared.state)):
        until(lambda address=address: f" {address} " in shared.log.read_text(), what=f"{address} in what it printed")


def everywhere(url):
    """Whether all of many fresh connections, and so both workers, answer 200."""
    return all(httpx.get(url).status_code == 200 for _ in range(12))


def rows(running, model, **query):
    reply = httpx.get(f"{running.monitor}/summaries", params={"model": model.name} | query, timeout=30)
    return reply.json()["rows"] if reply.status_code == 200 else []


def test_all_four_patterns_by_the_command_line(shared, model, flight):
    assert moved(shared, "traffic", "canary", model.name, "2", "100%", "--reason", "try it")
    assert httpx.post(model.infer, json=flight()).json()["model_version"] == "2"

    assert moved(shared, "rollback", model.name, "--reason", "enough")
    assert httpx.post(model.infer, json=flight()).json()["model_version"] == "1"

    assert moved(shared, "traffic", "ab", model.name, "2", "50%")
    seen = {httpx.post(model.infer, json=flight(routing_key=f"u{i}")).json()["model_version"] for i in range(40)}
    assert seen == {"1", "2"}

    assert moved(shared, "promote", model.name, "--reason", "better")
    assert httpx.post(model.infer, json=flight()).json()["model_version"] == "2"

    assert moved(shared, "traffic", "switch", model.name, "1")
    assert httpx.post(model.infer, json=flight()).json()["model_version"] == "1"

    code, out, _ = cli(shared, "traffic", "history", model.name, "--json")
    assert code == 0
    history = json.loads(out)
    changes = history["changes"] if isinstance(history, dict) else history
    assert [change["verb"] for change in changes][:3] == ["switch", "promote", "ab"]


def test_a_shadow_is_asked_beside_the_answer_and_never_answers(shared, model, flight, records, until):
    assert moved(shared, "traffic", "shadow", model.name, "2", "100%")

    reply = httpx.post(model.infer, json=flight()).json()

    prediction_id = reply["parameters"]["prediction_id"]
    both = until(
        lambda: (
            len(found := [r for r in records(shared.state, Kind.PREDICTION) if r.prediction_id == prediction_id]) == 2
            and found
        ),
        what="the shadow's record",
    )
    assert {(r.version, r.role, r.answered, r.status) for r in both} == {
        ("1", "champion", True, "ok"),
        ("2", "shadow", False, "ok"),
    }


def test_a_shadow_that_lacks_an_input_is_skipped_and_the_record_says_so(shared, model, flight, records, until):
    assert moved(shared, "traffic", "shadow", model.name, "3", "100%")

    reply = httpx.post(model.infer, json=flight())

    assert reply.status_code == 200
    skipped = until(
        lambda: [r for r in records(shared.state, Kind.PREDICTION) if r.model == model.name and r.status == "skipped"],
        what="the skip",
    )
    assert [(r.version, r.answered) for r in skipped] == [("3", False)]
    assert "temp" in skipped[0].error


def test_a_canary_that_lacks_an_input_or_fails_is_replaced_by_the_champion(shared, model, flight, records):
    for version in ("3", "4"):
        assert moved(shared, "traffic", "canary", model.name, version, "100%"), version

        reply = httpx.post(model.infer, json=flight()).json()

        assert reply["model_version"] == "1"
        about = [
            r for r in records(shared.state, Kind.PREDICTION) if r.prediction_id == reply["parameters"]["prediction_id"]
        ]
        assert [(r.version, r.answered, r.fallback_from) for r in about] == [
            (version, False, None),
            ("1", True, f"canary-{version}"),
        ]
        assert about[0].status == ("refused" if version == "3" else "error")
        assert about[1].assignment.reason == "fallback"
        assert moved(shared, "rollback", model.name)


def test_a_request_may_carry_the_union_and_each_variant_takes_its_own(shared, model, flight, records, until):
    assert moved(shared, "traffic", "shadow", model.name, "3", "100%")
    request = flight()
    request["inputs"].append({"name": "temp", "shape": [1, 1], "datatype": "FP32", "data": [60.0]})

    reply = httpx.post(model.infer, json=request)

    assert reply.status_code == 200, reply.text
    prediction_id = reply.json()["parameters"]["prediction_id"]
    found = until(
        lambda: (
            len(both := [r for r in records(shared.state, Kind.PREDICTION) if r.prediction_id == prediction_id]) == 2
            and both
        ),
        what="both records",
    )
    by_version = {r.version: r for r in found}
    assert by_version["1"].extra_features == ["temp"]
    assert set(by_version["3"].features) == {"distance", "hour", "temp"}


def test_an_input_that_no_version_knows_is_refused_by_name(shared, model, flight):
    request = flight()
    request["inputs"].append({"name": "tmep", "shape": [1, 1], "datatype": "FP32", "data": [60.0]})

    reply = httpx.post(model.infer, json=request)

    assert reply.status_code == 400
    assert "tmep" in reply.json()["error"]


def test_versions_and_aliases_in_the_path_pin_the_request(shared, model, flight, until):
    (model.folder / "aliases.json").write_text(json.dumps({"champion": "1", "challenger": "2"}))
    pinned = f"{shared.data}/v2/models/{model.name}/versions"
    until(lambda: everywhere(f"{pinned}/challenger/ready"), what="the new alias in both workers")

    assert httpx.post(f"{pinned}/challenger/infer", json=flight()).json()["model_version"] == "2"
    assert httpx.post(f"{pinned}/2/infer", json=flight()).json()["model_version"] == "2"
    assert httpx.post(f"{pinned}/1/infer", json=flight()).json()["parameters"]["variant"] == "champion"
    assert httpx.post(f"{pinned}/3/infer", json=flight()).status_code == 503
    assert httpx.post(f"{pinned}/99/infer", json=flight()).status_code == 404
    forced = httpx.post(model.infer, json=flight(variant="champion"))
    assert forced.status_code == 200
    assert httpx.post(model.infer, json=flight(variant="nobody")).status_code == 404


def test_a_new_version_and_a_moved_alias_are_picked_up_while_it_runs(shared, model, flight, until):
    shutil.copytree(model.folder / "2", model.folder / "5")

    def listed():
        return {(one["name"], one["version"]) for one in httpx.post(f"{shared.data}/v2/repository/index").json()}

    until(lambda: (model.name, "5") in listed(), what="version 5")

    (model.folder / "aliases.json").write_text(json.dumps({"champion": "5"}))

    def moved():
        return all(httpx.post(model.infer, json=flight()).json()["model_version"] == "5" for _ in range(12))

    until(moved, what="the move in both workers")
    _, out, _ = cli(shared, "traffic", "history", model.name, "--json")
    assert "alias champion moved to version 5" in out


def test_a_bad_version_never_enters_a_plan_and_the_old_one_serves_on(shared, model, flight):
    (model.folder / "9").mkdir()
    (model.folder / "9" / "model.onnx").write_bytes(b"this is no model")

    code, _, error = cli(shared, "traffic", "canary", model.name, "9", "5%")

    assert code == 1
    assert "9" in error
    assert httpx.post(model.infer, json=flight()).json()["model_version"] == "1"


def test_labels_are_taken_refused_with_reasons_and_counted(shared, model, flight, until):
    ids = [httpx.post(model.infer, json=flight()).json()["parameters"]["prediction_id"] for _ in range(3)]
    labels = [{"prediction_id": prediction_id, "label": 1} for prediction_id in ids]

    reply = httpx.post(
        f"{shared.data}/v2/labels", json={"labels": [*labels, {"prediction_id": "nonsense", "label": 1}]}
    )

    assert reply.status_code == 202
    assert reply.json()["accepted"] == 3
    assert [refused["index"] for refused in reply.json()["refused"]] == [3]
    until(
        lambda: [r for r in rows(shared, model) if r["statistic"] == "label_coverage" and r["value"] == 1.0],
        what="the join of the labels",
    )


def test_metrics_answer_for_all_workers_whichever_is_asked(shared, model, flight, until):
    for _ in range(20):
        with httpx.Client() as client:
            client.post(model.infer, json=flight())

    def total():
        page = httpx.get(f"{shared.data}/metrics").text
        lines = [line for line in page.splitlines() if line.startswith("pointsman_predictions_total")]
        lines = [line for line in lines if f'model="{model.name}"' in line]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    until(lambda: total() == 20, what="both workers' counts")
    assert "pointsman_workers 2.0" in httpx.get(f"{shared.data}/metrics").text


def test_health_and_metadata_speak_the_open_inference_protocol(shared, model):
    assert httpx.get(f"{shared.data}/v2/health/live").json() == {"live": True}
    assert httpx.get(f"{shared.data}/v2/health/ready").json() == {"ready": True}
    assert httpx.get(f"{shared.data}/v2").json()["name"] == "pointsman"
    told = httpx.get(f"{shared.data}/v2/models/{model.name}").json()
    assert told["name"] == model.name
    assert {tensor["name"] for tensor in told["inputs"]} == {"distance", "hour"}
    for path, status in {"/v2/models/nope": 404, "/nowhere": 404, "/v2/labels": 405}.items():
        reply = httpx.get(shared.data + path)
        assert reply.status_code == status
        assert reply.headers["content-type"] == "application/json"
        assert reply.json()["error"]


def test_a_body_over_the_bound_is_refused_before_it_is_read(start, flight):
    running = start("serve", body_bytes_max=10_000)

    reply = httpx.post(running.data + INFER, content=b"x" * 20_000)

    assert reply.status_code == 413
    assert "10000" in reply.json()["error"]
    assert httpx.post(running.data + INFER, json=flight()).status_code == 200


def test_the_report_and_the_certificate_come_from_the_same_log(shared, model, flight, until):
    for number in range(30):
        httpx.post(model.infer, json=flight(routing_key=f"u{number}"))
    until(
        lambda: [r for r in rows(shared, model) if r["statistic"] == "predictions" and r["value"] == 30],
        what="the counts",
    )

    page = httpx.get(f"{shared.monitor}/report", params={"model": model.name}, timeout=30)

    assert page.status_code == 200
    assert model.name in page.text
    # what other tests made the server write may be counted later
    said = until(lambda: (out := cli(shared, "log", "verify", "--json"))[0] == 0 and out[1], what="a full certificate")
    assert json.loads(said)["ok"] is True


def test_ctrl_c_drains_and_leaves_nothing_running(start, flight):
    running = start("up", workers=2)
    assert httpx.post(running.data + INFER, json=flight()).status_code == 200

    assert running.stop() == 0

    assert running.children() == {}
    assert "Traceback" not in running.log.read_text()


def test_it_starts_and_serves_with_the_registry_gone(start, flight, registry):
    first = start("serve")
    assert httpx.post(first.data + INFER, json=flight()).status_code == 200
    first.stop()
    shutil.rmtree(registry)

    second = start("serve", state=first.state, wait=True)

    assert httpx.post(second.data + INFER, json=flight()).json()["model_version"] == "1"


def test_it_starts_and_serves_with_the_plan_store_gone(start, flight, until):
    first = start("serve")
    assert moved(first, "traffic", "canary", "flight-delay", "2", "100%")
    first.stop()
    for path in first.state.glob("plans.sqlite*"):
        path.unlink()
    (first.state / "plans.sqlite").mkdir()

    second = start("serve", state=first.state, wait=False)

    def answered():
        with contextlib.suppress(httpx.TransportError):
            reply = httpx.post(second.data + INFER, json=flight())
            return reply.status_code == 200 and reply.json()
        return None

    reply = until(answered, what="an answer without the plan store")
    assert reply["model_version"] == "2", "routed by the last good plan"


def test_help_explains_every_command():
    done = subprocess.run([sys.executable, "-m", "pointsman", "--help"], capture_output=True, text=True, timeout=60)

    assert done.returncode == 0
    for command in (
        "up",
        "serve",
        "monitor",
        "demo",
        "models",
        "traffic",
        "promote",
        "rollback",
        "label",
        "report",
        "reference",
        "log",
    ):
        assert command in done.stdout
