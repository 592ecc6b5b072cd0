import json
import re
from typing import Any

import msgspec
import pytest
import yaml
from typer.testing import CliRunner

from contracts.settings import KafkaOptions, Settings
from pointsman.configuration import load_settings
from pointsman.main import app
from tests.deploy.test_compose import SERVICES as COMPOSE
from tests.deploy.validators import DEPLOY, HOUSE, documents, run

MANIFESTS = DEPLOY / "kubernetes"
KUSTOMIZATION = yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text())
OBJECTS = [found for name in KUSTOMIZATION["resources"] for found in documents(MANIFESTS / name)]
SETTINGS = next(found["data"] for found in OBJECTS if found["kind"] == "ConfigMap")
SETS = {found["metadata"]["name"]: found["spec"] for found in OBJECTS if found["kind"] == "StatefulSet"}
PODS = {name: spec["template"]["spec"] for name, spec in SETS.items()}
CONTAINERS = {
    container["name"]: (pod, container)
    for pod in PODS.values()
    for container in [*pod.get("initContainers", []), *pod["containers"]]
}


def named(kind: str) -> dict[str, Any]:
    return {found["metadata"]["name"]: found for found in OBJECTS if found["kind"] == kind}


def settings_of(container) -> Settings:
    own = {variable["name"]: variable["value"] for variable in container.get("env", [])}
    return load_settings(None, environment=SETTINGS | own)


@pytest.mark.parametrize("version", ["1.29", "1.34"])
def test_every_manifest_keeps_to_kubernetes_schemas(version):
    names = [MANIFESTS / name for name in [*KUSTOMIZATION["resources"], "secret-example.yaml"]]

    said = run("kubernetes-validate", "--kubernetes-version", version, "--strict", *names)

    assert said.count(" passed ") == len(OBJECTS) + 1


def test_every_file_is_in_the_kustomization_or_says_why_not():
    files = {path.name for path in MANIFESTS.glob("*.yaml")}
    parts = {path.name for path in (MANIFESTS / "prometheus-operator").glob("*.yaml")}
    component = yaml.safe_load((MANIFESTS / "prometheus-operator" / "kustomization.yaml").read_text())

    assert set(KUSTOMIZATION["resources"]) == files - {"kustomization.yaml", "secret-example.yaml"}
    assert "not applied" in (MANIFESTS / "secret-example.yaml").read_text()
    assert set(component["resources"]) == parts - {"kustomization.yaml"}


def test_no_manifest_names_a_namespace():
    assert all("namespace" not in found["metadata"] for found in OBJECTS)


def test_the_image_is_the_version_of_this_project():
    version = re.search(r'^version = "(.*)"', (HOUSE / "pyproject.toml").read_text(), re.MULTILINE)[1]

    assert KUSTOMIZATION["images"] == [{"name": "pointsman", "newTag": version}]
    assert {container["image"] for _, container in CONTAINERS.values()} == {"pointsman"}


@pytest.mark.parametrize("name", ["gateway", "forward", "monitor"])
def test_every_role_is_a_command_with_settings_that_exist(name):
    _, container = CONTAINERS[name]

    assert CliRunner().invoke(app, [*container["args"], "--help"]).exit_code == 0
    assert settings_of(container).kafka_options.replication_factor == 3


def test_the_example_of_a_secret_has_settings_that_exist():
    secret = documents(MANIFESTS / "secret-example.yaml")[0]["stringData"]
    options = load_settings(None, environment=SETTINGS | secret).kafka_options
    mounts = {mount["mountPath"] for _, container in CONTAINERS.values() for mount in container["volumeMounts"]}

    assert options.security_protocol == "SASL_SSL"
    assert options.partitions == msgspec.json.decode(SETTINGS["POINTSMAN_KAFKA_OPTIONS"], type=KafkaOptions).partitions
    assert str(options.ssl_cafile.parent) in mounts


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_container_has_no_rights_that_it_does_not_need(name):
    pod, container = CONTAINERS[name]

    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False


def test_pods_run_as_the_images_user():
    user = re.search(r"^USER (\d+):(\d+)$", (HOUSE / "Dockerfile").read_text(), re.MULTILINE)

    for pod in PODS.values():
        context = pod["securityContext"]
        assert (str(context["runAsUser"]), str(context["runAsGroup"])) == user.groups()
        assert context["fsGroup"] == context["runAsGroup"]


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_container_mounts_volumes_that_its_pod_has_and_can_write_state_and_tmp(name):
    pod, container = CONTAINERS[name]
    claims = [
        claim["metadata"]["name"]
        for spec in SETS.values()
        if spec["template"]["spec"] is pod
        for claim in spec["volumeClaimTemplates"]
    ]
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}

    assert {mount["name"] for mount in mounts.values()} <= {volume["name"] for volume in pod["volumes"]} | set(claims)
    assert not mounts["/state"].get("readOnly")
    assert not mounts["/tmp"].get("readOnly")


def test_the_forwarder_shares_the_gateways_disk_and_ends_after_it():
    pod, forward = CONTAINERS["forward"]
    _, gateway = CONTAINERS["gateway"]

    assert forward in pod["initContainers"]
    assert forward["restartPolicy"] == "Always"  # a sidecar: started before, stopped after
    assert [mount for mount in forward["volumeMounts"] if mount["mountPath"] == "/state"] == [
        mount for mount in gateway["volumeMounts"] if mount["mountPath"] == "/state"
    ]
    assert forward["livenessProbe"]["exec"]["command"] == COMPOSE["forward"]["healthcheck"]["test"][1:]


def test_a_pod_has_time_to_drain():
    gateway, monitor = settings_of(CONTAINERS["gateway"][1]), settings_of(CONTAINERS["monitor"][1])

    assert gateway.drain_delay_seconds >= 5
    assert PODS["pointsman-gateway"]["terminationGracePeriodSeconds"] >= (
        gateway.drain_delay_seconds + gateway.drain_timeout_seconds + 9 + 9
    )
    assert PODS["pointsman-monitor"]["terminationGracePeriodSeconds"] >= monitor.drain_timeout_seconds + 15


@pytest.mark.parametrize(
    ("name", "served"), [("gateway", "gateway/endpoints.py"), ("monitor", "monitor/pages/http.py")]
)
def test_probes_ask_paths_that_are_served_on_the_containers_port(name, served):
    _, container = CONTAINERS[name]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    settings = settings_of(container)

    assert ports == {"http": settings.http_port if name == "gateway" else settings.monitor_port}
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        probe = container[kind]["httpGet"]
        assert f'"{probe["path"]}"' in (HOUSE / served).read_text()
        assert probe["port"] == "http"


def test_every_selector_finds_its_pods():
    labels = {name: spec["template"]["metadata"]["labels"] for name, spec in SETS.items()}
    found = [(one, one["spec"]["selector"]) for one in named("Service").values()]
    found += [(one, one["spec"]["selector"]["matchLabels"]) for one in named("PodDisruptionBudget").values()]
    found += [(one, one["spec"]["podSelector"]["matchLabels"]) for one in named("NetworkPolicy").values()]
    found += [(one, one["spec"]["selector"]["matchLabels"]) for one in named("StatefulSet").values()]
    monitors = documents(MANIFESTS / "prometheus-operator" / "pod-monitors.yaml")
    found += [(one, one["spec"]["selector"]["matchLabels"]) for one in monitors]

    assert len(found) == 12
    for one, selector in found:
        owner = next(name for name in labels if one["metadata"]["name"].startswith(name))
        assert selector == labels[owner]


def test_each_set_has_the_headless_service_it_names():
    services = named("Service")

    for spec in SETS.values():
        assert services[spec["serviceName"]]["spec"]["clusterIP"] == "None"


def test_the_admin_api_is_behind_no_service_and_no_open_port():
    admin = Settings().admin_port
    services = [port["port"] for service in named("Service").values() for port in service["spec"]["ports"]]
    policies = json.dumps([policy["spec"]["ingress"] for policy in named("NetworkPolicy").values()])

    assert admin not in services
    assert str(admin) not in policies
    assert settings_of(CONTAINERS["gateway"][1]).admin_host == "127.0.0.1"


def test_the_autoscaler_owns_the_number_of_gateways():
    scaler = named("HorizontalPodAutoscaler")["pointsman-gateway"]["spec"]

    assert scaler["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "pointsman-gateway"}
    assert "replicas" not in SETS["pointsman-gateway"]
    assert scaler["metrics"][0]["containerResource"]["container"] in CONTAINERS
    assert "cpu" in CONTAINERS["gateway"][1]["resources"]["requests"]


def test_there_are_no_more_monitors_than_partitions():
    assert SETS["pointsman-monitor"]["replicas"] <= settings_of(CONTAINERS["monitor"][1]).kafka_options.partitions


def test_a_disk_with_unsent_records_outlives_its_pod():
    assert SETS["pointsman-gateway"]["persistentVolumeClaimRetentionPolicy"] == {
        "whenScaled": "Retain",
        "whenDeleted": "Retain",
    }


def test_policies_let_a_pod_reach_what_its_settings_name():
    ports = {
        port
        for entry in named("NetworkPolicy")["pointsman-gateway"]["spec"]["egress"]
        for rule in entry["ports"]
        for port in range(rule["port"], rule.get("endPort", rule["port"]) + 1)
    }
    secret = documents(MANIFESTS / "secret-example.yaml")[0]["stringData"]
    for values in (SETTINGS, secret):
        assert int(values["POINTSMAN_KAFKA"].rpartition(":")[2]) in ports
        assert int(re.search(r":(\d+)/", values["POINTSMAN_REDIS"])[1]) in ports
    assert 53 in ports
