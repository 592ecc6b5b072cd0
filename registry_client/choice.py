"""Which registry an address means: an MLflow server where it is a URL, else a folder.

Enters: the setting, where the cache is, and the environment, in which MLflow's own clients look for credentials. Leaves: a
client, not yet connected. `InvalidSettings` where the address or the credentials make no sense; never shows a secret.
"""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, urlsplit

from contracts.errors import InvalidSettings
from registry_client.folder import FolderRegistry
from registry_client.limits import Limits
from registry_client.registry import RegistryClient

if TYPE_CHECKING:
    from registry_client.mlflow_rest import MlflowRest
    from registry_client.mlflow_tags import MlflowTags

USERNAME: Final = "MLFLOW_TRACKING_USERNAME"
PASSWORD: Final = "MLFLOW_TRACKING_PASSWORD"  # noqa: S105  the name of a variable
TOKEN: Final = "MLFLOW_TRACKING_TOKEN"  # noqa: S105  likewise
AUTHORITIES: Final = "MLFLOW_TRACKING_SERVER_CERT_PATH"
WORKSPACE: Final = "MLFLOW_WORKSPACE"
WORKSPACE_HEADER: Final = "X-MLFLOW-WORKSPACE"


def open_registry(address: str, cache: Path, environment: Mapping[str, str]) -> RegistryClient:
    """The client of the registry at `address`, an `http:` or `https:` URL or the path of a folder."""
    if not is_url(address):
        return FolderRegistry(Path(address), cache)
    # httpx takes a quarter of a second to import, and a folder does not need it
    from registry_client.cache import VersionCache  # noqa: PLC0415
    from registry_client.mlflow import MlflowRegistry  # noqa: PLC0415

    url, workspace, limits = _checked(address), environment.get(WORKSPACE, ""), Limits()
    apart = hashlib.sha256(f"{url} {workspace}".encode()).hexdigest()[:16]
    return MlflowRegistry(_rest(url, environment, limits), VersionCache(cache, limits, apart), limits)


def open_tags(address: str, environment: Mapping[str, str]) -> "MlflowTags":
    """The writer of tags at `address`; InvalidSettings where that is a folder, which has none."""
    if not is_url(address):
        raise InvalidSettings(f"registry = {address[:200]!r}: a folder has no tags; only an MLflow server does")
    from registry_client.mlflow_tags import MlflowTags  # noqa: PLC0415  httpx, as above

    return MlflowTags(_rest(_checked(address), environment, Limits()))


def _rest(url: str, environment: Mapping[str, str], limits: Limits) -> "MlflowRest":
    from registry_client.mlflow_rest import Access, MlflowRest  # noqa: PLC0415  httpx, as above

    workspace = environment.get(WORKSPACE, "")
    headers = _credentials(environment) | ({WORKSPACE_HEADER: _printable(WORKSPACE, workspace)} if workspace else {})
    return MlflowRest(Access(url=url, headers=headers, cafile=environment.get(AUTHORITIES) or None), limits)


def is_url(address: str) -> bool:
    """Whether an address is that of a server; InvalidSettings where it is a URL of which nobody knows what to do with it."""
    scheme, separator, _ = address.partition("://")
    if not separator:
        return False
    if scheme.lower() not in {"http", "https"}:
        raise InvalidSettings(
            f"registry = {scheme[:40]}://...: must be a folder, or the http:// or https:// of an MLflow server"
        )
    return True


def _checked(address: str) -> str:
    try:
        parts: SplitResult = urlsplit(address)
        named = bool(parts.hostname) and parts.port != 0
    except ValueError:
        named = False
        parts = urlsplit("")
    torn = "@" in address and (not named or parts.query or parts.fragment)  # a password may hold / ? # :
    if parts.username is not None or parts.password is not None or torn:
        # not shown: it may hold a password
        raise InvalidSettings(f"registry holds credentials: put them into {USERNAME} and {PASSWORD}")
    if not named or parts.query or parts.fragment or not address.isprintable() or " " in address:
        raise InvalidSettings(
            f"registry = {address[:200]!r}: write it as http://host:5000, with a path where MLflow has one"
        )
    return address.rstrip("/")


def _credentials(environment: Mapping[str, str]) -> dict[str, str]:
    username, password = environment.get(USERNAME, ""), environment.get(PASSWORD, "")
    if bool(username) != bool(password):
        missing = PASSWORD if username else USERNAME
        raise InvalidSettings(f"{missing} is not set, and the other of {USERNAME} and {PASSWORD} is: set both or none")
    if username:
        pair = base64.b64encode(f"{username}:{password}".encode()).decode()
        return {"authorization": f"Basic {pair}"}
    token = environment.get(TOKEN, "")
    return {"authorization": f"Bearer {_printable(TOKEN, token)}"} if token else {}


def _printable(name: str, value: str) -> str:
    """A value that can stand in a header."""
    if not (value.isascii() and value.isprintable()):
        raise InvalidSettings(f"{name} holds characters that cannot be sent in a header: only printable ASCII can")
    return value
