"""What the gate's tests sell: four versions of a model, rows to judge them on, and a suite that asks everything."""

import json

import numpy as np
import pandas as pd

MODEL = "flight-delay"
METADATA = {
    "inputs": [{"name": "carrier", "nullable": True, "null_value": "?"}],
    "task": {"kind": "binary", "output": "p", "threshold": 0.5},
}
NOBODY = "http://127.0.0.1:1"
SUITE = """
data = "rows.csv"
label = "late"

[headline]
metric = "auc"
epsilon = 0.005

[[slices]]
feature = "carrier"
worse_by_max = 0.05

[calibration]
ece_max = 0.05

[[fairness]]
feature = "region"
rate = "positive_rate"
difference_max = 0.15

[size]
bytes_max = 100_000

[[behaviours]]
name = "an hour late already is late"
inputs = { delay = 60.0, noise = 0.0, carrier = "AA" }
low = 0.95

[[behaviours]]
name = "an hour early is in time"
inputs = { delay = -60, noise = 0 }
label = 0
"""


def stock(shop, graphs):
    """Versions of p = sigmoid(delay / 10 + noise * u): 1 the champion, 2 as good, 3 worse, 4 one that answers NaN."""
    node, value = graphs.node, graphs.value
    for version, noise in (("1", 0.0), ("2", 1e-6), ("3", 0.1), ("4", np.nan)):
        graph = graphs.model(
            [
                node("Mul", ["delay", "w"], ["a"]),
                node("Mul", ["noise", "u"], ["b"]),
                node("Add", ["a", "b"], ["z"]),
                node("Sigmoid", ["z"], ["p"]),
            ],
            [value("delay", ["n", 1]), value("noise", ["n", 1]), value("carrier", ["n", 1], "BYTES")],
            [value("p", ["n", 1])],
            [graphs.constant("w", [0.1]), graphs.constant("u", [noise])],
        )
        folder = shop / "models" / MODEL / version
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(graph.SerializeToString())
        (folder / "model.json").write_text(json.dumps(METADATA))
    (shop / "models" / MODEL / "aliases.json").write_text('{"champion": "1"}')
    rows(3000).to_csv(shop / "rows.csv", index=False)
    (shop / "suite.toml").write_text(SUITE)


def rows(n):
    random = np.random.default_rng(0)
    delay = random.normal(0, 20, n)
    return pd.DataFrame(
        {
            "delay": delay,
            "noise": random.normal(0, 20, n),
            "carrier": random.choice(["AA", "NA", None], n),
            "region": random.choice(["north", "south"], n),
            "late": (random.random(n) < 1 / (1 + np.exp(-delay / 10))).astype(int),
        }
    )
