"""Runs both versions over a suite's rows, turns and fixed inputs, and has the monitor's rules judge what came out.

Enters: two loaded versions, a suite, its data. Leaves: checks, in the suite's order. Never decides what a check says, never
records anything.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

import numpy as np

from contracts.errors import InvalidInput
from contracts.gate import CHECKS_MAX, GateCheck
from contracts.task import Task
from gateway.models.intake import feature_names
from gateway.models.sessions import Session
from monitor.counts.binning import Values
from monitor.gate.metrics import Resampling, Side
from monitor.gate.policy import Behaviour, Suite
from monitor.gate.rows import check_metrics, row_checks
from monitor.gate.sample import Sample
from monitor.gate.single import Answer, Turns, behaviour_check, decision_of, latency_check, size_check
from monitor.references.reference_building import truths_of
from pointsman.gate_pair import Pair
from pointsman.gate_suite import SuiteFile
from pointsman.reference_table import Array, Prepared, Table, prepare, read_table, scores_of, table_of, text_columns
from pointsman.scoring import progress_bar, scored

WARM_TURNS: Final = 20


class Found(NamedTuple):
    """The checks, and how many rows the data has."""

    checks: tuple[GateCheck, ...]
    rows: int


def run_gate(pair: Pair, file: SuiteFile, seed: int, clock_ns: Callable[[], int]) -> Found:
    """All checks of a suite; `clock_ns` never goes back and measures the turns.

    Raises `InvalidInput` where suite, data and versions do not fit, and `ModelFailed` where a version does not run.
    """
    suite, draws = file.suite, Resampling(seed, file.suite.resamples)
    if suite.asks_nothing:
        reason = "the suite asks nothing: an empty policy never passes"
        return Found((GateCheck(kind="policy", name="empty", outcome="missing", reason=reason),), 0)
    task = _task_of(pair.candidate, suite)
    answers = [(case, _answer(pair, case)) for case in suite.behaviours]
    checks: list[GateCheck] = []
    rows = 0
    if suite.needs_rows:
        table, prepared = _read(pair, file, task)
        rows = prepared[0].rows
        if suite.needs_scores:
            checks += _row_checks(pair, suite, table, prepared, draws)
        if suite.latency is not None:
            turns = _turns(pair, prepared, suite.latency.turns, seed, clock_ns)
            checks.append(latency_check(suite.latency, turns, draws))
    if suite.size is not None:
        usual = None if pair.baseline is None else _bytes_of(pair.baseline)
        checks.append(size_check(suite.size, _bytes_of(pair.candidate), usual))
    checks += [behaviour_check(case, answer) for case, answer in answers]
    if len(checks) > CHECKS_MAX:
        raise InvalidInput(
            f"the suite comes to {len(checks)} checks, at most {CHECKS_MAX} are kept: ask for fewer slices"
        )
    return Found(tuple(checks), rows)


def _task_of(session: Session, suite: Suite) -> Task | None:
    task = session.fetched.metadata.task
    if suite.needs_scores:
        _declared(session)
        check_metrics(suite, _declared(session).kind)
    return task


def _declared(session: Session) -> Task:
    fetched = session.fetched
    if fetched.metadata.task is None:
        raise InvalidInput(
            f"{fetched.model} {fetched.version}: model.json declares no task, so its outputs cannot be held against labels"
        )
    return fetched.metadata.task


def _read(pair: Pair, file: SuiteFile, task: Task | None) -> tuple[Table, list[Prepared]]:
    """The table, and its rows as each version takes them."""
    assert file.data is not None, "a suite that needs rows names its data"
    suite, sessions = file.suite, [session for session in pair[:2] if session is not None]
    named = {cut.feature for cut in suite.cuts if any(isinstance(value, str) for value in cut.values)}
    text = named.union(*(text_columns(session.signature, task, suite.label) for session in sessions))
    table = read_table(file.data, frozenset(text))
    return table, [prepare(table, session.signature) for session in sessions]


def _row_checks(pair: Pair, suite: Suite, table: Table, prepared: list[Prepared], draws: Resampling) -> list[GateCheck]:
    columns: dict[str, Values] = {cut.feature: table.column(cut.feature) for cut in suite.cuts}
    task = _declared(pair.candidate)
    truths = np.full(prepared[0].rows, np.nan)
    if suite.needs_label and suite.label is not None:
        truths = truths_of(task, table.column(suite.label))
    sides = [
        Side(_declared(session), scored(session, _declared(session), rows, f"{role} {session.fetched.version}"))
        for role, session, rows in zip(("candidate", "champion"), _present(pair), prepared, strict=False)
    ]
    sample = Sample(truths, sides[0], sides[1] if len(sides) > 1 else None, columns)
    with progress_bar() as progress:
        shown = progress.add_task("checks", total=None)
        checks = []
        for check in row_checks(suite, sample, draws):
            checks.append(check)
            progress.advance(shown)
    return checks


def _present(pair: Pair) -> Iterator[Session]:
    return (session for session in pair[:2] if session is not None)


def _turns(pair: Pair, prepared: list[Prepared], turns: int, seed: int, clock_ns: Callable[[], int]) -> Turns | None:
    """How long single rows take: both versions on the same row, one after the other, who is first changes every turn."""
    if pair.baseline is None:
        return None
    order = np.random.default_rng(seed).integers(0, prepared[0].rows, turns + WARM_TURNS).tolist()
    sessions, spent = (pair.candidate, pair.baseline), np.zeros((2, len(order)))
    with progress_bar() as progress:
        shown = progress.add_task("turns", total=len(order))
        for turn, row in enumerate(order):
            for which in (0, 1) if turn % 2 else (1, 0):
                feeds = {name: array[row : row + 1] for name, array in prepared[which].feeds.items()}
                begun = clock_ns()
                sessions[which].run(feeds)
                spent[which, turn] = clock_ns() - begun
            progress.advance(shown)
    return Turns(spent[0, WARM_TURNS:], spent[1, WARM_TURNS:])


def _bytes_of(session: Session) -> int:
    return sum(path.stat().st_size for path in session.fetched.path.rglob("*") if path.is_file())


def _answer(pair: Pair, case: Behaviour) -> Answer:
    """What the candidate says to one fixed input. An input that only the champion takes is left out."""
    session = pair.candidate
    features = {name: spec.nullable for spec in session.signature.inputs for name in feature_names(spec)}
    known = {name for held in _present(pair) for spec in held.signature.inputs for name in feature_names(spec)}
    unknown, absent = sorted(set(case.inputs) - known), [n for n in features if not (n in case.inputs or features[n])]
    if unknown or absent:
        what = f"no such feature: {', '.join(unknown)}" if unknown else f"lacks the features {', '.join(absent)}"
        raise InvalidInput(f"behaviour {case.name!r}: {what}; the candidate takes {', '.join(features)}")
    row = {name: case.inputs.get(name) for name in features}
    prepared = prepare(table_of(f"behaviour {case.name!r}", [row]), session.signature)
    outputs = dict(zip((o.name for o in session.signature.outputs), session.run(prepared.feeds), strict=True))
    if case.output is None:
        task = _declared(session)
        return decision_of(task, scores_of(task, outputs))
    return _element(case, case.output, outputs)


def _element(case: Behaviour, output: str, outputs: Mapping[str, Array]) -> Answer:
    if output not in outputs:
        raise InvalidInput(f"behaviour {case.name!r}: no output {output!r}; there are {', '.join(outputs)}")
    values = outputs[output].ravel().tolist()
    if case.element >= len(values):
        raise InvalidInput(f"behaviour {case.name!r}: output {output!r} has {len(values)} elements a row")
    value = values[case.element]
    number = float(value) if isinstance(value, int | float) else np.nan
    label = int(value) if isinstance(value, float) and value.is_integer() else value
    return Answer(number, label if isinstance(label, str | int | bool) else None)
