"""Picks the flights of the replay, spread evenly over April to December.

Enters: the flight table, how many, a seed. Leaves: plain values in the order of scheduled departure, ready to be sent.
Never picks a flight twice, nor one that a version was trained on.
"""

from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd

from contracts.errors import InvalidInput
from examples.flights.data import MEASUREMENTS, STRINGS, WEATHER, WHOLE_NUMBERS

FIRST_MONTH: Final = 4
INPUTS: Final = (*STRINGS, *WHOLE_NUMBERS, *MEASUREMENTS, *WEATHER)


class Flight(NamedTuple):
    """One flight: what any version may ask for (None where it is not known), and how it ended.

    Times are microseconds since the epoch, UTC. `late` and `landed_us` are None where it was cancelled or diverted.
    """

    departs_us: int
    aircraft: str | None
    inputs: dict[str, str | int | float | None]
    landed_us: int | None
    late: int | None


def spread(table: pd.DataFrame, count: int, seed: int) -> list[Flight]:
    """One flight, drawn by `seed`, from each of `count` equal stretches of the flights of April to December.

    Raises InvalidInput where there are fewer than `count` such flights.
    """
    season = table[table["month"] >= FIRST_MONTH]
    if not 1 <= count <= len(season):
        raise InvalidInput(f"{count} predictions asked for; the flights of April to December allow 1 to {len(season)}")
    bounds = np.linspace(0, len(season), count + 1).astype(np.int64)
    picks = np.random.default_rng([seed, 0]).integers(bounds[:-1], bounds[1:])
    return [_flight(row) for row in season.iloc[picks].to_dict("records")]


def _flight(row: "dict[Any, Any]") -> Flight:
    landed = not pd.isna(row["late"])
    return Flight(
        departs_us=_microseconds(row["departs_at"]),
        aircraft=None if pd.isna(row["aircraft"]) else row["aircraft"],
        inputs={name: None if pd.isna(row[name]) else row[name] for name in INPUTS},
        landed_us=_microseconds(row["landed_at"]) if landed else None,
        late=int(row["late"]) if landed else None,
    )


def _microseconds(moment: pd.Timestamp) -> int:
    return moment.value // 1_000
