"""The flights' own suite: rows that no version was trained on, and bounds that `pointsman gate` can read."""

import pandas as pd

from examples.flights.gate_suite import lay_suite
from examples.flights.versions import RECIPES
from pointsman.gate_suite import read_suite


def test_the_suite_names_rows_that_no_version_saw_and_every_version_can_take(table, tmp_path):
    file = read_suite(lay_suite(table, tmp_path / "gate"))
    april = table[(table["month"] == 4) & table["late"].notna()]
    rows = pd.read_parquet(file.data)

    assert file.suite.needs_rows
    assert not any(4 in recipe.months for recipe in RECIPES)
    assert len(rows) == len(april) > 20_000
    assert rows["late"].tolist() == april["late"].astype(int).tolist()
    for recipe in RECIPES:
        assert set(recipe.inputs) <= set(rows.columns)
        assert set(recipe.inputs) <= set(file.suite.behaviours[0].inputs)
    assert {cut.feature for cut in file.suite.cuts} <= set(rows.columns)
