"""Where an MLflow version's files are, and how they come into a folder of ours in the layout that is served.

Enters: the address of its artifacts as MLflow tells it, and an empty private folder. Leaves: the files in it, `model.onnx`
and `input_example.json` under these names. We never open an address ourselves: the server reads its storage and we ask the
server, through its artifact proxy (`mlflow-artifacts:`), or, where it keeps files elsewhere, through what its pages use.

The names under which files are placed are part of a version's digest: the same artifacts must give the same names in every
release.
"""

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote, urlsplit

from contracts.errors import ModelRejected, NotFound, RegistryUnavailable
from registry_client.limits import Limits
from registry_client.mlflow_answers import Entry, Listing, OneRun, Version
from registry_client.mlflow_rest import API, MlflowRest
from registry_client.mlmodel import Packaging, decode_mlmodel
from registry_client.names import is_file_name
from registry_client.vetting import EXAMPLE, GRAPH, MLMODEL, MLMODEL_BYTES_MAX, check_sizes

PROXY: Final = "/api/2.0/mlflow-artifacts/artifacts"
STORED: Final = "/model-versions/get-artifact"
SERVERS_STORAGE: Final = frozenset(
    {"", "s3", "gs", "r2", "wasb", "wasbs", "abfs", "abfss", "adl", "oss", "hdfs", "viewfs"}
)
"""Schemes that the server may read for us; the empty one is a path on the server's disk."""
LOGGED_MODEL: Final = re.compile(r"models:/(m-[0-9a-f]{32})\Z")
REFERENCE: Final = "reference.json"
PAGES_MAX: Final = 100
FILE_TRIES: Final = 3
LOCATION_CHARS: Final = 120


class Shelf(NamedTuple):
    """How the files of one version are asked for: at `list_path`, by the folder `root`. `listed_root` is what listed paths
    begin with. `download` and `parameters` fetch one file.
    """

    list_path: str
    list_key: str
    list_parameters: Mapping[str, str]
    root: str
    listed_root: str
    download: str
    parameters: Mapping[str, str]

    def file(self, path: str) -> tuple[str, dict[str, str]]:
        """Path and parameters with which the file `path` of the version is fetched."""
        if self.parameters:
            return self.download, {**self.parameters, "path": path}
        return f"{self.download}/{quote(f'{self.root}/{path}')}", {}


async def shelf_of(rest: MlflowRest, version: Version, address: str) -> Shelf:
    """Where the files of a version are that lie at `address`; ModelRejected where that is no place to fetch from."""
    parts = urlsplit(address)
    if parts.scheme == "mlflow-artifacts":
        if parts.netloc:
            raise ModelRejected(
                f"its files lie at another server ({address[:LOCATION_CHARS]!r}): register them at this one"
            )
        root = _clean(parts.path.lstrip("/"), address)
        return Shelf(PROXY, "path", {}, root, "", PROXY, {})
    if parts.scheme not in SERVERS_STORAGE:
        raise ModelRejected(f"its files lie at {address[:LOCATION_CHARS]!r}, from where nothing is fetched")
    named = {"name": version.name, "version": version.version}
    logged = LOGGED_MODEL.match(version.source or "")
    if logged:
        listing = f"{API}logged-models/{logged[1]}/artifacts/directories"
        return Shelf(listing, "artifact_directory_path", {}, "", "", STORED, named)
    if not version.run_id:
        raise ModelRejected(
            f"its files lie at {address[:LOCATION_CHARS]!r} and belong to no run, so MLflow does not list them: start "
            "MLflow with --serve-artifacts, or register what a run has logged"
        )
    run = await rest.ask("runs/get", {"run_id": version.run_id}, f"run {version.run_id}", OneRun)
    start = run.run.info.artifact_uri.rstrip("/") + "/"
    if not address.startswith(start):
        raise ModelRejected(
            f"its files lie at {address[:LOCATION_CHARS]!r}, outside its run's {start[:LOCATION_CHARS]!r}"
        )
    root = _clean(address.removeprefix(start), address)
    return Shelf(f"{API}artifacts/list", "path", {"run_id": version.run_id}, root, root, STORED, named)


async def list_shelf(rest: MlflowRest, shelf: Shelf, limits: Limits) -> dict[str, int]:
    """The files of a version and their sizes in bytes by path; hidden ones are passed over.

    Raises ModelRejected for a path that climbs or cannot be a file of a version, and where there are too many.
    """
    found: dict[str, int] = {}
    folders, asked = [""], 0
    while folders:
        prefix = folders.pop()
        if prefix.count("/") > limits.depth_max:
            raise ModelRejected(f"{prefix!r} lies more than {limits.depth_max} folders deep")
        asked += 1
        for entry in await list_folder(rest, shelf, prefix.removesuffix("/")):
            path = prefix + _name(shelf, prefix, entry.path)
            if path.rpartition("/")[2].startswith("."):
                continue
            if entry.is_dir:
                folders.append(path + "/")
            else:
                found[path] = _size(path, entry)
            if len(found) + len(folders) + asked > limits.files_max:
                raise ModelRejected(f"more than {limits.files_max} files in one version")
    return found


async def list_folder(rest: MlflowRest, shelf: Shelf, folder: str) -> list[Entry]:
    """The entries of one folder of a version, "" for the topmost, as the server tells them."""
    where = "/".join(filter(None, (shelf.root, folder)))
    params = {**shelf.list_parameters, shelf.list_key: where}
    question = f"list of files in {where!r}"
    entries: list[Entry] = []
    for _ in range(PAGES_MAX):
        page = await rest.ask_elsewhere(shelf.list_path, params, question, Listing)
        entries += page.files
        if not page.next_page_token:
            return entries
        params["page_token"] = page.next_page_token
    raise RegistryUnavailable(f"{rest.server} has more than {PAGES_MAX} pages for the {question}")


async def download(rest: MlflowRest, shelf: Shelf, limits: Limits, folder: Path) -> None:
    """Fetch the files of a version into the empty `folder`. OSError passes through."""
    sizes = await list_shelf(rest, shelf, limits)
    packaging = await _packaging(rest, shelf, sizes)
    places = placed(sizes, packaging)
    check_sizes({place: sizes[path] for path, place in places.items()}, limits)
    for path, place in sorted(places.items()):
        target = folder / place
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        await _fetch(rest, shelf, path, sizes[path], target)


async def fetch_document(rest: MlflowRest, shelf: Shelf, path: str, size: int) -> bytes:
    """A small file of a version that was listed with this size."""
    where, params = shelf.file(path)
    return await rest.document(where, params, repr(path), size)


def placed(paths: Mapping[str, int], packaging: Packaging | None) -> dict[str, str]:
    """Under which name each file is placed; those without are left out. Without an `MLmodel` names stay as they are.

    Raises ModelRejected where a file is not there that the MLmodel names, or two would be placed under one name.
    """
    names = {path: path for path in paths if path != REFERENCE}
    if packaging is None:
        return names
    if "/" in packaging.graph:
        raise ModelRejected(
            f"{MLMODEL}: the graph {packaging.graph!r} lies in a folder: it must lie beside the {MLMODEL}"
        )
    for path in (packaging.graph, packaging.example):
        if path is not None and path not in paths:
            raise ModelRejected(f"{MLMODEL} names {path!r}, which is not a file of the version")
    if packaging.replaced is not None:
        names.pop(packaging.replaced, None)
    names[packaging.graph] = GRAPH
    if packaging.example is not None:
        names[packaging.example] = EXAMPLE
    if len(set(names.values())) != len(names):
        raise ModelRejected(f"has a {GRAPH} or {EXAMPLE} beside those that its {MLMODEL} names: remove or rename them")
    return names


async def _packaging(rest: MlflowRest, shelf: Shelf, sizes: Mapping[str, int]) -> Packaging | None:
    size = sizes.get(MLMODEL)
    if size is None:
        return None
    if size > MLMODEL_BYTES_MAX:
        raise ModelRejected(f"{MLMODEL} has {size} bytes; at most {MLMODEL_BYTES_MAX} are accepted")
    return await asyncio.to_thread(decode_mlmodel, await fetch_document(rest, shelf, MLMODEL, size))


async def _fetch(rest: MlflowRest, shelf: Shelf, path: str, size: int, target: Path) -> None:
    """Fetch one file, from its beginning again where it breaks off: the proxy is known to let large ones go."""
    where, params = shelf.file(path)
    for tries_left in reversed(range(FILE_TRIES)):
        try:
            await rest.file(where, params, repr(path), size, target)
        except RegistryUnavailable:
            if not tries_left:
                raise
            await asyncio.to_thread(target.unlink, missing_ok=True)
        except NotFound as error:
            raise RegistryUnavailable(f"{path!r} was listed and is gone: {error}") from error
        else:
            return


def _name(shelf: Shelf, prefix: str, listed: str) -> str:
    """The last component of a listed path, which must lie directly in the folder that was asked for."""
    start = "".join(f"{part}/" for part in (shelf.listed_root, prefix.rstrip("/")) if part)
    within = shelf.list_path != PROXY
    name = listed.removeprefix(start) if within and listed.startswith(start) else listed
    if name in {"", ".", ".."} or "/" in name or (not name.startswith(".") and not is_file_name(name)):
        raise ModelRejected(
            f"the server lists {listed[:LOCATION_CHARS]!r} in {prefix or 'the topmost folder'!r}: a file's name is 1 to 255 "
            "printable ASCII characters without '\\' and cannot lead elsewhere"
        )
    return name


def _size(path: str, entry: Entry) -> int:
    if entry.file_size is None or entry.file_size < 0:
        raise ModelRejected(f"the server does not tell the size of {path!r}")
    return entry.file_size


def _clean(path: str, address: str) -> str:
    """A path in the server's storage, without ways up."""
    parts = path.rstrip("/").split("/")
    if not all(parts) or any(part in {".", ".."} or "\\" in part or not part.isprintable() for part in parts):
        raise ModelRejected(f"its files lie at {address[:LOCATION_CHARS]!r}, which is no path that can be asked for")
    return "/".join(parts)
