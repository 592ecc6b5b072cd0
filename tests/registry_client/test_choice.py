"""A URL is an MLflow server, anything else a folder; credentials come from the environment and are never shown."""

import base64

import pytest

from contracts.errors import InvalidSettings
from registry_client.choice import open_registry
from registry_client.folder import FolderRegistry
from registry_client.mlflow import MlflowRegistry


def headers(tmp_path, **environment):
    return open_registry("http://host:5000", tmp_path, environment)._rest._access.headers


@pytest.mark.parametrize("address", ["models", "/srv/models", "./http", "models:v1", "http:models"])
def test_a_path_is_a_folder(tmp_path, address):
    assert isinstance(open_registry(address, tmp_path, {}), FolderRegistry)


@pytest.mark.parametrize("address", ["http://host:5000", "https://host", "HTTPS://host/mlflow/", "http://[::1]:5000"])
def test_a_url_is_an_mlflow_server(tmp_path, address):
    registry = open_registry(address, tmp_path, {})

    assert isinstance(registry, MlflowRegistry)
    assert registry._rest._access.url == address.rstrip("/")


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("s3://bucket", "must be a folder, or the http:// or https:// of an MLflow server"),
        ("file:///srv", "must be a folder"),
        ("http://", "write it as http://host:5000"),
        ("http://host:port", "write it as http://host:5000"),
        ("http://host?x=1", "write it as http://host:5000"),
        ("http://ho st", "write it as http://host:5000"),
        ("http://user:secret@host:port", "put them into MLFLOW_TRACKING_USERNAME"),
        ("http://user:1?secret@host", "put them into MLFLOW_TRACKING_USERNAME"),
        ("http://user:p/secret@host", "put them into MLFLOW_TRACKING_USERNAME"),
        ("http://user:secret@[host", "put them into MLFLOW_TRACKING_USERNAME"),
        ("http://user:secret@host", "put them into MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"),
    ],
)
def test_an_address_that_makes_no_sense_is_refused(tmp_path, address, reason):
    with pytest.raises(InvalidSettings) as caught:
        open_registry(address, tmp_path, {})
    assert reason in str(caught.value)
    assert "secret" not in str(caught.value)


def test_credentials_and_workspace_come_from_the_environment(tmp_path):
    basic = base64.b64encode("u:pä".encode()).decode()

    assert headers(tmp_path) == {}
    both = {"MLFLOW_TRACKING_USERNAME": "u", "MLFLOW_TRACKING_PASSWORD": "pä", "MLFLOW_TRACKING_TOKEN": "t"}
    assert headers(tmp_path, **both) == {"authorization": f"Basic {basic}"}
    assert headers(tmp_path, MLFLOW_TRACKING_TOKEN="t") == {"authorization": "Bearer t"}
    assert headers(tmp_path, MLFLOW_WORKSPACE="team-a") == {"X-MLFLOW-WORKSPACE": "team-a"}


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"MLFLOW_TRACKING_USERNAME": "u"}, "MLFLOW_TRACKING_PASSWORD is not set"),
        ({"MLFLOW_TRACKING_PASSWORD": "hidden"}, "MLFLOW_TRACKING_USERNAME is not set"),
        ({"MLFLOW_TRACKING_TOKEN": "hidden\n"}, "MLFLOW_TRACKING_TOKEN holds characters"),
        ({"MLFLOW_WORKSPACE": "hiddén"}, "MLFLOW_WORKSPACE holds characters"),
    ],
)
def test_credentials_that_make_no_sense_are_refused_and_not_shown(tmp_path, environment, reason):
    with pytest.raises(InvalidSettings) as caught:
        headers(tmp_path, **environment)
    assert reason in str(caught.value)
    assert "hidd" not in str(caught.value)


def test_what_is_known_of_two_servers_is_kept_apart(tmp_path):
    addresses = [("http://a:1", {}), ("http://b:1", {}), ("http://a:1", {"MLFLOW_WORKSPACE": "w"})]

    roots = {open_registry(address, tmp_path, env)._cache._known_root for address, env in addresses}
    assert len(roots) == 3
