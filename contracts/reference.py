"""The reference: the frozen baseline of a version, made at training time; the bins that everything is counted in.

Fixed edges make every summary a vector of integers that adds and subtracts, the same on every engine.

Numeric bins over edges e[0] < ... < e[m-1] are right-closed, `numpy.searchsorted(edges, x, side="left")`; their cells are
0 (below: x <= e[0], where e[0] is the float just under the reference's minimum), i for (e[i-1], e[i]], m (above the
reference's maximum), then m+1 missing, m+2 -infinity, m+3 +infinity. Cumulative counts at an edge are exactly the ECDF.
Categorical cells are one a value, then other (in the reference's tail), unseen (not in the reference), missing.
"""

from contracts.task import Slice, Task
from contracts.wire import Contract

FINE_BINS = 240
DISPLAY_BINS = 20
CATEGORIES_MAX = 50
SCORE_BINS = 1000


class NumericBins(Contract, frozen=True, kw_only=True, tag="numeric"):
    """`counts` are the reference's own, one a cell: len(edges) + 4. `display` are indices into `edges`: the coarser
    edges of PSI and of plots. `mean` and `std` are of the finite values; null where there is none.
    """

    edges: tuple[float, ...]
    display: tuple[int, ...]
    counts: tuple[int, ...]
    mean: float | None
    std: float | None


class CategoricalBins(Contract, frozen=True, kw_only=True, tag="categorical"):
    """`counts` are the reference's own, one a cell: len(values) + 3. `tail` are the reference's rarer values, counted
    together as other. Values that are numbers or booleans stand here as JSON writes them.
    """

    values: tuple[str, ...]
    tail: tuple[str, ...]
    counts: tuple[int, ...]


class Feature(Contract, frozen=True, kw_only=True):
    """One feature and the bins it is counted in."""

    name: str
    bins: NumericBins | CategoricalBins


class Reference(Contract, frozen=True, kw_only=True):
    """`prediction` are the bins of the score (binary), of the value (regression) or of the predicted class (multiclass);
    every decision threshold is one of its edges. `performance` holds the reference's own figures by statistic name, from
    `labelled` rows of which `positives` were positive. `target_std` is the labels' (regression). `slice_counts` are the
    reference's own counts of each slice `feature=value` in the same bins, by section (`feature:<name>`, `prediction`), and
    `slice_performance` its figures there: a slice is compared with itself. `hash` is the sha256 of the canonical JSON with
    `hash` empty; summaries of different hashes never merge.
    """

    schema: int = 1
    model: str
    version: str
    rows: int
    task: Task | None
    features: tuple[Feature, ...]
    prediction: NumericBins | CategoricalBins | None
    slices: tuple[Slice, ...] = ()
    performance: dict[str, float] = {}
    slice_counts: dict[str, dict[str, tuple[int, ...]]] = {}
    slice_performance: dict[str, dict[str, float]] = {}
    labelled: int = 0
    positives: int = 0
    target_std: float | None = None
    hash: str = ""
