"""A graph's tensors and what `model.json` says of them -> the signature a version is served by. Pure.

Enters: names, types and shapes as onnxruntime names them, and metadata. Leaves: a signature whose first dimension is the
batch everywhere, or ModelRejected with what to change in the export. An output of unknown rank (onnxruntime infers none)
has the empty shape until the version has answered once: see `with_ranks`.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from contracts.datatypes import DATATYPE_OF_ONNX
from contracts.errors import ModelRejected
from contracts.metadata import InputMetadata, ModelMetadata
from contracts.signature import Signature, TensorSpec
from contracts.task import Task

FREE: Final = -1


class GraphTensor(NamedTuple):
    """One tensor as onnxruntime tells it: a free dimension is a name or None; unknown rank looks like a scalar, []."""

    name: str
    type: str
    shape: Sequence[int | str | None]


def signature_of(inputs: Sequence[GraphTensor], outputs: Sequence[GraphTensor], metadata: ModelMetadata) -> Signature:
    """The signature, or ModelRejected naming the tensor."""
    if not inputs:
        raise ModelRejected("the graph has no inputs: there is nothing to predict from")
    specs = {tensor.name: _spec("input", tensor) for tensor in inputs}
    for spec in specs.values():
        if not spec.shape:
            raise ModelRejected(
                f"input {spec.name!r} is a scalar or of unknown rank: export it as [n, ...], the batch first"
            )
    for said in metadata.inputs:
        if said.name not in specs:
            raise ModelRejected(f"model.json describes the input {said.name!r}, but the graph has {_listed(inputs)}")
        specs[said.name] = _described(specs[said.name], said)
    signature = Signature(inputs=tuple(specs.values()), outputs=tuple(_spec("output", tensor) for tensor in outputs))
    if batch_max_of(signature) is None:
        _refuse_fixed_outputs(signature.outputs)
    if metadata.task is not None:
        _check_task(metadata.task, {spec.name: spec for spec in signature.outputs})
    return signature


def batch_max_of(signature: Signature) -> int | None:
    """How many rows one run may have: 1 where an input is fixed to one row, None where the batch is free."""
    return 1 if any(spec.shape[0] == 1 for spec in signature.inputs) else None


def with_ranks(signature: Signature, ranks: Sequence[int]) -> Signature:
    """The signature with the rank of each output as it was seen: dimensions that the graph does not tell are free."""
    outputs = (
        msgspec.structs.replace(spec, shape=spec.shape or (FREE,) * rank)
        for spec, rank in zip(signature.outputs, ranks, strict=True)
    )
    return msgspec.structs.replace(signature, outputs=tuple(outputs))


def _spec(role: str, tensor: GraphTensor) -> TensorSpec:
    datatype = DATATYPE_OF_ONNX.get(tensor.type)
    if datatype is None:
        raise ModelRejected(f"{role} {tensor.name!r} is {tensor.type}: {_advice(tensor.type)}")
    shape = tuple(size if isinstance(size, int) else FREE for size in tensor.shape)
    if role == "input" and shape and shape[0] not in {FREE, 1}:
        raise ModelRejected(
            f"input {tensor.name!r} is fixed to {shape[0]} rows: export it with a free first dimension, or with 1"
        )
    if 0 in shape:
        raise ModelRejected(f"{role} {tensor.name!r} has the shape {list(shape)}: it can never hold a value")
    return TensorSpec(name=tensor.name, datatype=datatype, shape=shape)


def _advice(onnx_type: str) -> str:
    if onnx_type.startswith("seq(map("):
        return "only maps of int64 or string to float can be served; export the classifier with zipmap=False"
    if onnx_type.startswith("tensor("):
        return f"only {', '.join(DATATYPE_OF_ONNX.values())} can be served"
    return "only tensors can be served"


def _described(spec: TensorSpec, said: InputMetadata) -> TensorSpec:
    """The tensor with what metadata says of it. Whether it can have features and nulls, `gateway.models.intake` checks."""
    if said.null_value is not None and not said.nullable:
        raise ModelRejected(f"model.json gives input {spec.name!r} a null_value but does not make it nullable")
    shape = spec.shape
    if said.features and len(shape) == 2 and shape[1] == FREE:
        shape = (shape[0], len(said.features))
    return TensorSpec(
        name=spec.name,
        datatype=spec.datatype,
        shape=shape,
        features=said.features,
        nullable=said.nullable,
        null_value=said.null_value,
    )


def _refuse_fixed_outputs(outputs: Sequence[TensorSpec]) -> None:
    for spec in outputs:
        if spec.shape and spec.shape[0] != FREE:
            raise ModelRejected(
                f"output {spec.name!r} is fixed to {spec.shape[0]} rows while the inputs are free: "
                "export it with the inputs' first dimension"
            )


def _check_task(task: Task, outputs: dict[str, TensorSpec]) -> None:
    spec = outputs.get(task.output)
    if spec is None:
        raise ModelRejected(
            f"model.json's task reads the output {task.output!r}, but the graph has {', '.join(outputs)}"
        )
    classes = len(task.classes)
    if task.kind == "multiclass" and len(spec.shape) == 2 and spec.shape[1] not in {FREE, classes}:
        raise ModelRejected(
            f"model.json's task has {classes} classes, but the output {task.output!r} has {spec.shape[1]} columns"
        )
    if task.kind == "binary" and not 0 <= task.positive < (classes or 2):
        raise ModelRejected(f"model.json's task has the positive class {task.positive} of {classes or 2}")


def _listed(tensors: Sequence[GraphTensor]) -> str:
    return ", ".join(repr(tensor.name) for tensor in tensors)
