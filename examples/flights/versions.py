"""The three versions of `flight-delay`: what each one learns from, what it looks at, and by which algorithm.

Enters: a seed. Leaves: recipes with an unfitted scikit-learn pipeline each. Never touches data.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from examples.flights.data import MEASUREMENTS, STRINGS, WEATHER, WHOLE_NUMBERS

MODEL: Final = "flight-delay"

Who = tuple[str, str]
"""Variant and version."""

SCHEDULE: Final = (*STRINGS, *WHOLE_NUMBERS, *MEASUREMENTS)


class Recipe(NamedTuple):
    """How one version is made: the calendar `months` of 2013 it is trained on and the columns it looks at."""

    version: str
    algorithm: str
    months: tuple[int, ...]
    inputs: tuple[str, ...]
    pipeline: Callable[[tuple[str, ...], int], Pipeline]

    @property
    def window(self) -> str:
        """The training window as people write it: `2013-01` or `2013-01..2013-03`."""
        first, last = f"2013-{self.months[0]:02}", f"2013-{self.months[-1]:02}"
        return first if first == last else f"{first}..{last}"


def boosting(inputs: tuple[str, ...], seed: int) -> Pipeline:
    """Gradient boosting over one-hot strings; a missing number goes its own way in every tree."""
    columns = ColumnTransformer(
        [
            ("strings", _one_hot(), list(STRINGS)),
            ("whole", "passthrough", list(WHOLE_NUMBERS)),
            ("measured", "passthrough", _measured(inputs)),
        ]
    )
    trees = HistGradientBoostingClassifier(
        learning_rate=0.15,
        max_iter=35,
        max_leaf_nodes=15,
        min_samples_leaf=100,
        l2_regularization=5.0,
        early_stopping=False,
        random_state=seed,
    )
    return Pipeline([("columns", columns), ("classifier", trees)])


def logistic(inputs: tuple[str, ...], seed: int) -> Pipeline:
    """Logistic regression: weekday and hour are one-hot too, a missing number counts as the median."""
    measured = Pipeline([("impute", SimpleImputer(strategy="median")), ("scale", StandardScaler())])
    columns = ColumnTransformer(
        [
            ("strings", _one_hot(), list(STRINGS)),
            ("clock", _one_hot(), ["weekday", "hour"]),
            ("minutes", StandardScaler(), ["scheduled_minutes"]),
            ("measured", measured, _measured(inputs)),
        ]
    )
    return Pipeline(
        [("columns", columns), ("classifier", LogisticRegression(solver="newton-cholesky", random_state=seed))]
    )


RECIPES: Final = (
    Recipe("1", "gradient boosting", (1,), SCHEDULE, boosting),
    Recipe("2", "gradient boosting", (1, 2, 3), (*SCHEDULE, *WEATHER), boosting),
    Recipe("3", "logistic regression", (1, 2, 3), (*SCHEDULE, *WEATHER), logistic),
)


def _one_hot() -> OneHotEncoder:
    return OneHotEncoder(handle_unknown="ignore", sparse_output=False)


def _measured(inputs: tuple[str, ...]) -> list[str]:
    return [name for name in inputs if name in MEASUREMENTS or name in WEATHER]
