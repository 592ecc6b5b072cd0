"""What the gateway says of itself and of models, as V2 metadata.

Enters: names, versions, signatures. Leaves: plain values for a JSON encoder. Never asks whether anything is loaded.
"""

from collections.abc import Iterable
from typing import Any, Final

from contracts.signature import Signature, TensorSpec

PLATFORM: Final = "onnxruntime_onnx"
EXTENSIONS: Final = ("parameters",)
"""Only what is spoken: binary tensors, shared memory, sequences, classification and loading by request are not."""


def server_metadata(version: str) -> dict[str, Any]:
    """The body of `GET /v2`; `version` is the gateway's own."""
    return {"name": "pointsman", "version": version, "extensions": list(EXTENSIONS)}


def model_metadata(model: str, versions: Iterable[str], signature: Signature) -> dict[str, Any]:
    """The body of `GET /v2/models/{m}[/versions/{v}]`: `versions` are those that are ready."""
    return {
        "name": model,
        "versions": list(versions),
        "platform": PLATFORM,
        "inputs": [_tensor_metadata(spec) for spec in signature.inputs],
        "outputs": [_tensor_metadata(spec) for spec in signature.outputs],
    }


def model_ready(model: str, *, ready: bool) -> dict[str, Any]:
    """The body of `GET /v2/models/{m}[/versions/{v}]/ready`; KServe's client reads `ready`, tritonclient the status."""
    return {"name": model, "ready": ready}


def _tensor_metadata(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}
