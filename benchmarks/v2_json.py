"""What one request costs in the rooms of the data plane that see its JSON: bytes -> tensors -> arrays -> features -> bytes.

Enters: nothing. Leaves: a table of microseconds a request, the best of many short rounds of a single process on one core.
Not measured: HTTP, the model, the log. The request is a flight of thirteen inputs, as the demo sends it.

    python -m benchmarks.v2_json
"""

import sys
import timeit
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from contracts.prediction import Output
from contracts.signature import Signature, TensorSpec
from gateway.models.inputs import Feeds, Fitted, check_names, fit, gather, union_of
from gateway.models.run import Ran, parts_of
from gateway.protocol.v2 import decode_infer, encode_infer

ROUNDS: Final = 100
CALLS: Final = 200
BATCH: Final = 16
BUDGET_US: Final = {"decode, names, fit": 10.0, "encode": 3.0}

FLIGHT: Final = {
    "carrier": ("BYTES", "UA"),
    "origin": ("BYTES", "EWR"),
    "dest": ("BYTES", "IAH"),
    "weekday": ("INT64", 0),
    "hour": ("INT64", 5),
    "scheduled_minutes": ("INT64", 227),
    "distance": ("FP32", 1400.0),
    "temp": ("FP32", 39.02),
    "humid": ("FP32", 64.43),
    "wind_speed": ("FP32", 12.65858),
    "precip": ("FP32", 0.0),
    "pressure": ("FP32", 1011.9),
    "visib": ("FP32", 10.0),
}
SIGNATURE: Final = Signature(
    inputs=tuple(
        TensorSpec(name=name, datatype=datatype, shape=(-1, 1), nullable=datatype == "FP32")
        for name, (datatype, _) in FLIGHT.items()
    ),
    outputs=(TensorSpec(name="probability", datatype="FP32", shape=(-1, 1)),),
)


def body(rows: int = 1, *, nested: bool = False, null: bool = False) -> bytes:
    """A request of so many equal rows."""
    inputs = []
    for name, (datatype, value) in FLIGHT.items():
        sent: Any = None if null and name == "temp" else value
        data = [[sent]] * rows if nested else [sent] * rows
        inputs.append({"name": name, "shape": [rows, 1], "datatype": datatype, "data": data})
    parameters = {"event_time": "2013-04-01T12:00:00Z", "routing_key": "N14228"}
    return msgspec.json.encode({"parameters": parameters, "inputs": inputs})


def microseconds(call: Callable[[], Any], calls: int = CALLS) -> float:
    """The best round's time of one call: what it costs when nothing else disturbs."""
    return min(timeit.repeat(call, number=calls, repeat=ROUNDS)) / calls * 1e6


def fitted_of(content: bytes) -> Fitted:
    """A request that must fit."""
    fitted = fit(decode_infer(content), SIGNATURE)
    assert isinstance(fitted, Fitted)
    return fitted


def cut(feeds: Feeds, batch: Sequence[Fitted]) -> None:
    """What records and replies need of a run, cut out of its arrays."""
    arrays = [np.zeros((len(batch), 1), np.float32)]
    for part in parts_of(SIGNATURE, feeds, arrays, batch, [0] * len(batch), 0, "v"):
        assert isinstance(part, Ran)
        part.sections()
        _ = part.outputs


def measure() -> dict[str, float]:
    """Microseconds a request of each step."""
    plain, union = body(), union_of([SIGNATURE])
    request, batch = decode_infer(plain), [fitted_of(plain)] * BATCH
    alone, together = gather(batch[:1], SIGNATURE), gather(batch, SIGNATURE)
    outputs = {"probability": Output(datatype="FP32", shape=[1, 1], data=[0.12345678])}
    answer = {"prediction_id": "01960c5e-7b5e-7c3e-8a9d-2f6f0c1d2e3f", "variant": "champion"}
    nested, null, rows = body(nested=True), body(null=True), body(256)
    null_request = decode_infer(null)

    def whole() -> None:
        decoded = decode_infer(plain)
        check_names(decoded, union)
        fit(decoded, SIGNATURE)

    return {
        "decode, names, fit": microseconds(whole),
        "decode": microseconds(lambda: decode_infer(plain)),
        "decode, one null": microseconds(lambda: decode_infer(null)),
        "decode, nested data": microseconds(lambda: decode_infer(nested)),
        "decode, 256 rows": microseconds(lambda: decode_infer(rows), 10),
        "check names": microseconds(lambda: check_names(request, union)),
        "fit": microseconds(lambda: fit(request, SIGNATURE)),
        "fit, one null": microseconds(lambda: fit(null_request, SIGNATURE)),
        "gather, alone": microseconds(lambda: gather(batch[:1], SIGNATURE)),
        f"gather, {BATCH} together": microseconds(lambda: gather(batch, SIGNATURE), 20) / BATCH,
        "record and reply, alone": microseconds(lambda: cut(alone, batch[:1])),
        f"record and reply, {BATCH} together": microseconds(lambda: cut(together, batch), 20) / BATCH,
        "encode": microseconds(lambda: encode_infer("flight-delay", "1", "abc", outputs, answer)),
    }


def main() -> None:
    """Print the table; a budget that is exceeded is marked."""
    print(f"microseconds a request of {len(body())} bytes, Python {sys.version.split()[0]}, best of {ROUNDS} rounds")
    for step, cost in measure().items():
        budget = BUDGET_US.get(step)
        note = "" if budget is None else f"  budget {budget:g}{'' if cost <= budget else ': exceeded'}"
        print(f"{step:24} {cost:8.2f}{note}")


if __name__ == "__main__":
    main()
