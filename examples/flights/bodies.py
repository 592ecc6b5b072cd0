"""A flight as a V2 inference request, and labels as the body of `POST /v2/labels`.

Enters: plain values. Leaves: JSON bytes. Never sends anything.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from contracts.moment import format_moment
from examples.flights.data import STRINGS, WHOLE_NUMBERS
from examples.flights.labels import PlannedLabel
from examples.flights.sampling import Flight

_DATATYPES: Final = dict.fromkeys(STRINGS, "BYTES") | dict.fromkeys(WHOLE_NUMBERS, "INT64")


def infer_body(number: int, flight: Flight) -> bytes:
    """One row with every input that any version may ask for. The aircraft is the routing key; where it is not known the
    gateway falls back to the id: the flight's number in the sample.
    """
    parameters = {"event_time": format_moment(flight.departs_us)}
    if flight.aircraft is not None:
        parameters["routing_key"] = flight.aircraft
    inputs = [tensor(name, value) for name, value in flight.inputs.items()]
    return msgspec.json.encode({"id": f"flight-{number}", "parameters": parameters, "inputs": inputs})


def tensor(name: str, value: str | float | None) -> dict[str, Any]:
    """A V2 input tensor of one row; measurements are single precision, a missing one is null."""
    return {"name": name, "shape": [1, 1], "datatype": _DATATYPES.get(name, "FP32"), "data": [value]}


def labels_body(labels: Iterable[PlannedLabel], ids: Mapping[int, str]) -> bytes:
    """`ids` maps a flight's number in the sample to the prediction id that it was answered under."""
    return msgspec.json.encode(
        {
            "labels": [
                {
                    "prediction_id": ids[label.flight],
                    "label": label.label,
                    "observed_at": format_moment(label.observed_us),
                    "label_version": label.label_version,
                }
                for label in labels
            ]
        }
    )
