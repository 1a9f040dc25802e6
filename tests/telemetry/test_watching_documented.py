"""docs/watching.md has every metric, field and attribute as the code has them, and no other."""

from __future__ import annotations

import json
import re

from checkout import blocks, read, section, table
from expressions import problems_of

from modeltap.telemetry.catalogue import METRICS
from modeltap.telemetry.logs import CALL_FIELDS, MOST_WARNINGS_PER_S
from modeltap.telemetry.series import MOST_SETS
from modeltap.telemetry.tracing import wants_traces

PAGE = read("docs/watching.md")


def test_the_table_has_every_metric_as_it_is():
    told = [row for row in table(section(PAGE, "Numbers")) if row[0].startswith("modeltap_")]
    want = [
        [
            metric.name,
            metric.kind,
            ", ".join(metric.labels),
            "largest" if metric.joined == "max" else "sum",
            metric.help,
        ]
        for metric in METRICS.values()
    ]
    assert [[row[0], row[1], row[2].replace("`", ""), *row[3:]] for row in told] == want


def test_every_label_is_explained():
    text = section(PAGE, "Numbers")
    after = text[text.rindex("| `modeltap_build_info`") :]
    evident = {"kind", "state", "version"}
    assert {label for metric in METRICS.values() for label in metric.labels} - evident <= set(re.findall(r"`(\w+)`", after))
    assert f"{MOST_SETS:,}" in after


def test_every_expression_asks_for_what_there_is():
    rows = [row for row in table(section(PAGE, "Numbers")) if row[0].endswith("?")]
    assert rows
    assert [problem for row in rows for problem in problems_of(row[1])] == []


def test_the_log_has_the_fields_that_are_told():
    text = section(PAGE, "Log")
    assert [row[0] for row in table(text)] == list(CALL_FIELDS)
    assert f"at most {MOST_WARNINGS_PER_S}" in text
    (example,) = blocks(text, "json")
    assert set(json.loads(example.text)) <= {*CALL_FIELDS, "event", "level", "logger", "timestamp"}


def test_the_variables_in_the_example_turn_traces_on():
    lines = [line for block in blocks(section(PAGE, "Traces"), "sh") for line in block.text.splitlines()]
    given = dict(line.removeprefix("export ").split("=", 1) for line in lines if line.startswith("export "))
    assert wants_traces(given)
