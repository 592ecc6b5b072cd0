"""What a version takes and gives: the names, datatypes and shapes of its tensors."""

from contracts.wire import Contract


class TensorSpec(Contract, frozen=True, kw_only=True):
    """One tensor. `shape` has -1 where a dimension is free; the first dimension is the batch. `features` names the
    columns where the tensor is [n, k] and the version's metadata says so. `nullable` and `null_value` as in
    `contracts.metadata.InputMetadata`.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    features: tuple[str, ...] = ()
    nullable: bool = False
    null_value: str | None = None


class Signature(Contract, frozen=True, kw_only=True, cache_hash=True):
    """All inputs and outputs, in the graph's order. The hash is kept: what is derived from a signature is looked up by it
    on every request.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
