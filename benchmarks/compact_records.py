"""Predictions of the benchmarks -> payloads as gateways write them.

Enters: predictions of scalar features and two probabilities. Leaves: compact payloads, or JSON. Never used outside benchmarks.
"""

import numpy as np

from contracts.prediction import Prediction
from contracts.wire import encode
from prediction_log.compact import (
    REASONS,
    UNIT_SOURCES,
    FeatureBlock,
    Layout,
    OutputLayout,
    pack,
    prefix_of,
    text_section,
)


def payload_of(prediction: Prediction, *, as_json: bool = False) -> bytes:
    """What stands in the spool of this record: text features in one block, numbers as FP32 in another."""
    if as_json:
        return encode(prediction)
    columns = {name: values[0] for name, values in prediction.features.items()}
    text = {name: value for name, value in columns.items() if isinstance(value, str)}
    numbers = {name: value for name, value in columns.items() if name not in text}
    (output,) = prediction.outputs
    assignment, latency = prediction.assignment, prediction.latency
    layout = Layout(
        model=prediction.model,
        version=prediction.version,
        digest=prediction.digest,
        variant=prediction.variant,
        role=prediction.role,
        revision=prediction.revision,
        salt=assignment.salt,
        share=assignment.share,
        worker=prediction.worker,
        gateway_version=prediction.gateway_version,
        features=(
            FeatureBlock(names=tuple(text), datatype="BYTES"),
            FeatureBlock(names=tuple(numbers), datatype="FP32"),
        ),
        outputs=(OutputLayout(name=output, datatype="FP32", tail=(2,)),),
    )
    fixed = (
        *(prediction.prediction_id.encode(), prediction.received_us, prediction.event_us),
        *(int(assignment.unit_hash, 16), assignment.propensity),
        *(latency.queue_us, latency.run_us, latency.total_us, prediction.rows, prediction.batch_rows),
        *(REASONS.index(assignment.reason), UNIT_SOURCES.index(assignment.unit_source), int(prediction.answered)),
    )
    arrays = [list(numbers.values()), prediction.outputs[output].data]
    sections = [text_section(list(text.values())), *(np.array(array, "<f4").tobytes() for array in arrays)]
    return prefix_of(layout) + pack(fixed, b"", sections)
