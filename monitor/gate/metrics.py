"""One metric of a candidate and of the champion on the same rows: both figures, and by how much the candidate is worse.

Enters: truths and the scores of both. Leaves: figures that are null where they are undefined, and the difference with its
interval. Never judges. Definitions are those of `docs/gate.md`; on the same rows they equal scikit-learn's.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np

from contracts.task import Task
from monitor.counts.counting import P_MIN
from monitor.gate.paired import (
    Flags,
    Floats,
    Terms,
    auc_of,
    auc_worse,
    bootstrapped,
    mean_worse,
    rate_worse,
)
from monitor.measures.intervals import UNDEFINED, Interval

Scores: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"

LOSSES: Final = ("log_loss", "brier", "mae")
ERRORS: Final = ("accuracy", "recall", "fpr")
SUMS: Final = ("precision", "f1", "rmse", "r2")
RISING: Final = frozenset({"auc", "accuracy", "precision", "recall", "f1", "r2"})
"""More is better."""


class Side(NamedTuple):
    """One version: its task, and its scores: [n] (binary: of the positive class; regression) or [n, k] (multiclass)."""

    task: Task
    scores: Scores

    def of(self, rows: Flags) -> "Side":
        """The same version on some rows."""
        return Side(self.task, self.scores[rows])

    @property
    def finite(self) -> Flags:
        """Which rows were answered with numbers: [n]."""
        finite = np.isfinite(self.scores)
        return np.asarray(finite if finite.ndim == 1 else finite.all(axis=1))

    @property
    def positive(self) -> Flags:
        """Which rows a binary version decides are positive."""
        flags: Flags = self.scores >= self.task.threshold
        return flags


class Resampling(NamedTuple):
    """How a bootstrap draws. Every figure draws anew from `seed`, so that no check depends on which others there are."""

    seed: int
    resamples: int

    def random(self) -> np.random.Generator:
        """A generator at its beginning."""
        return np.random.default_rng(self.seed)


class Comparison(NamedTuple):
    """`worse` is positive where the candidate is worse; undefined without a champion. `n` rows were compared; `support` is
    the least count that the metric divides by.
    """

    candidate: float | None
    baseline: float | None
    worse: Interval
    n: int
    support: int


def compare(metric: str, truths: Floats, candidate: Side, baseline: Side | None, draws: Resampling) -> Comparison:
    """Both figures of one metric and their difference.

    `truths` are [n], known and as `monitor.counts.truth` gives them; both sides are finite. The metric is one of
    `monitor.gate.policy.METRICS` for the task.
    """
    sides = [candidate] if baseline is None else [candidate, baseline]
    figures = [_figure(metric, truths, side) for side in sides]
    support = min((_support(metric, truths, side) for side in sides), default=0)
    worse = UNDEFINED
    if baseline is not None and None not in figures:
        worse = _worse(metric, truths, candidate, baseline, draws)
    return Comparison(figures[0], figures[1] if len(figures) > 1 else None, worse, len(truths), support)


def wrong(truths: Floats, side: Side) -> Flags:
    """Which rows a classifier decides otherwise than the truth: [n]."""
    flags: Flags = (
        side.scores.argmax(axis=1) != truths if side.task.kind == "multiclass" else side.positive != (truths == 1.0)
    )
    return flags


def _figure(metric: str, truths: Floats, side: Side) -> float | None:
    if len(truths) == 0:
        return None
    if metric == "auc":
        return auc_of(truths == 1.0, side.scores)
    if metric in LOSSES:
        return float(_losses(metric, truths, side).mean())
    if metric in ERRORS:
        rows = _denominator(metric, truths)
        share = float(wrong(truths, side)[rows].mean()) if rows.any() else None
        return share if share is None or metric == "fpr" else 1 - share
    terms, statistic = _sums(metric, truths, side)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(statistic(terms.sum(axis=0, keepdims=True))[0])
    return value if np.isfinite(value) else None


def _worse(metric: str, truths: Floats, candidate: Side, baseline: Side, draws: Resampling) -> Interval:
    if metric == "auc":
        return auc_worse(truths == 1.0, candidate.scores, baseline.scores)
    if metric in LOSSES:
        return mean_worse(_losses(metric, truths, candidate), _losses(metric, truths, baseline))
    if metric in ERRORS:
        rows = _denominator(metric, truths)
        return rate_worse(wrong(truths, candidate)[rows], wrong(truths, baseline)[rows])
    (own, figure), (others, _) = (_sums(metric, truths, side) for side in (candidate, baseline))
    sign, width = (1.0 if metric in RISING else -1.0), own.shape[1]

    def worse(sums: Terms) -> Floats:
        return sign * (figure(sums[:, width:]) - figure(sums[:, :width]))

    return bootstrapped(np.hstack([own, others]), worse, draws.random(), draws.resamples)


def _support(metric: str, truths: Floats, side: Side) -> int:
    positives = int((truths == 1.0).sum())
    if metric == "auc":
        return min(positives, len(truths) - positives)
    if metric == "precision":
        return int(side.positive.sum())
    if metric == "f1":
        return positives
    return int(_denominator(metric, truths).sum())


def _denominator(metric: str, truths: Floats) -> Flags:
    """The rows that a metric is a mean over."""
    if metric == "recall":
        return np.asarray(truths == 1.0)
    return np.asarray(truths == 0.0) if metric == "fpr" else np.ones(len(truths), np.bool_)


def _losses(metric: str, truths: Floats, side: Side) -> Floats:
    """One loss a row; probabilities are clipped to [0, 1], those of log loss at `P_MIN`, as the monitor does."""
    if metric == "mae":
        return np.asarray(np.abs(side.scores - truths))
    p = np.clip(side.scores, 0.0, 1.0)
    if side.task.kind == "binary":
        if metric == "brier":
            return np.asarray((truths - p) ** 2)
        return np.asarray(-np.log(np.clip(np.where(truths == 1.0, p, 1.0 - p), P_MIN, 1.0)))
    at = truths.astype(np.int64)
    if metric == "brier":
        return np.asarray(((p - np.eye(p.shape[1])[at]) ** 2).sum(axis=1))
    return np.asarray(-np.log(np.clip(p[np.arange(len(p)), at], P_MIN, 1.0)))


def _sums(metric: str, truths: Floats, side: Side) -> tuple[Terms, Callable[[Terms], Floats]]:
    """Terms of each row, and the figure of their sums."""
    if metric in {"precision", "f1"}:
        hits, mistakes = side.positive & (truths == 1.0), wrong(truths, side)
        if metric == "precision":
            return _columns(hits, side.positive), lambda sums: sums[:, 0] / sums[:, 1]
        return _columns(hits, mistakes), lambda sums: 2 * sums[:, 0] / (2 * sums[:, 0] + sums[:, 1])
    squares, ones = (side.scores - truths) ** 2, np.ones(len(truths))
    if metric == "rmse":
        return _columns(squares, ones), lambda sums: np.sqrt(sums[:, 0] / sums[:, 1])
    centred = truths - truths.mean()

    def explained(sums: Terms) -> Floats:
        spread = sums[:, 2] - sums[:, 1] ** 2 / sums[:, 3]
        return 1 - sums[:, 0] / np.where(spread > 0, spread, np.nan)

    return _columns(squares, centred, centred**2, ones), explained


def _columns(*columns: "np.ndarray[tuple[int], np.dtype[Any]]") -> Terms:
    return np.stack([np.asarray(column, np.float64) for column in columns], axis=1)
