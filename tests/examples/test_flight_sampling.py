"""The replay's flights are spread evenly, in order, and the same for the same seed."""

import numpy as np
import pandas as pd
import pytest

from contracts.errors import InvalidInput
from examples.flights.sampling import INPUTS, spread

APRIL_US = pd.Timestamp("2013-04-01T04:00:00Z").value // 1000


def test_flights_come_in_the_order_of_departure_from_april_on(table):
    flights = spread(table, 500, seed=1)
    departures = [flight.departs_us for flight in flights]
    assert departures == sorted(departures)
    assert departures[0] >= APRIL_US


def test_every_month_gets_its_part(table):
    flights = spread(table, 9_000, seed=1)
    months = pd.to_datetime([f.departs_us for f in flights], unit="us").month
    season = table.loc[table["month"] >= 4, "month"]
    for month in range(4, 13):
        assert np.isclose((months == month).mean(), (season == month).mean(), atol=0.01)


def test_no_flight_is_picked_twice(table):
    season = table[table["month"] == 4]
    flights = spread(season, len(season), seed=3)
    assert len(flights) == len(season)
    assert [flight.departs_us for flight in flights] == [t.value // 1000 for t in season["departs_at"]]


def test_the_seed_decides(table):
    assert spread(table, 200, seed=1) == spread(table, 200, seed=1)
    assert spread(table, 200, seed=1) != spread(table, 200, seed=2)


@pytest.mark.parametrize("count", [0, -1, 10**6])
def test_a_count_that_the_year_does_not_have_is_refused_with_the_bounds(table, count):
    with pytest.raises(InvalidInput, match=f"{count} predictions asked for.*allow 1 to 2"):
        spread(table, count, seed=1)


def test_missing_values_are_none_and_every_input_is_there(table):
    flights = spread(table, 2_000, seed=1)
    assert all(tuple(flight.inputs) == INPUTS for flight in flights)
    values = [value for flight in flights for value in flight.inputs.values()]
    assert None in values
    assert not any(isinstance(value, float) and np.isnan(value) for value in values)


def test_cancelled_flights_have_no_truth_and_landed_ones_have(table):
    flights = spread(table, 2_000, seed=1)
    assert any(flight.late is None for flight in flights)
    assert all((flight.late is None) == (flight.landed_us is None) for flight in flights)
    assert all(flight.landed_us is None or flight.landed_us > flight.departs_us for flight in flights)
