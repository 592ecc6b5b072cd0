"""`pointsman models`: what is registered, loaded, routed and rejected, and a registry that is away or empty."""

from pathlib import Path

from pointsman.traffic_view import when
from tests.pointsman.traffic_desk import MODEL


def test_models_shows_what_is_registered_loaded_and_routed(traffic):
    assert "no plan yet" in traffic.ok("models")[0]
    traffic.ok("traffic", "canary", MODEL, "2", "5%")
    traffic.worker("worker-0", 2)
    out, _ = traffic.ok("models")

    for word in (MODEL, "1 loaded, 2, 3, 4", "champion = 1", "canary-2 5%", "worker-0: 1"):
        assert word in out
    (row,) = traffic.json("models")["models"]
    assert row["plan"]["revision"] == 2


def test_models_says_why_a_version_is_rejected_until_it_is_not(traffic):
    traffic.ok("traffic", "warm", MODEL, "3")
    traffic.worker("worker-0", 2)
    (traffic.folder / "refused").touch()
    assert traffic.run("traffic", "canary", MODEL, "2", "5%")[0] == 1
    graph = traffic.folder / "models" / MODEL / "1" / "model.onnx"
    good = graph.read_bytes()
    graph.write_bytes(b"")
    traffic.ok("card", MODEL, "1")
    out, _ = traffic.ok("models")
    rows = {row["version"]: row for row in traffic.json("models")["models"][0]["states"]}

    assert "1 loaded, 2 rejected, 3, 4" in out
    two = when(rows["2"]["since_us"])
    assert f"version 2 of {MODEL} is rejected since {two} UTC: it answers its own example with NaN" in out
    assert f"version 1 of {MODEL} is loaded, but files of its number are rejected since" in out
    assert [(rows[v]["state"], rows[v]["reason"] != "") for v in "123"] == [
        ("loaded", True),
        ("rejected", True),
        ("available", False),
    ]
    (traffic.folder / "refused").unlink()
    graph.write_bytes(good)
    traffic.ok("traffic", "warm", MODEL, "2")
    traffic.ok("card", MODEL, "1")
    assert "rejected" not in traffic.ok("models")[0]


def test_models_warns_where_the_registry_is_away(traffic):
    traffic.worker("worker-0", 2)
    Path("models").rename("away")
    out, err = traffic.ok("models")

    assert MODEL in out
    assert "warning:" in err


def test_models_of_an_empty_registry_says_so(traffic):
    Path("models").rename("away")
    Path("models").mkdir()
    assert "no models are registered yet" in traffic.ok("models")[0]
