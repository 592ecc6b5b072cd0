"""What a version must be before it enters the cache: a graph that stays inside its folder, and readable metadata.

Enters: a private copy of the version's files. Leaves: its metadata, or ModelRejected with the reason. Whether the graph
can be loaded and run is not asked here.
"""

from mmap import ACCESS_READ, mmap
from pathlib import Path

from contracts.errors import InvalidRecord, ModelRejected
from contracts.metadata import ModelMetadata
from contracts.wire import decode
from registry_client.external_data import check_external_data
from registry_client.limits import Limits

GRAPH = "model.onnx"
METADATA = "model.json"
EXAMPLE = "input_example.json"
MLMODEL = "MLmodel"
MLMODEL_BYTES_MAX = 2**20


def vet(folder: Path, limits: Limits) -> ModelMetadata:
    """The metadata of the version in `folder`, empty where it has none; ModelRejected where it must not be served."""
    file_bytes = {
        path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()
    }
    check_sizes(file_bytes, limits)
    if not file_bytes[GRAPH]:
        raise ModelRejected(f"{GRAPH} is empty")
    with (folder / GRAPH).open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as graph:
        check_external_data(graph, file_bytes)
    return read_metadata(folder)


def check_sizes(file_bytes: dict[str, int], limits: Limits) -> None:
    """Refuse a version without a graph or with files over the limits, before anything of it is read."""
    if GRAPH not in file_bytes:
        raise ModelRejected(f"has no {GRAPH}")
    caps = {GRAPH: limits.graph_bytes_max, METADATA: limits.document_bytes_max, EXAMPLE: limits.document_bytes_max}
    caps[MLMODEL] = MLMODEL_BYTES_MAX
    for path, bytes_max in caps.items():
        if file_bytes.get(path, 0) > bytes_max:
            raise ModelRejected(f"{path} has {file_bytes[path]} bytes; at most {bytes_max} are accepted")
    total = sum(file_bytes.values())
    if total > limits.version_bytes_max:
        raise ModelRejected(f"its files have {total} bytes; at most {limits.version_bytes_max} are accepted")


def read_metadata(folder: Path) -> ModelMetadata:
    """What `model.json` in `folder` says, else what an `MLmodel` there says; the empty metadata where there is neither."""
    path = folder / METADATA
    if not path.exists():
        return _mlmodel_metadata(folder)
    try:
        metadata = decode(ModelMetadata, path.read_bytes())
    except InvalidRecord as error:
        raise ModelRejected(f"{METADATA} is {error}") from None
    names = [tensor.name for tensor in metadata.inputs]
    if len(set(names)) != len(names):
        raise ModelRejected(f"{METADATA} names an input twice: {names}")
    return metadata


def _mlmodel_metadata(folder: Path) -> ModelMetadata:
    path = folder / MLMODEL
    if not path.exists():
        return ModelMetadata()
    # few versions have one, and a YAML parser takes long to import
    from registry_client.graph_inputs import graph_inputs  # noqa: PLC0415
    from registry_client.mlmodel import decode_mlmodel, metadata_of  # noqa: PLC0415

    packaging = decode_mlmodel(path.read_bytes())
    if not packaging.columns:
        return packaging.metadata or ModelMetadata()
    with (folder / GRAPH).open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as graph:
        return metadata_of(packaging, graph_inputs(graph))
