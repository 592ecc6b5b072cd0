"""Runs a file of rule tests as `promtool test rules` does: series in, alerts that fire out.

Enters: the test file's content and the groups of rules. Leaves: one line for each expectation that did not hold. Labels in
templates are filled in; every other template function is an error.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import promql_parser as ast

from tests.deploy.promql import Labels, Points, Series, evaluate

_LABEL = re.compile(r"\{\{ \$labels\.(\w+) \}\}")
_RUN = re.compile(r"(_|-?[\d.]+(?:e-?\d+)?)(?:([+-][\d.]+)?x(\d+))?")


def failures(content: Mapping[str, Any], rules: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What a test file expects and does not get."""
    step = seconds(content.get("evaluation_interval", "1m"))
    for test in content["tests"]:
        apart = seconds(test["interval"])
        series = [_series(one["series"], one["values"], apart) for one in test["input_series"]]
        for case in test["alert_rule_test"]:
            own = [rule for rule in rules if rule.get("alert") == case["alertname"]]
            if not own:
                yield f"{test['name']}: no rule is called {case['alertname']}"
            fires = sorted(
                (alert for rule in own for alert in _firing(rule, series, seconds(case["eval_time"]), step)), key=str
            )
            wanted = sorted(
                ((one.get("exp_labels", {}), one.get("exp_annotations", {})) for one in case.get("exp_alerts", [])),
                key=str,
            )
            if _plain(fires) != _plain(wanted):
                yield f"{test['name']}, {case['alertname']} at {case['eval_time']}: fires {fires}, expected {wanted}"


def seconds(duration: str) -> float:
    """A duration as Prometheus writes it."""
    return ast.parse_duration(str(duration)).total_seconds()


def _firing(
    rule: Mapping[str, Any], series: Sequence[Series], until: float, step: float
) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    wait = seconds(rule["for"]) if "for" in rule else 0.0
    since: dict[Labels, float] = {}
    for tick in range(int(until // step) + 1):
        active = evaluate(rule["expr"], series, tick * step)
        since = {labels: since.get(labels, tick * step) for labels in active}
    at = until // step * step
    for labels, started in since.items():
        if at - started >= wait:
            shown = {name: value for name, value in labels if name != "__name__"}
            yield (
                shown | rule.get("labels", {}),
                {name: _filled(text, shown) for name, text in rule["annotations"].items()},
            )


def _filled(template: str, labels: Mapping[str, str]) -> str:
    text = _LABEL.sub(lambda found: labels.get(found[1], ""), template)
    assert "{{" not in text, f"only labels are known here: {text}"
    return text


def _plain(alerts: Sequence[tuple[Mapping[str, str], Mapping[str, str]]]) -> list[tuple[list[Any], list[Any]]]:
    return sorted((sorted(labels.items()), sorted(notes.items())) for labels, notes in alerts)


def _series(selector: str, values: str, apart: float) -> Series:
    parsed = ast.parse(selector)
    labels = {"__name__": parsed.name} | {matcher.name: matcher.value for matcher in parsed.matchers.matchers}
    return Series(labels, _points(values, apart))


def _points(values: str, apart: float) -> Points:
    """`1 _ 0+10x5`: a value, none, and six values that rise by ten."""
    points: Points = []
    index = 0
    for word in values.split():
        found = _RUN.fullmatch(word)
        assert found, f"{word!r} is no run of values"
        first, rise, times = found.groups()
        # `_x3` is three missing samples, `1x3` is four samples of 1
        count = int(times or 0) + (first != "_" or times is None)
        for number in range(count):
            if first != "_":
                points.append((index * apart, float(first) + number * float(rise or 0)))
            index += 1
    return points
