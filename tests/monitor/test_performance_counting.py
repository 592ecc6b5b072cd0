"""Counting labelled rows all at once and one by one gives the same integers, so a reference and traffic are measured alike."""

import numpy as np
import pytest

from contracts.task import Task
from monitor.counts.counting import count_labelled
from monitor.counts.generation import Definition, generation_of
from monitor.counts.scoring import score
from monitor.references.reference_building import Sample, build_reference

TASKS = {
    "binary": Task(kind="binary", output="p", threshold=0.3),
    "multiclass": Task(kind="multiclass", output="p", classes=("a", "b", "c")),
    "regression": Task(kind="regression", output="p"),
}


def rows(kind, random, n):
    if kind == "multiclass":
        return random.dirichlet([1, 1, 1], n), random.integers(0, 3, n).astype(float)
    if kind == "regression":
        return random.normal(0, 30, n), random.normal(5, 10, n)
    p = np.where(random.random(n) < 0.2, np.round(random.random(n), 1), random.random(n))
    p[random.random(n) < 0.05] = np.nan
    return p, (random.random(n) < 0.4).astype(float)


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("with_reference", [False, True])
def test_the_counts_of_all_rows_are_the_sum_of_the_counts_of_each(kind, with_reference):
    random = np.random.default_rng(0)
    reference = None
    if with_reference:
        values, truths = rows(kind, random, 1000)
        labels = [TASKS[kind].classes[int(truth)] for truth in truths] if kind == "multiclass" else truths
        reference = build_reference("m", "1", Sample({"x": [0.5] * 1000}, values, labels), TASKS[kind])
    generation = generation_of("m", "1", "d", Definition(reference=reference, task=TASKS[kind]))
    values, truths = rows(kind, random, 2000)

    scored = score(generation, values.reshape(len(truths), -1), truths)
    added = generation.layout.zeros()
    np.add.at(added, scored.cells, scored.weights)

    assert added.tolist() == count_labelled(generation.layout, values, truths).tolist()
