"""A V2 JSON request as its caller wrote it, before what types cannot say was looked at."""

from typing import Annotated, NamedTuple

from msgspec import UNSET, Meta, Struct, UnsetType

from gateway.protocol.request import TENSORS_MAX
from gateway.protocol.tensors import Parameters, Tensor


class RequestedOutput(Struct, gc=False):
    """An output that the caller asks for."""

    name: str
    parameters: Parameters | UnsetType | None = UNSET


RequestedOutputs = Annotated[list[RequestedOutput], Meta(max_length=TENSORS_MAX)]


class Written(NamedTuple):
    """The members of a request; UNSET where it has none."""

    inputs: list[Tensor]
    id: str | UnsetType | None
    parameters: Parameters | UnsetType | None
    outputs: list[RequestedOutput] | UnsetType | None
