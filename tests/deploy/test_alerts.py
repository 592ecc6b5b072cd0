import re

import promql_parser
import pytest
import yaml

from tests.deploy.metric_names import complaints, documented_labels, made_names
from tests.deploy.promql import Series, evaluate
from tests.deploy.rules import failures, seconds
from tests.deploy.validators import DEPLOY, HOUSE

PROMETHEUS = DEPLOY / "prometheus"
GROUPS = yaml.safe_load((PROMETHEUS / "alerts.yaml").read_text())["groups"]
RULES = [rule for group in GROUPS for rule in group["rules"]]
TESTS = yaml.safe_load((PROMETHEUS / "alerts_test.yaml").read_text())
CASES = [case for test in TESTS["tests"] for case in test["alert_rule_test"]]


def alert_name(rule) -> str:
    return rule["alert"]


def test_every_alert_fires_when_it_should_and_only_then():
    assert list(failures(TESTS, RULES)) == []


def test_an_expectation_that_does_not_hold_is_noticed():
    rules = [rule | {"expr": rule["expr"].replace("== 0", "== 7").replace("> 0", "> 700")} for rule in RULES]

    assert len(list(failures(TESTS, rules))) >= 8


@pytest.mark.parametrize("rule", RULES, ids=alert_name)
def test_every_alert_is_seen_to_fire_and_seen_to_be_quiet(rule):
    own = [bool(case["exp_alerts"]) for case in CASES if case["alertname"] == rule["alert"]]

    assert True in own
    assert False in own


@pytest.mark.parametrize("rule", RULES, ids=alert_name)
def test_an_alert_is_about_metrics_and_labels_that_exist(rule):
    assert list(complaints(rule["expr"])) == []


@pytest.mark.parametrize("rule", RULES, ids=alert_name)
def test_an_alert_says_what_it_is_what_to_do_and_where_more_is_written(rule):
    page, _, section = rule["annotations"]["runbook"].partition("#")
    titles = re.findall(r"^#+ (.*)$", (HOUSE / page).read_text(), re.MULTILINE)
    used = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
    grouped = re.search(r"by \(([\w, ]+)\)", rule["expr"])

    assert section in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert set(rule["annotations"]) == {"summary", "action", "runbook"}
    assert "for" not in rule or 0 < seconds(rule["for"]) <= 6 * 3600
    if grouped:
        assert used <= set(grouped[1].replace(" ", "").split(",")), "a label that the expression does not keep is empty"


def test_alert_names_are_unique():
    assert len({rule["alert"] for rule in RULES}) == len(RULES)


def test_prometheus_reads_these_rules_and_asks_the_jobs_they_are_about():
    config = yaml.safe_load((PROMETHEUS / "prometheus.yaml").read_text())
    jobs = {job["job_name"] for job in config["scrape_configs"]}
    meant = {matched for rule in RULES for matched in re.findall(r'job="([\w-]+)"', rule["expr"])}

    assert config["rule_files"] == ["alerts.yaml"]
    assert meant <= jobs
    assert {"global", "rule_files", "scrape_configs"} == set(config)


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("pointsman_nothing_total", "no metric pointsman_nothing_total"),
        ('pointsman_workers{model="churn"}', "has no label model"),
        ("sum by (variant) (pointsman_workers)", "has a label variant"),
        ("rate(pointsman_request_duration_seconds_bucket[5m])", None),
    ],
)
def test_a_metric_or_a_label_that_nobody_makes_is_noticed(expression, complaint):
    said = " ".join(complaints(expression))

    assert (complaint in said) if complaint else said == ""


def test_what_is_served_and_what_is_written_are_the_same_metrics():
    assert made_names() == set(documented_labels())
    assert len(made_names()) >= 25
    assert documented_labels()["pointsman_predictions_total"] == {"model", "version", "variant", "role", "status"}
    assert documented_labels()["pointsman_input_missing_rate"] == documented_labels()["pointsman_drift_psi"]


# What real promtool answers to the same questions.
@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("rate(c[5m])", {"x": 0.2, "y": 0.1}),
        ("increase(c[4m])", {"x": 48.0, "y": 24.0}),
        ("sum(c)", {"": 180.0}),
        ("c > 100", {"x": 120.0}),
        ('c{job="x"} / c{job="x"}', {"x": 1.0}),
        ('c unless c{job="x"}', {"y": 60.0}),
        ("histogram_quantile(0.5, h)", {"": 1.5}),
        ("absent(nothing)", {"": 1.0}),
        ("time() - c", {"x": 480.0, "y": 540.0}),
    ],
)
def test_expressions_are_worked_out_as_prometheus_does(expression, expected):
    minutes = range(11)
    series = [
        Series({"__name__": "c", "job": "x"}, [(60.0 * n, 12.0 * n) for n in minutes]),
        Series({"__name__": "c", "job": "y"}, [(60.0 * n, 6.0 * n) for n in minutes]),
        *(Series({"__name__": "h", "le": le}, [(600.0, n)]) for le, n in (("1", 2.0), ("2", 6.0), ("+Inf", 8.0))),
    ]

    found = evaluate(expression, series, 600.0)

    assert {dict(labels).get("job", ""): value for labels, value in found.items()} == pytest.approx(expected)


def test_an_expression_that_is_not_understood_is_an_error_and_never_a_guess():
    with pytest.raises(NotImplementedError):
        evaluate("stddev_over_time(c[5m])", [], 0.0)
    with pytest.raises(ValueError, match="unexpected end"):
        promql_parser.parse("c{")
