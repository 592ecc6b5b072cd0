"""Lays trained versions down in a folder registry: graph, metadata, reference and an example of each, and the aliases.

Enters: the files of each version as bytes. Leaves: `<registry>/flight-delay/<version>/...`, all versions at once or none.
Never replaces a model that was not laid down by this room.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import pandas as pd

from contracts.errors import InvalidInput
from contracts.metadata import InputMetadata, ModelMetadata
from contracts.task import Slice, Task
from contracts.wire import decode, encode
from examples.flights.bodies import tensor
from examples.flights.data import WEATHER
from examples.flights.training import Trained
from examples.flights.versions import MODEL, Recipe

OWNER: Final = "pointsman demo"
AIRPORTS: Final = ("EWR", "JFK", "LGA")
METADATA: Final = "model.json"
INTENDED_USE: Final = "showing what a gateway does with real traffic; nobody's journey should hang on it"
LIMITS: Final = "departures from New York in 2013 only; a cancelled flight has no truth and counts nowhere"


def metadata_of(trained: Trained, tags: Mapping[str, str]) -> ModelMetadata:
    """What the graph cannot say: weather may be missing, which output is the probability, the figures of training."""
    recipe = trained.recipe
    return ModelMetadata(
        description=f"arrives 15 minutes late or more; {recipe.algorithm} on {recipe.window}",
        owner=OWNER,
        intended_use=INTENDED_USE,
        limits=LIMITS,
        data_version=f"flights of {recipe.window}",
        inputs=tuple(InputMetadata(name=name, nullable=True) for name in recipe.inputs if name in WEATHER),
        task=task_of(trained),
        slices=slices_of(),
        tags={"algorithm": recipe.algorithm, "training_window": recipe.window, **tags},
        metrics=trained.metrics | {"fitted_rows": float(trained.fitted_rows)},
    )


def task_of(trained: Trained) -> Task:
    """Binary: the second column of `probabilities` is that of a late arrival."""
    return Task(kind="binary", output="probabilities", classes=(0, 1), positive=1, threshold=trained.threshold)


def slices_of() -> tuple[Slice, ...]:
    """Every figure is also told for each airport of departure."""
    return (Slice(feature="origin", values=AIRPORTS),)


def example_of(recipe: Recipe, row: Mapping[Any, Any]) -> bytes:
    """A request for this version: one flight, V2 JSON."""
    inputs = [tensor(name, None if pd.isna(row[name]) else row[name]) for name in recipe.inputs]
    return msgspec.json.encode({"inputs": inputs})


def lay_down(registry: Path, versions: Mapping[str, Mapping[str, bytes]], aliases: Mapping[str, str]) -> Path:
    """Write every version's files and the aliases; the model's folder appears whole.

    Raises InvalidInput where `refuse_foreign` does.
    """
    place = registry / MODEL
    staging = registry / f".{MODEL}-new"
    refuse_foreign(registry)
    shutil.rmtree(staging, ignore_errors=True)
    for version, files in versions.items():
        folder = staging / version
        folder.mkdir(parents=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
    (staging / "aliases.json").write_bytes(msgspec.json.encode(aliases))
    if place.exists():
        shutil.rmtree(place)
    staging.rename(place)
    return place


def metadata_file(metadata: ModelMetadata) -> bytes:
    """`model.json`, as people like to read it."""
    return msgspec.json.format(encode(metadata), indent=2)


def refuse_foreign(registry: Path) -> None:
    """Raises InvalidInput where the registry holds a model of this name that somebody else made."""
    place = registry / MODEL
    for folder in place.iterdir() if place.exists() else ():
        if folder.is_dir() and _owner_of(folder / METADATA) != OWNER:
            raise InvalidInput(f"{place} holds a model that the demo did not make: give another --registry")


def _owner_of(metadata: Path) -> str:
    return decode(ModelMetadata, metadata.read_bytes()).owner if metadata.exists() else ""
