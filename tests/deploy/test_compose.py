import os
import re
import subprocess
import sys
import time
import urllib.parse

import pytest
import yaml
from typer.testing import CliRunner

from contracts.settings import Settings
from pointsman.configuration import load_settings
from pointsman.main import app
from prediction_log.forward.status import FILE_NAME
from tests.deploy.validators import DEPLOY, run

COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
JUST_NOW = -600
"""Seconds ago: however long the check takes until it looks."""
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("pointsman:")}


def settings_of(service) -> Settings:
    environment = {name: value for name, value in service["environment"].items() if name.startswith("POINTSMAN_")}
    return load_settings(None, environment=environment)


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


def test_the_file_keeps_to_the_compose_specification():
    run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "deploy/compose.yaml")


@pytest.mark.parametrize("name", OURS)
def test_every_role_is_a_command_with_settings_that_exist(name):
    command = SERVICES[name]["command"]

    assert CliRunner().invoke(app, [*command, "--help"]).exit_code == 0
    assert settings_of(SERVICES[name]).kafka == "kafka:9092"


def test_the_whole_fleet_has_the_same_kafka_options():
    assert len({str(settings_of(service).kafka_options) for service in OURS.values()}) == 1


def test_there_are_all_roles_and_two_monitors():
    roles = sorted(service["command"][0] for service in OURS.values())

    assert roles == ["forward", "monitor", "monitor", "serve"]


def test_gateway_and_forwarder_share_a_state_directory_and_each_monitor_has_its_own():
    state = {name: [v.split(":")[0] for v in service["volumes"] if ":/state" in v] for name, service in OURS.items()}

    assert state["gateway"] == state["forward"]
    assert len({tuple(volumes) for volumes in state.values()}) == 3


@pytest.mark.parametrize("name", OURS)
def test_a_role_has_time_to_drain(name):
    settings = settings_of(SERVICES[name])

    assert (
        seconds(SERVICES[name]["stop_grace_period"])
        >= settings.drain_delay_seconds + settings.drain_timeout_seconds + 15
    )


@pytest.mark.parametrize("name", OURS)
def test_a_role_has_a_read_only_root_and_no_rights(name):
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert "/tmp" in service["tmpfs"]


def test_every_port_is_published_on_loopback_only():
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]

    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_every_volume_and_every_mounted_file_exists():
    mounts = [
        volume.split(":") for service in SERVICES.values() for volume in service.get("volumes", []) if "$" not in volume
    ]
    named = {source for source, *_ in mounts if not source.startswith(".")}

    assert named == set(COMPOSE["volumes"])
    assert all((DEPLOY / source).exists() for source, *_ in mounts if source.startswith("."))


def test_nobody_waits_for_a_health_that_is_never_checked():
    for service in SERVICES.values():
        for other, wait in service.get("depends_on", {}).items():
            assert wait["condition"] != "service_healthy" or "test" in SERVICES[other]["healthcheck"]


def test_serving_waits_for_nobody():
    assert {wait["condition"] for wait in SERVICES["gateway"]["depends_on"].values()} == {"service_started"}


def test_prometheus_asks_the_roles_where_they_listen():
    scraped = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text())["scrape_configs"]
    targets = {target for job in scraped for config in job["static_configs"] for target in config["targets"]}
    roles = {"gateway:8000", "monitor-1:8004", "monitor-2:8004"}

    assert targets - {"127.0.0.1:9090"} == roles
    for target in roles:
        settings = settings_of(SERVICES[target.split(":")[0]])
        assert int(target.split(":")[1]) in (settings.http_port, settings.monitor_port)
    assert all(settings_of(SERVICES[name]).monitor_host == "0.0.0.0" for name in OURS if name.startswith("monitor"))


@pytest.mark.parametrize(("age_seconds", "code"), [(JUST_NOW, 0), (60, 1), (None, 1)])
def test_a_forwarder_is_well_while_it_says_how_it_is(tmp_path, age_seconds, code):
    if age_seconds is not None:
        (tmp_path / FILE_NAME).write_text("{}")
        os.utime(tmp_path / FILE_NAME, (time.time() - age_seconds,) * 2)
    _, python, *arguments = SERVICES["forward"]["healthcheck"]["test"]
    check = [argument.replace("/state/", f"{tmp_path}/") for argument in arguments]

    assert python == "python"
    assert subprocess.run([sys.executable, *check], capture_output=True, timeout=120).returncode == code


def test_what_says_whether_a_role_is_well_is_asked_at_a_path_that_is_served():
    image = re.search(r"HEALTH_URL=(\S+)", (DEPLOY.parent / "Dockerfile").read_text())[1]
    monitor = SERVICES["monitor-1"]["environment"]["HEALTH_URL"]
    gateway_paths = (DEPLOY.parent / "gateway" / "endpoints.py").read_text()
    monitor_paths = (DEPLOY.parent / "monitor" / "pages" / "http.py").read_text()

    assert f'"{urllib.parse.urlsplit(image).path}"' in gateway_paths
    assert f'"{urllib.parse.urlsplit(monitor).path}"' in monitor_paths
    assert urllib.parse.urlsplit(image).port == Settings().http_port
    assert urllib.parse.urlsplit(monitor).port == Settings().monitor_port
