"""As much of PromQL as our rules and panels speak, worked out over series in memory, so that `make test` needs no promtool.

The parser is a real one (`promql_parser`); what it parses is evaluated here as Prometheus 3 does: five minutes of looking
back, ranges that are open on the left, rates that are extrapolated. Whatever is not known is an error, never a guess.
"""

import math
import operator
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import promql_parser as ast

LOOKBACK_SECONDS = 300.0
ARITHMETIC = {"+": operator.add, "-": operator.sub, "*": operator.mul}
COMPARISONS = {
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}
SETS = ("and", "or", "unless")
AGGREGATIONS: dict[str, Callable[[Sequence[float]], float]] = {
    "sum": math.fsum,
    "max": max,
    "min": min,
    "count": lambda values: float(len(values)),
}

Labels = frozenset[tuple[str, str]]
Vector = dict[Labels, float]
Points = list[tuple[float, float]]


class Series(NamedTuple):
    """One series: its labels, `__name__` among them, and its samples as (seconds, value)."""

    labels: dict[str, str]
    points: Points


def evaluate(expression: str, series: Sequence[Series], at: float) -> Vector:
    """The vector that an expression is at a moment; a number comes back under no labels."""
    found = Moment(series, at).value(ast.parse(expression))
    return {frozenset(): found} if isinstance(found, float) else found


class Moment:
    """All series, seen from one moment."""

    def __init__(self, series: Sequence[Series], at: float) -> None:
        self._series = series
        self._at = at

    def value(self, node: ast.Expr) -> Vector | float:
        match node:
            case ast.NumberLiteral():
                return float(node.val)
            case ast.ParenExpr():
                return self.value(node.expr)
            case ast.VectorSelector():
                return dict(self._newest(node))
            case ast.AggregateExpr():
                return self._aggregated(node)
            case ast.Call():
                return self._called(node)
            case ast.BinaryExpr():
                return self._combined(node)
        raise NotImplementedError(f"{type(node).__name__}: {node}")

    def _newest(self, selector: ast.VectorSelector) -> Iterator[tuple[Labels, float]]:
        assert selector.offset is None
        assert selector.at is None
        for one in self._selected(selector):
            points = [value for at, value in one.points if self._at - LOOKBACK_SECONDS < at <= self._at]
            if points:
                yield frozenset(one.labels.items()), points[-1]

    def _selected(self, selector: ast.VectorSelector) -> list[Series]:
        wanted = list(selector.matchers.matchers)
        if selector.name:
            wanted.append(ast.Matcher(ast.MatchOp.Equal, "__name__", selector.name))
        return [one for one in self._series if all(_matches(matcher, one.labels) for matcher in wanted)]

    def _called(self, node: ast.Call) -> Vector | float:
        name, arguments = node.func.name, node.args
        if name == "time":
            return self._at
        if name == "vector":
            return {frozenset(): self.value(arguments[0])}
        if name == "absent":
            return {} if self.value(arguments[0]) else {_told(arguments[0]): 1.0}
        if name == "histogram_quantile":
            return _quantiles(self.value(arguments[0]), self.value(arguments[1]))
        if name not in OVER_TIME:
            raise NotImplementedError(f"function {name}")
        seconds = arguments[0].range.total_seconds()
        found = {}
        for one in self._selected(arguments[0].vector_selector):
            points = [point for point in one.points if self._at - seconds < point[0] <= self._at]
            value = OVER_TIME[name](points, self._at - seconds, self._at)
            if value is not None:
                found[_nameless(one.labels.items())] = value
        return found

    def _aggregated(self, node: ast.AggregateExpr) -> Vector:
        groups: dict[Labels, list[float]] = defaultdict(list)
        kept = _picker(node.modifier)
        for labels, value in self.value(node.expr).items():
            groups[kept(labels)].append(value)
        return {labels: AGGREGATIONS[str(node.op)](values) for labels, values in groups.items()}

    def _combined(self, node: ast.BinaryExpr) -> Vector | float:
        sign, left, right = str(node.op), self.value(node.lhs), self.value(node.rhs)
        modifier = node.modifier
        matched = _nameless if modifier is None or modifier.matching is None else _matcher(modifier.matching)
        assert modifier is None or (not modifier.group_labels and not modifier.return_bool), node
        if sign in SETS:
            return _set(sign, left, right, matched)
        if isinstance(left, float) and isinstance(right, float):
            return _computed(sign, left, right)
        if isinstance(right, float):
            pairs = [(labels, value, right) for labels, value in left.items()]
        elif isinstance(left, float):
            pairs = [(labels, left, value) for labels, value in right.items()]
        else:
            others = {matched(labels): value for labels, value in right.items()}
            assert len(others) == len(right), "many to many"
            pairs = [
                (labels, value, others[matched(labels)]) for labels, value in left.items() if matched(labels) in others
            ]
        if sign in COMPARISONS:
            return {labels: (b if isinstance(left, float) else a) for labels, a, b in pairs if COMPARISONS[sign](a, b)}
        return {_nameless(labels): _computed(sign, a, b) for labels, a, b in pairs}


def _matches(matcher: ast.Matcher, labels: Mapping[str, str]) -> bool:
    value = labels.get(matcher.name, "")
    if matcher.op in (ast.MatchOp.Equal, ast.MatchOp.NotEqual):
        return (value == matcher.value) == (matcher.op == ast.MatchOp.Equal)
    return (re.fullmatch(matcher.value, value) is not None) == (matcher.op == ast.MatchOp.Re)


def _told(selector: ast.VectorSelector) -> Labels:
    return frozenset((m.name, m.value) for m in selector.matchers.matchers if m.op == ast.MatchOp.Equal)


def _nameless(labels: Iterable[tuple[str, str]]) -> Labels:
    return frozenset(pair for pair in labels if pair[0] != "__name__")


def _picker(modifier: ast.AggModifier | None) -> Callable[[Labels], Labels]:
    if modifier is None:
        return lambda _labels: frozenset()
    names = set(modifier.labels)
    if modifier.type == ast.AggModifierType.By:
        return lambda labels: frozenset(pair for pair in labels if pair[0] in names)
    return lambda labels: frozenset(pair for pair in labels if pair[0] not in names | {"__name__"})


def _matcher(matching: ast.LabelModifier) -> Callable[[Labels], Labels]:
    names, included = set(matching.labels), matching.type == ast.LabelModifierType.Include
    return lambda labels: frozenset(
        pair for pair in labels if (pair[0] in names) == included and (included or pair[0] != "__name__")
    )


def _set(sign: str, left: Vector, right: Vector, matched: Callable[[Labels], Labels]) -> Vector:
    there, here = {matched(labels) for labels in right}, {matched(labels) for labels in left}
    if sign == "or":
        return left | {labels: value for labels, value in right.items() if matched(labels) not in here}
    return {labels: value for labels, value in left.items() if (matched(labels) in there) == (sign == "and")}


def _computed(sign: str, left: float, right: float) -> float:
    if sign == "/":
        return left / right if right else (math.nan if left == 0 or math.isnan(left) else math.copysign(math.inf, left))
    return ARITHMETIC[sign](left, right)


def _quantiles(share: float, buckets: Vector) -> Vector:
    """Prometheus' reading of classic histograms: straight lines between bounds, the last bound for what is beyond it."""
    groups: dict[Labels, Points] = defaultdict(list)
    for labels, count in buckets.items():
        rest = frozenset(pair for pair in labels if pair[0] not in ("le", "__name__"))
        groups[rest].append((float(dict(labels)["le"]), count))
    return {labels: _quantile(share, sorted(points)) for labels, points in groups.items()}


def _quantile(share: float, points: Points) -> float:
    total = points[-1][1]
    if total == 0 or len(points) < 2:
        return math.nan
    rank = share * total
    if rank > points[-2][1]:
        return points[-2][0]
    below_bound, below_count = 0.0, 0.0
    for bound, count in points:
        if count >= rank:
            return below_bound + (bound - below_bound) * (rank - below_count) / (count - below_count)
        below_bound, below_count = bound, count
    raise AssertionError("the last bucket holds everything")


def _grown(points: Points, start: float, end: float, *, counter: bool) -> float | None:
    """By how much a series grew, extrapolated to the whole range as Prometheus does it."""
    if len(points) < 2:
        return None
    values = [value for _, value in points]
    grown = values[-1] - values[0]
    if counter:
        grown += sum(before for before, after in pairwise(values) if after < before)
    covered = points[-1][0] - points[0][0]
    apart = covered / (len(points) - 1)
    to_start, to_end = points[0][0] - start, end - points[-1][0]
    to_start = to_start if to_start < 1.1 * apart else apart / 2
    to_end = to_end if to_end < 1.1 * apart else apart / 2
    if counter and grown > 0 and values[0] >= 0:
        to_start = min(to_start, covered * values[0] / grown)
    return grown * (covered + to_start + to_end) / covered


def _rate(points: Points, start: float, end: float) -> float | None:
    grown = _grown(points, start, end, counter=True)
    return None if grown is None else grown / (end - start)


OVER_TIME: dict[str, Callable[[Points, float, float], float | None]] = {
    "rate": _rate,
    "increase": lambda points, start, end: _grown(points, start, end, counter=True),
    "delta": lambda points, start, end: _grown(points, start, end, counter=False),
    "max_over_time": lambda points, _start, _end: max((value for _, value in points), default=None),
    "min_over_time": lambda points, _start, _end: min((value for _, value in points), default=None),
}
