"""Trains one version on the days of its window that are not held out, and measures it on those that are.

Enters: the flight table, a recipe, a seed. Leaves: the fitted pipeline, its threshold, its figures and the held-out rows.
Never lets a held-out day into the fit: a day's weather would tell on the day itself.
"""

from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import brier_score_loss, log_loss, precision_recall_curve, roc_auc_score
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from examples.flights.versions import Recipe

HELD_OUT_EVERY_DAYS: Final = 4


class Trained(NamedTuple):
    """One version after training. `held_out` has the recipe's inputs and `late`; `metrics` were measured on it."""

    recipe: Recipe
    pipeline: Pipeline
    threshold: float
    metrics: dict[str, float]
    fitted_rows: int
    held_out: pd.DataFrame


def train(table: pd.DataFrame, recipe: Recipe, seed: int) -> Trained:
    """Fit the recipe's pipeline on its months; every fourth day of a month is held out."""
    window = table[table["month"].isin(recipe.months) & table["late"].notna()]
    held = window["day"] % HELD_OUT_EVERY_DAYS == 0
    # One thread: sums over several come in any order, and the version's digest would vary with them.
    with threadpool_limits(limits=1):
        return _trained(window[~held], window[held], recipe, seed)


def _trained(fitting: pd.DataFrame, held_out: pd.DataFrame, recipe: Recipe, seed: int) -> Trained:
    columns = list(recipe.inputs)
    pipeline = recipe.pipeline(recipe.inputs, seed)
    pipeline.fit(fitting[columns], fitting["late"].astype("int64"))
    return Trained(
        recipe=recipe,
        pipeline=pipeline,
        threshold=best_threshold(fitting["late"].to_numpy(), pipeline.predict_proba(fitting[columns])[:, 1]),
        metrics=measured(held_out["late"].to_numpy(), pipeline.predict_proba(held_out[columns])[:, 1]),
        fitted_rows=len(fitting),
        held_out=held_out[[*columns, "late"]],
    )


def best_threshold(labels: NDArray[np.float64], scores: NDArray[np.float64]) -> float:
    """The probability, in whole hundredths, from which calling a flight late gives the greatest F1."""
    precision, recall, thresholds = precision_recall_curve(labels, scores)
    f1 = 2 * precision[:-1] * recall[:-1] / np.maximum(precision[:-1] + recall[:-1], 1e-12)
    return round(float(thresholds[np.argmax(f1)]), 2)


def measured(labels: NDArray[np.float64], scores: NDArray[np.float64]) -> dict[str, float]:
    """AUC, log loss (nats), Brier score and the share of late flights."""
    return {
        "auc": float(roc_auc_score(labels, scores)),
        "log_loss": float(log_loss(labels, scores)),
        "brier": float(brier_score_loss(labels, scores)),
        "late_share": float(np.mean(labels)),
    }
