"""docs/clients.md: what it shows runs, and its table says what the code does."""

from __future__ import annotations

import re

import pytest
from checkout import blocks, read, section, table
from misbehaving_server import answered, misbehaving, refused

from modeltap.client.retrying import is_passing

PREDICTED = {"predictions": [{"label": "3", "score": 0.5}], "model": "digits@1", "id": "req-1"}
PAGE = "docs/clients.md"


@pytest.mark.parametrize("place", range(len(blocks(read(PAGE), "python"))))
def test_every_piece_of_python_runs(place, monkeypatch, capsys):
    code = blocks(read(PAGE), "python")[place].text
    with misbehaving(answers={"/predict/income": answered(PREDICTED, modeltap_cost="0.25")}) as server:
        monkeypatch.setenv("MODELTAP_URL", server.url)
        monkeypatch.setenv("MODELTAP_KEY", "mt-k")
        exec(compile(code, PAGE, "exec"), {})
    assert capsys.readouterr().out


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (refused(422, "invalid_value", "row 1"), "which row"),
        (refused(429, "rate_limit_exceeded", "60", retry_after="121"), "is used up"),
        (refused(429, "insufficient_quota", "0", x_should_retry="false"), "is spent"),
        (refused(503, "unavailable", "it ends", retry_after="121"), "not now: it ends 121.0"),
    ],
    ids=["value", "rate", "budget", "unavailable"],
)
def test_the_errors_are_caught_as_shown(step, said, monkeypatch, capsys):
    (code,) = [block.text for block in blocks(section(read(PAGE), "Errors"), "python")]
    with misbehaving(step) as server:
        monkeypatch.setenv("MODELTAP_URL", server.url)
        monkeypatch.setenv("MODELTAP_KEY", "mt-k")
        exec(compile(code, PAGE, "exec"), {})
    assert said in capsys.readouterr().out


def test_the_table_of_what_is_sent_again_is_the_rule():
    rows = {row[0]: (row[1] == "again", row[2] == "again") for row in table(section(read(PAGE), "Tries and waits"))}
    named: set[int] = set()
    for what, told in rows.items():
        for status in map(int, re.findall(r"\d{3}", what)):
            named.add(status)
            assert (is_passing(status, repeatable=True), is_passing(status, repeatable=False)) == told, what
    for status in set(range(400, 500)) - named:
        assert (is_passing(status, repeatable=True), is_passing(status, repeatable=False)) == rows["any other status"]
    assert {408, 409, 429, 500, 503} <= named
