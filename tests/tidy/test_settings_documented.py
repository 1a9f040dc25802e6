"""docs/settings.md has every setting, its flag, its variable and its default, and no other."""

from __future__ import annotations

import re

import msgspec
from checkout import SOURCE, read, section, table

from modeltap.settings import PREFIX, ClientSettings, Settings


def written(default):
    if default is None:
        return "none"
    return str(default).lower() if isinstance(default, bool) else str(default)


def expected(kind):
    rows = []
    for field in msgspec.structs.fields(kind):
        flag = f"--{field.name.replace('_', '-')}"
        rows.append([field.name, flag, PREFIX + field.name.upper(), written(field.default)])
    return rows


def test_the_tables_name_every_setting_with_its_default():
    text = read("docs/settings.md")
    assert [row[:4] for row in table(section(text, "Of the server"))] == expected(Settings)
    assert [row[:4] for row in table(section(text, "Of a client"))] == expected(ClientSettings)


def test_every_variable_that_the_code_reads_is_documented():
    text = read("docs/settings.md")
    variable = re.compile(rf"\b{PREFIX}[A-Z][A-Z_]+\b")
    inner = {
        "MODELTAP_JOB",  # set by the supervisor for its runners, never by a person
    }
    used = {name for path in SOURCE.rglob("*.py") for name in variable.findall(path.read_text(encoding="utf-8"))}
    undocumented = {name for name in used - inner if f"`{name}`" not in text}
    assert not undocumented


def test_every_flag_of_up_is_a_setting():
    from typer.main import get_command

    from modeltap.cli.main import build_app

    up = get_command(build_app()).commands["up"]
    flags = {option for parameter in up.params for option in parameter.opts if option.startswith("--")}
    known = {f"--{field.name.replace('_', '-')}" for field in msgspec.structs.fields(Settings)}
    assert flags - {"--json", "--help"} == known
