"""The flight table, read once, and a small one made by hand."""

import pandas as pd
import pytest

from examples.flights.data import load


@pytest.fixture(scope="session")
def table() -> pd.DataFrame:
    return load()


@pytest.fixture
def flights() -> pd.DataFrame:
    """Four flights: on time by day, late over midnight, cancelled in summer, diverted to Puerto Rico."""
    return pd.DataFrame(
        {
            "year": 2013,
            "month": [1, 1, 7, 7],
            "day": [1, 2, 15, 15],
            "hour": [5, 23, 5, 5],
            "minute": [15, 40, 15, 10],
            "sched_dep_time": [515, 2340, 515, 510],
            "sched_arr_time": [819, 133, 819, 900],
            "arr_delay": [14.0, 15.0, None, None],
            "time_hour": [
                "2013-01-01T10:00:00Z",
                "2013-01-03T04:00:00Z",
                "2013-07-15T09:00:00Z",
                "2013-07-15T09:00:00Z",
            ],
            "carrier": ["UA", "B6", "UA", "B6"],
            "flight": [1545, 2, 3, 4],
            "tailnum": ["N14228", "N2", None, "N4"],
            "origin": ["EWR", "JFK", "EWR", "JFK"],
            "dest": ["IAH", "ORD", "PHX", "SJU"],
            "distance": [1400, 740, 2133, 1598],
        }
    )


@pytest.fixture
def weather() -> pd.DataFrame:
    """What EWR wrote down in the hour before and in the hour of the first flight; LGA in that hour too."""
    observed = {"humid": 59.0, "wind_speed": 10.0, "precip": 0.0, "pressure": None, "visib": 10.0}
    return pd.DataFrame(
        {
            "origin": ["EWR", "EWR", "LGA"],
            "time_hour": ["2013-01-01T09:00:00Z", "2013-01-01T10:00:00Z", "2013-01-01T10:00:00Z"],
            "temp": [30.0, 39.0, 50.0],
            **observed,
        }
    )


@pytest.fixture
def airports() -> pd.DataFrame:
    return pd.DataFrame({"faa": ["IAH", "ORD", "PHX"], "tz": [-6, -6, -7], "dst": ["A", "A", "N"]})
