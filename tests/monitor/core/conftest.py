"""The world of the counting tests: builders of records, an in-memory log, and a slow oracle that counts by itself.

The oracle is plain Python over plain lists, one value at a time; it shares nothing with the monitor but the contracts and
the layout, which fix what is to be counted.
"""

import math
import random
from collections import Counter
from types import SimpleNamespace

import msgspec
import pytest

from contracts.label import Label, precedence
from contracts.metadata import ModelMetadata
from contracts.prediction import Assignment, Latency, Output, Prediction, split_row
from contracts.reference import CategoricalBins, Feature, NumericBins, Reference
from contracts.task import Slice, Task
from contracts.wire import encode
from monitor.counts.catalogue import Catalogue
from monitor.counts.consume import Consumer
from monitor.counts.join_store import STANDING, JoinStore, join_memory
from monitor.counts.layout import STATUSES, default_prediction_bins, layout_of
from monitor.counts.spool_source import SpoolCounter, SpoolSource
from monitor.counts.state import join_path, open_counts
from monitor.pages.queries import open_reader
from prediction_log.spool.reader import Entry, Position, SpoolReader
from prediction_log.spool.segment import Kind

PANE_US = 300_000_000
DAY_US = 86_400_000_000
T0 = 1_700_000_100_000_000 // DAY_US * DAY_US
HORIZON_DAYS = 2.0
SCALE = 2**20

EDGES = (-1.5, 0.0, 0.1, 2.5, 1e6)
TASKS = {
    "binary": Task(kind="binary", output="p"),
    "multiclass": Task(kind="multiclass", output="p", classes=("red", "green", 3)),
    "regression": Task(kind="regression", output="p"),
}


def uuid7(ms, tail):
    """A UUIDv7 of this millisecond."""
    number = ms << 80 | 7 << 76 | 2 << 62 | tail
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def make_reference(kind, version="1", *, reference_hash="r1", target_std=2.0):
    """Two features, two slices, and bins for the prediction."""
    task = TASKS[kind]
    numeric = NumericBins(edges=EDGES, display=(), counts=(1,) * 9, mean=0.0, std=1.0)
    category = CategoricalBins(values=("a", "b", "true", "7"), tail=("rare",), counts=(1,) * 7)
    prediction = numeric if kind == "regression" else default_prediction_bins(task)
    return Reference(
        model="m",
        version=version,
        rows=9,
        task=task,
        features=(Feature(name="x", bins=numeric), Feature(name="c", bins=category)),
        prediction=prediction,
        slices=(Slice(feature="c", values=("a", 7, True)), Slice(feature="x", values=(1,))),
        target_std=target_std,
        hash=reference_hash,
    )


def make_prediction(prediction_id, **given):
    """An answered champion record of one row, unless told otherwise."""
    event_us = given.setdefault("event_us", T0)
    defaults = {
        "request_id": None,
        "received_us": event_us,
        "model": "m",
        "version": "1",
        "digest": "d1",
        "variant": "champion",
        "role": "champion",
        "answered": True,
        "revision": 1,
        "assignment": Assignment(
            unit_hash="00", unit_source="request_id", salt="s", share=1.0, propensity=1.0, reason="hash"
        ),
        "rows": 1,
        "features": {"x": [0.1], "c": ["a"]},
        "extra_features": [],
        "outputs": {"p": Output(datatype="FP64", shape=[1, 1], data=[0.5])},
        "status": "ok",
        "error_code": None,
        "error": None,
        "fallback_from": None,
        "latency": Latency(queue_us=0, run_us=1, total_us=2),
        "batch_rows": 1,
        "worker": "w",
        "gateway_version": "0",
    }
    return Prediction(prediction_id=prediction_id, **(defaults | given))


def make_label(prediction_id, label, **given):
    """A label observed an hour after T0 and received later, unless told otherwise."""
    defaults = {"observed_us": T0 + 3_600_000_000, "received_us": T0 + 3_700_000_000}
    return Label(prediction_id=prediction_id, label=label, **(defaults | given))


def make_output(data, width):
    """`data` as a [n, width] tensor."""
    return {"p": Output(datatype="FP64", shape=[len(data) // width, width], data=data)}


def entry(log_id, seq, record):
    """A record as the log hands it out."""
    kind = Kind.PREDICTION if isinstance(record, Prediction) else Kind.LABEL
    return Entry(log_id, seq, kind, encode(record))


class MemoryLog:
    """Hands out given entries as a SpoolReader would, whatever their seqs; at None there is nothing more for one poll.
    Positions count entries handed out.
    """

    def __init__(self, entries, positions):
        self._entries = entries
        self.positions = dict(positions)
        self.findings = []

    def poll(self, records_max):
        done = self.positions["all"].offset if "all" in self.positions else 0
        taken = self._entries[done : done + records_max]
        if None in taken:
            taken = taken[: taken.index(None)]
            done += 1
        if done + len(taken):
            self.positions["all"] = Position(offset=done + len(taken))
        return taken


def make_catalogue(references, metadata=None):
    """What a registry would say; both are by (model, version)."""
    return Catalogue(
        lambda model, version: references.get((model, version)),
        lambda model, version: (metadata or {}).get((model, version)),
        refresh_us=0,
    )


def make_consumer(path, entries, catalogue, records_max=1000, **given):
    """What counts an in-memory log."""
    consumer = Consumer(path, catalogue, horizon_days=HORIZON_DAYS, **given)
    source = SpoolSource(lambda positions: MemoryLog(entries, positions))
    return SpoolCounter(source, consumer, records_max=records_max)


def make_spool_counter(path, spool, catalogue, records_max=1000):
    """What counts a spool on disk; `spool` is a path, or a function that opens a reader at positions."""
    open_reader = spool if callable(spool) else lambda positions: SpoolReader(spool, positions)
    consumer = Consumer(path, catalogue, horizon_days=HORIZON_DAYS)
    return SpoolCounter(SpoolSource(open_reader), consumer, records_max=records_max)


def run(consumer):
    """Tick until there is nothing more."""
    while not consumer.tick(T0).caught_up:
        pass
    consumer.close()


def read_counts(*paths):
    """All counts of some states together: {(summary key, cell): count}, without zeros."""
    total = Counter()
    for path in paths:
        reader = open_reader(path)
        for key, cells, counts in reader.summaries():
            for cell, count in zip(cells.tolist(), counts.tolist(), strict=True):
                total[key, cell] += count
        reader.close()
    return {key: count for key, count in total.items() if count}


def read_join_rows(path):
    """Everything the join store of a closed state holds, by key, but for its own row."""
    state = open_counts(path)
    store = JoinStore(join_path(path), state.lineage, state.progress.tick)
    state.close()
    store.open(join_memory())
    rows = {key: value for key, value in store.scan(b"") if key != STANDING}
    store.close()
    return rows


def read_counters(*paths):
    """All counters of some states together, without zeros and without `records_duplicate`."""
    total = Counter()
    for path in paths:
        reader = open_reader(path)
        total.update(reader.counters())
        reader.close()
    return {key: count for key, count in total.items() if count and key[0] != "records_duplicate"}


# --- the oracle ---------------------------------------------------------------------------------------------------


def oracle_category(value):
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value == int(value):
        return str(int(value))
    return repr(value) if isinstance(value, float) else str(value) if isinstance(value, int) else object()


def oracle_number(value):
    if isinstance(value, str):
        return {"Infinity": math.inf, "-Infinity": -math.inf}.get(value, math.nan)
    if isinstance(value, list | dict) or value is None:
        return math.nan
    return float(value)


def oracle_cell(bins, value):
    """One value's cell, by looking at every edge."""
    if isinstance(bins, CategoricalBins):
        text = oracle_category(value)
        if text is None:
            return len(bins.values) + 2
        if text in bins.values:
            return bins.values.index(text)
        return len(bins.values) + (0 if text in bins.tail else 1)
    number, m = oracle_number(value), len(bins.edges)
    if math.isnan(number):
        return m + 1
    if math.isinf(number):
        return m + 2 if number < 0 else m + 3
    return sum(1 for edge in bins.edges if edge < number)


def oracle_truth(task, label):
    """The truth as a number, or None."""
    if task.kind == "regression":
        valid = isinstance(label, int | float) and not isinstance(label, bool)
        return float(label) if valid else None
    if task.kind == "multiclass":
        for index, name in enumerate(task.classes):
            if type(name) is type(label) and name == label:
                return index
            if isinstance(label, float) and type(name) is int and name == label:
                return index
        return None
    return int(label) if isinstance(label, bool | int | float) and label in (0, 1) else None


def oracle_values(task, record):
    """Each row's prediction as a list of numbers, NaN where there is none."""
    width = 3 if task.kind == "multiclass" else 1
    output = record.outputs.get(task.output)
    nothing = [[math.nan] * width for _ in range(record.rows)]
    if output is None or not record.rows or output.shape[0] != record.rows or len(output.data) % record.rows:
        return nothing
    has = len(output.data) // record.rows
    rows = [[oracle_number(v) for v in output.data[i * has : (i + 1) * has]] for i in range(record.rows)]
    if task.kind == "binary" and has > 1:
        return [[row[1]] for row in rows]
    return rows if has == width else nothing


def scaled(x):
    return round(x * SCALE)


def oracle_score(add, task, layout, values, y):
    """What one labelled row adds to its performance sections."""
    add("labelled", 0, 1)
    usable = all(math.isfinite(v) for v in values)
    if task.kind == "binary":
        add("positives" if y == 1 else "negatives", oracle_cell(layout.prediction, values[0]), 1)
    if not usable:
        return
    if task.kind == "regression":
        error, target = (values[0] - y) / layout.target_scale, y / layout.target_scale
        add("error", 5, int(abs(error) > 1e4 or abs(target) > 1e4))
        error, target = max(-1e4, min(1e4, error)), max(-1e4, min(1e4, target))
        for i, term in enumerate((error, abs(error), error * error, target, target * target)):
            add("error", i, scaled(term))
        return
    p = [max(0.0, min(1.0, v)) for v in values]
    if task.kind == "binary":
        top, right, true = p[0], y == 1, p[0] if y == 1 else 1.0 - p[0]
        spread = 1.0 - 2.0 * p[0]
        add("brier", 0, scaled((y - p[0]) ** 2))
        add("spiegelhalter", 0, scaled((y - p[0]) * spread))
        add("spiegelhalter", 1, scaled(spread**2 * p[0] * (1.0 - p[0])))
    else:
        best = p.index(max(p))
        top, right, true = p[best], best == y, p[y]
        add("confusion", y * 3 + best, 1)
        for i in range(3):
            add("class_positives" if i == y else "class_negatives", i * 100 + min(99, int(p[i] * 100)), 1)
        add("brier", 0, scaled(sum((p[i] - (i == y)) ** 2 for i in range(3))))
    add("log_loss", 0, scaled(-math.log(min(1.0, max(1e-15, true)))))
    cell = min(59, int(top * 60))
    add("calibration_n", cell, 1)
    add("calibration_positive", cell, int(right))
    add("calibration_p", cell, scaled(top))


def oracle_winner(task, record, row, labels):
    """The winning label's truth: None where there is no valid label, or where it takes the truth back."""
    valid = []
    for label in labels:
        defaulted = label.observed_us == label.received_us
        delay = label.received_us - record.received_us if defaulted else label.observed_us - record.event_us
        if row < record.rows and delay <= HORIZON_DAYS * DAY_US:
            truth = None if label.op == "retract" else oracle_truth(task, label.label)
            if label.op == "retract" or truth is not None:
                valid.append((precedence(label), truth))
    return max(valid, key=lambda pair: pair[0])[1] if valid else None


def oracle_slices(reference, record, row):
    names = ["all"]
    for cut in reference.slices:
        column = record.features.get(cut.feature, [])
        if len(column) == record.rows:
            text = oracle_category(column[row])
            names += [f"{cut.feature}={oracle_category(v)}" for v in cut.values if oracle_category(v) == text]
    return names


def oracle(entries, references):
    """{(summary key, cell): count} of a single pass over the distinct entries, in the order of their logs."""
    from monitor.counts.summary import SummaryKey

    distinct = {(e.log_id, e.seq): e for e in entries}
    labels = {}
    for e in distinct.values():
        if e.kind == Kind.LABEL:
            label = msgspec.json.decode(e.payload, type=Label)
            labels.setdefault(split_row(label.prediction_id), []).append(label)
    counts = Counter()
    for e in distinct.values():
        if e.kind != Kind.PREDICTION:
            continue
        record = msgspec.json.decode(e.payload, type=Prediction)
        reference = references[record.model, record.version]
        task, layout = reference.task, layout_of(reference, None)
        pane_us = record.event_us // PANE_US * PANE_US

        def add(names, section, cell, amount, record=record, layout=layout, pane_us=pane_us):
            for name in names:
                key = SummaryKey(
                    record.model, record.version, record.digest, layout.reference_hash, record.variant, name, pane_us
                )
                counts[key, layout.sections[section].start + cell] += amount

        touched = dict.fromkeys(["all"] + [n for i in range(record.rows) for n in oracle_slices(reference, record, i)])
        add(touched, "statuses", STATUSES.index(record.status), 1)
        if record.status != "ok":
            continue
        if record.answered and record.fallback_from is not None:
            add(touched, "statuses", STATUSES.index("fallback"), 1)
        values = oracle_values(task, record)
        for row in range(record.rows):
            names = oracle_slices(reference, record, row)
            add(names, "rows", 0, 1)
            for feature in reference.features:
                column = record.features.get(feature.name, [])
                value = column[row] if len(column) == record.rows else None
                add(names, f"feature:{feature.name}", oracle_cell(feature.bins, value), 1)
            shown = values[row][0]
            if task.kind == "multiclass":
                best = max(values[row])
                known = all(math.isfinite(v) for v in values[row])
                shown = task.classes[values[row].index(best)] if known else None
            elif math.isinf(shown):
                shown = "Infinity" if shown > 0 else "-Infinity"
            add(names, "prediction", oracle_cell(layout.prediction, shown), 1)
            truth = oracle_winner(task, record, row, labels.get((record.prediction_id, row), []))
            if truth is not None:
                oracle_score(lambda s, c, n, names=names: add(names, s, c, n), task, layout, values[row], truth)
    return {key: count for key, count in counts.items() if count}


class World(SimpleNamespace):
    """Everything above, for tests that are collected without a package around them."""

    def __repr__(self):
        return "world"


@pytest.fixture(scope="session")
def world():
    return World(**{name: value for name, value in globals().items() if not name.startswith("__")})


@pytest.fixture
def dice():
    """Randomness that repeats."""
    return random.Random(20_131_231)


@pytest.fixture(scope="session")
def metadata():
    """A version that only says its task."""
    return ModelMetadata(task=TASKS["binary"])
