"""Named tensors as V2 JSON carries them: one compiled type a datatype, and what counts as an element of each.

Enters: element values. Leaves: tensors whose data is a flat, row-major list of exactly the values sent, or the reason why
a value is no element. Never coerces: 1.9 is not an INT64, 1 is no BOOL, "1" is no FP32; null is let through, because
whether it is allowed is the model's to say. Numbers for a floating datatype round to the nearest one, as every JSON
number does; those that would round to an infinity are refused.
"""

from collections.abc import Mapping
from sys import float_info
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final

from msgspec import UNSET, Meta, Struct, UnsetType, defstruct

from contracts.datatypes import FLOATS
from gateway.protocol.wording import Beyond

RANK_MAX: Final = 32
DIMENSION_MAX: Final = 2**31 - 1
PARAMETERS_MAX: Final = 64

FLOAT_LIMITS: Final = MappingProxyType({"FP16": 65520.0, "FP32": 3.4028235677973366e38, "FP64": float("inf")})
"""The least magnitude that rounds to an infinity: half a step above the greatest finite value (IEEE 754, ties to even)."""

INTEGER_BOUNDS: Final = MappingProxyType(
    {f"INT{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)}
    | {f"UINT{bits}": (0, 2**bits - 1) for bits in (8, 16, 32, 64)}
)

Dimension = Annotated[int, Meta(ge=1, le=DIMENSION_MAX)]
Shape = Annotated[list[Dimension], Meta(min_length=1, max_length=RANK_MAX)]
Parameters = Annotated[dict[str, str | int | float | bool], Meta(max_length=PARAMETERS_MAX)]


class Tensor(Struct, tag_field="datatype", gc=False, kw_only=True):
    """One tensor. `data` is flat and row-major with one value for each element of `shape`, null being None; where a large
    request holds nothing but numbers it is an array [n] of the datatype's own type.
    """

    datatype: ClassVar[str]
    name: str
    shape: Shape
    data: Any
    parameters: Parameters | UnsetType | None = UNSET


def wrong_element(datatype: str, value: Any) -> str | None:
    """Why `value` is no element of `datatype`, as the end of a sentence; None where it is one. None itself passes."""
    if value is None:
        return None
    if datatype in INTEGER_BOUNDS:
        return _wrong_integer(datatype, value)
    if datatype in FLOATS:
        return _wrong_float(datatype, value)
    if type(value) is (bool if datatype == "BOOL" else str):
        return None
    return "is not a BOOL: send true or false" if datatype == "BOOL" else "is not a BYTES element: send a string"


def _wrong_integer(datatype: str, value: Any) -> str | None:
    low, high = INTEGER_BOUNDS[datatype]
    if type(value) is int and low <= value <= high:
        return None
    if type(value) is int or isinstance(value, Beyond):
        return f"is out of range for {datatype}: {low} to {high}"
    return f"is not {'a' if datatype.startswith('U') else 'an'} {datatype}"


def _wrong_float(datatype: str, value: Any) -> str | None:
    if type(value) is int or type(value) is float:
        try:
            if abs(float(value)) < FLOAT_LIMITS[datatype]:
                return None
        except OverflowError:
            pass
    elif not isinstance(value, Beyond):
        return f"is not an {datatype}"
    limit = min(FLOAT_LIMITS[datatype], float_info.max)
    return f"is out of range for {datatype}: its magnitude must be below {limit:.7g}"


def _refuse_above_uint64(tensor: Tensor) -> None:
    """The one bound that the decoder cannot hold itself: its own reach no further than 2^63 - 1."""
    if isinstance(tensor.data, list) and any(value is not None and value >= 2**64 for value in tensor.data):
        raise ValueError("out of range for UINT64")


def _element_type(datatype: str) -> Any:
    """The type that the decoder checks an element against."""
    if datatype in INTEGER_BOUNDS:
        low, high = INTEGER_BOUNDS[datatype]
        return Annotated[int, Meta(ge=low) if datatype == "UINT64" else Meta(ge=low, le=high)]
    if datatype == "FP64":
        return float
    if datatype in FLOATS:
        limit = FLOAT_LIMITS[datatype]
        return Annotated[float, Meta(gt=-limit, lt=limit)]
    return bool if datatype == "BOOL" else str


def _tensor_type(datatype: str) -> type[Tensor]:
    namespace: dict[str, Any] = {"datatype": datatype}
    if datatype == "UINT64":
        namespace["__post_init__"] = _refuse_above_uint64
    data: Any = list[_element_type(datatype) | None]  # type: ignore[misc]
    made: type[Any] = defstruct(
        datatype,
        [("data", data)],
        bases=(Tensor,),
        tag=datatype,
        kw_only=True,
        gc=False,
        namespace=namespace,
    )
    return made


TENSOR_OF: Final[Mapping[str, type[Tensor]]] = MappingProxyType(
    {datatype: _tensor_type(datatype) for datatype in ("BOOL", *INTEGER_BOUNDS, *FLOAT_LIMITS, "BYTES")}
)
"""The compiled type of each datatype: its decoder refuses whatever `wrong_element` does."""
