"""A run's parts, as tests look at them: what the record of each request says, and what its reply gets."""

import numpy as np

from contracts.datatypes import NUMPY_OF
from contracts.signature import Signature
from gateway.models.inputs import Feeds, Fitted
from gateway.models.run import Ran, parts_of
from prediction_log.compact import Layout, pack, prefix_of
from prediction_log.expansion import expand

PREDICTION_ID = "0190b8a0-0000-7000-8000-000000000001"


def features_of_batch(feeds, batch, version):
    """Each request's features as its record holds them, written and read back."""
    rows = sum(fitted.rows for fitted in batch)
    arrays = [
        np.zeros((rows, *[abs(size) for size in spec.shape[1:]]), NUMPY_OF[spec.datatype]) for spec in version.outputs
    ]
    parts = parts_of(version, feeds, arrays, batch, [0] * len(batch), 5, "version 2 of 'm'")
    return [expand(payload_of(part)).features for part in parts]


def payload_of(part):
    """A compact record of this part, of some model."""
    assert isinstance(part, Ran), part
    layout = Layout(
        model="m", version="2", digest="d", variant="champion", role="champion", revision=1, salt="s", share=1.0, worker="w",
        gateway_version="0", features=part.run.form.features, outputs=part.run.form.outputs,
    )  # fmt: skip
    fixed = (PREDICTION_ID.encode(), 1, 2, 3, 1.0, 0, 5, 6, part.stop - part.start, part.run.rows, 0, 0, 1)
    return prefix_of(layout) + pack(fixed, b"", part.sections())


def split_outputs(specs, arrays, rows, label):
    """Each request's outputs by name, or why it has none."""
    batch = [Fitted(count, [], (), (), []) for count in rows]
    parts = parts_of(Signature(inputs=(), outputs=tuple(specs)), Feeds([]), arrays, batch, [0] * len(batch), 5, label)
    return [part.outputs if isinstance(part, Ran) else part for part in parts]
