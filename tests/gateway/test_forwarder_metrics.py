"""The host's forwarder is on the host's metrics page, where there is one."""

from gateway.exposition import page
from prediction_log.forward.status import FILE_NAME, ForwarderStatus, read_status, write_status


def status(**more):
    fields = {
        "at_us": 5_000_000,
        "started_us": 1_000_000,
        "pid": 7,
        "state": "forwarding",
        "trouble": None,
        "logs": 2,
        "sent": 120,
        "acked": 100,
        "bytes": 5000,
        "dead": 1,
        "rebuilds": 2,
        "repairs": 3,
        "removed": 4,
        "backlog_records": 20,
        "backlog_bytes": 1000,
        "oldest_unsent_us": 3_500_000,
    }
    return ForwarderStatus(**{**fields, **more})


def shown(state_dir):
    (state_dir / "metrics").mkdir(exist_ok=True)
    lines = page(state_dir / "metrics", []).decode().splitlines()
    return dict(line.split(" ") for line in lines if line.startswith("pointsman_forward_"))


def test_what_the_forwarder_says_is_on_the_page(tmp_path):
    write_status(tmp_path, status())

    assert {name: float(value) for name, value in shown(tmp_path).items()} == {
        "pointsman_forward_sent_records_total": 120,
        "pointsman_forward_acked_records_total": 100,
        "pointsman_forward_acked_bytes_total": 5000,
        "pointsman_forward_dead_records_total": 1,
        "pointsman_forward_rebuilds_total": 2,
        "pointsman_forward_cursor_repairs_total": 3,
        "pointsman_forward_removed_segments_total": 4,
        "pointsman_forward_backlog_records": 20,
        "pointsman_forward_backlog_bytes": 1000,
        "pointsman_forward_oldest_unsent_seconds": 1.5,
        "pointsman_forward_trouble": 0,
        "pointsman_forward_updated_seconds": 5,
    }


def test_trouble_is_one_and_nothing_unsent_is_no_age(tmp_path):
    write_status(tmp_path, status(trouble="Kafka is away", oldest_unsent_us=None))

    metrics = shown(tmp_path)
    assert (metrics["pointsman_forward_trouble"], metrics["pointsman_forward_oldest_unsent_seconds"]) == ("1.0", "0.0")


def test_without_a_forwarder_or_with_one_that_nobody_understands_there_is_nothing(tmp_path):
    assert shown(tmp_path) == {}
    (tmp_path / FILE_NAME).write_text("{}")
    assert read_status(tmp_path) is None
    assert shown(tmp_path) == {}
