import itertools
import json
import re

import promql_parser
import pytest
import yaml

from tests.deploy.metric_names import complaints
from tests.deploy.validators import DEPLOY

GRAFANA = DEPLOY / "grafana"
DASHBOARD = json.loads((GRAFANA / "dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [(panel, target) for panel in PANELS for target in panel["targets"]]
PROVISIONED = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "prometheus.yaml").read_text())["datasources"]
VARIABLES = {"$__rate_interval": "5m", "$model": ".*", "$window": "7d", "$statistic": "auc"}


def filled(query: str) -> str:
    """A query as Grafana sends it."""
    for name, value in VARIABLES.items():
        query = query.replace(name, value)
    assert "$" not in query, query
    return query


@pytest.mark.parametrize(
    ("panel", "target"), QUERIES, ids=[f"{panel['title']} {target['refId']}" for panel, target in QUERIES]
)
def test_every_query_parses_and_is_about_metrics_and_labels_that_exist(panel, target):
    assert list(complaints(filled(target["expr"]))) == []


@pytest.mark.parametrize(
    ("panel", "target"), QUERIES, ids=[f"{panel['title']} {target['refId']}" for panel, target in QUERIES]
)
def test_a_legend_names_labels_that_the_query_keeps(panel, target):
    shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
    groups = re.findall(r"by \(([\w, ]+)\)", target["expr"])

    if groups:
        assert shown <= set(groups[0].replace(" ", "").split(","))


def test_what_is_not_in_a_panel_parses_too():
    for note in DASHBOARD["annotations"]["list"]:
        assert list(complaints(filled(note["expr"]))) == []
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"]).groups()
            assert list(complaints(f"sum by ({label}) ({metric})")) == []


def test_every_variable_is_declared_and_used():
    declared = {f"${variable['name']}" for variable in DASHBOARD["templating"]["list"]}
    text = json.dumps([PANELS, DASHBOARD["annotations"]])

    assert set(re.findall(r"\$(?!__)\w+", text)) == declared == set(VARIABLES) - {"$__rate_interval"}


def test_every_panel_says_what_it_shows_and_asks_the_provisioned_source():
    sources = {source["uid"] for source in PROVISIONED}

    for panel in PANELS:
        assert panel["description"]
        assert {panel["datasource"]["uid"], *(target["datasource"]["uid"] for target in panel["targets"])} <= sources


def test_panels_have_numbers_of_their_own_and_do_not_overlap():
    cells = []
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        across, down = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        assert across.stop <= 24
        cells += itertools.product(across, down)

    assert len(set(cells)) == len(cells)
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_grafana_finds_the_dashboard_where_compose_puts_it():
    provider = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "pointsman.yaml").read_text())["providers"][0]
    volumes = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["grafana"]["volumes"]

    assert f"./grafana/dashboard.json:{provider['options']['path']}/dashboard.json:ro" in volumes
    assert "./grafana/provisioning:/etc/grafana/provisioning:ro" in volumes


def test_a_query_that_does_not_parse_is_noticed():
    with pytest.raises(ValueError, match="expected type"):
        promql_parser.parse("rate(pointsman_predictions_total)")
