"""The dashboard and the scrape job in deploy/ can be loaded, and ask for nothing that a server does not show."""

from __future__ import annotations

import json
import re
from itertools import combinations

import pytest
import yaml
from checkout import read
from expressions import metrics_in, problems_of

from modeltap.telemetry.catalogue import METRICS

BOARD = json.loads(read("deploy/grafana-modeltap.json"))
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]
VARIABLES = {variable["name"]: variable for variable in BOARD["templating"]["list"]}


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_asks_for_metrics_and_labels_that_there_are(panel):
    assert [problem for target in panel["targets"] for problem in problems_of(target["expr"])] == []
    for target in panel["targets"]:
        shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        labels = {label for name in metrics_in(target["expr"]) for label in METRICS[name].labels}
        assert shown <= labels


def test_every_metric_has_a_panel():
    assert set().union(*map(metrics_in, EXPRESSIONS)) == set(METRICS)


def test_variables_are_filled_from_metrics_that_there_are_and_panels_use_no_others():
    for variable in VARIABLES.values():
        if variable["type"] == "query":
            assert problems_of(variable["definition"]) == []
            assert variable["query"]["query"] == variable["definition"]
            label = re.search(r", (\w+)\)$", variable["definition"])[1]
            assert label == variable["name"]
    used = set(re.findall(r"\$(\w+)", " ".join(EXPRESSIONS))) - {"__rate_interval"}
    assert used == set(VARIABLES) - {"datasource"}


def test_every_panel_reads_from_the_chosen_prometheus():
    assert BOARD["schemaVersion"] >= 39
    assert VARIABLES["datasource"]["type"] == "datasource"
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    assert all(where["datasource"] == chosen for panel in PANELS for where in [panel, *panel["targets"]])


def test_panels_have_ids_of_their_own_and_lie_side_by_side():
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    for one, other in combinations([panel["gridPos"] for panel in BOARD["panels"]], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above
        assert one["x"] + one["w"] <= 24


def test_the_scrape_job_sends_the_key_from_a_file_and_holds_none():
    (job,) = yaml.safe_load(read("deploy/prometheus.yml"))["scrape_configs"]
    assert job["metrics_path"] == "/metrics"
    assert job["authorization"] == {"type": "Bearer", "credentials_file": "admin.key"}
    assert job["static_configs"] == [{"targets": ["127.0.0.1:8000"]}]
    assert "mt-" not in read("deploy/prometheus.yml")
