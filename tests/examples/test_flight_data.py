"""The flight table says what was known before departure, and how each flight ended."""

import numpy as np
import pandas as pd
import pytest

from examples.flights.data import MEASUREMENTS, STRINGS, WEATHER, WHOLE_NUMBERS, flight_table

INPUTS = [*STRINGS, *WHOLE_NUMBERS, *MEASUREMENTS, *WEATHER]


@pytest.fixture
def small(flights, weather, airports) -> pd.DataFrame:
    return flight_table(flights, weather, airports)


def row_of(table, carrier, month):
    return table[(table["carrier"] == carrier) & (table["month"] == month)].iloc[0]


def test_weather_is_that_of_the_origin_in_the_scheduled_hour(small):
    assert row_of(small, "UA", 1)["temp"] == 39.0


def test_weather_that_nobody_wrote_down_is_missing(small):
    assert np.isnan(row_of(small, "UA", 1)["pressure"])
    assert np.isnan(row_of(small, "B6", 1)["temp"])


def test_departure_is_in_utc(small):
    assert row_of(small, "B6", 1)["departs_at"] == pd.Timestamp("2013-01-03T04:40:00Z")


def test_a_flight_over_midnight_and_a_time_zone_lands_by_its_scheduled_minutes_and_delay(small):
    # 23:40 in New York is 22:40 in Chicago; scheduled at 1:33 that is 173 minutes later.
    night = row_of(small, "B6", 1)
    assert night["scheduled_minutes"] == 173
    assert night["landed_at"] == pd.Timestamp("2013-01-03T07:48:00Z")


def test_a_destination_without_summer_time_is_an_hour_further_in_july(small):
    # PHX keeps UTC-7 while New York is at UTC-4: 5:15 is 2:15 there.
    assert row_of(small, "UA", 7)["scheduled_minutes"] == 8 * 60 + 19 - (2 * 60 + 15)


def test_the_caribbean_has_time_zones_too(small):
    assert row_of(small, "B6", 7)["scheduled_minutes"] == 3 * 60 + 50


def test_fifteen_minutes_are_late_and_fourteen_are_not(small):
    assert row_of(small, "UA", 1)["late"] == 0.0
    assert row_of(small, "B6", 1)["late"] == 1.0


def test_a_cancelled_or_diverted_flight_has_no_truth(small):
    for carrier in ("UA", "B6"):
        flight = row_of(small, carrier, 7)
        assert np.isnan(flight["late"])
        assert pd.isna(flight["landed_at"])


def test_the_table_is_in_the_order_of_departure(table):
    assert table["departs_at"].is_monotonic_increasing


def test_all_flights_of_the_year_are_there_once(table):
    assert len(table) == 336_776


def test_only_weather_and_the_aircraft_may_be_missing(table):
    complete = [name for name in INPUTS if name not in WEATHER]
    assert not table[complete].isna().any().any()
    assert table[list(WEATHER)].isna().any().all()


def test_flights_take_as_long_as_flights_take(table):
    landed = table[table["late"].notna()]
    assert table["scheduled_minutes"].between(30, 720).all()
    took = (landed["landed_at"] - landed["departs_at"]).dt.total_seconds() / 60
    assert (took > 0).all()


def test_nothing_known_only_after_departure_is_an_input():
    assert not {"dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "late", "landed_at"} & set(INPUTS)
