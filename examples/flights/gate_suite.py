"""The rows and the suite that a version of `flight-delay` is gated on: the flights of April 2013, which no version saw.

Enters: the flight table and a folder. Leaves: `suite.toml` and `april.parquet` there. Never runs a gate.
"""

from importlib.resources import files
from pathlib import Path
from typing import Final

import pandas as pd

from examples.flights.data import WEATHER
from examples.flights.versions import SCHEDULE

SUITE: Final = "suite.toml"
ROWS: Final = "april.parquet"
MONTH: Final = 4


def lay_suite(table: pd.DataFrame, folder: Path) -> Path:
    """Write both files; the path of the suite. Cancelled and diverted flights have no truth, and are not among the rows."""
    folder.mkdir(parents=True, exist_ok=True)
    april = table[(table["month"] == MONTH) & table["late"].notna()]
    april[[*SCHEDULE, *WEATHER]].assign(late=april["late"].astype("int64")).to_parquet(folder / ROWS, index=False)
    suite = folder / SUITE
    suite.write_text(files("examples.flights").joinpath(SUITE).read_text())
    return suite
