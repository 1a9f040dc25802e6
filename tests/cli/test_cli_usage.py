"""What every command promises whether a server runs or not: JSON, exit codes, help, and no tracebacks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer

from modeltap.cli.main import build_app, run
from modeltap.cli.sections import SECTIONS
from modeltap.settings import Settings

HEAVY = (
    "httpx",
    "rich",
    "polars",
    "numpy",
    "torch",
    "sklearn",
    "onnxruntime",
    "fastapi",
    "pydantic",
    "sqlalchemy",
    "modeltap.wiring",
)


def _commands() -> dict[str, Any]:
    """Every command by its path: `data add`."""
    found: dict[str, Any] = {}

    def walk(group: Any, path: str) -> None:
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                walk(command, f"{path}{name} ")
            else:
                found[path + name] = command

    walk(typer.main.get_command(build_app()), "")
    return found


COMMANDS = _commands()


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom modeltap.cli.main import run\nassert run(['--help']) == 0\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert "modeltap train adult" in done.stdout


def test_the_overview_lists_every_command() -> None:
    listed = [name for names in SECTIONS.values() for name in names]
    assert sorted(listed) == sorted(typer.main.get_command(build_app()).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", sorted(COMMANDS))
def test_every_command_has_json_help_and_an_example(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*path.split(), "--help"]) == 0
    text = capsys.readouterr().out
    assert "--json" in text and "--home" in text
    assert f"Example: modeltap {path}" in text


def test_up_has_a_flag_for_every_setting() -> None:
    flags = {option for parameter in COMMANDS["up"].params for option in parameter.opts}
    assert {f"--{name.replace('_', '-')}" for name in Settings.__struct_fields__} <= flags


@pytest.mark.parametrize(
    "args",
    [
        ["data", "add", "--json"],
        ["--json", "data", "add"],
        ["--json", "data", "nope"],
        ["--json"],
        ["--json", "data"],
        ["jobs", "list", "--limit", "many", "--json"],
        ["train", "adult", "--task", "t", "--set", "epochs", "--json"],
        ["data", "add", "x.csv", "--name", "x", "--image-size", "big", "--json"],
        ["jobs", "list", "--jsno", "--json"],
    ],
)
def test_wrong_usage_is_one_document_and_exit_code_2(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(args) == 2
    printed = capsys.readouterr()
    error = msgspec.json.decode(printed.out)["error"]
    assert error["code"] == "usage" and error["detail"].startswith("modeltap")
    assert printed.err == ""


def test_wrong_usage_says_where_help_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "ad"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == [
        "Error: modeltap data: No such command 'ad'. Did you mean 'add'?",
        "Try: modeltap data --help",
    ]


def test_without_a_command_the_overview_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    assert "From data to answers" in capsys.readouterr().out


def test_version_in_both_forms(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    text = capsys.readouterr().out
    assert run(["--version", "--json"]) == 0
    assert msgspec.json.decode(capsys.readouterr().out)["version"] in text


def test_a_missing_file_is_a_failure_that_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["predict", "income", "--input", "nowhere.csv", "--home", str(tmp_path)]
    assert run(args) == 1
    printed = capsys.readouterr()
    assert "'nowhere.csv' cannot be read: No such file or directory" in printed.err and printed.out == ""
    assert run([*args, "--json"]) == 1
    assert msgspec.json.decode(capsys.readouterr().out)["error"]["code"] == "invalid_data"
    assert list(tmp_path.iterdir()) == []  # no server was started for it


def test_an_unknown_setting_names_the_nearest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "modeltap.toml").write_text("prot = 1\n")
    assert run(["doctor", "--home", str(tmp_path), "--json"]) == 1
    assert "did you mean 'port'" in msgspec.json.decode(capsys.readouterr().out)["error"]["detail"]


def test_a_server_elsewhere_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "list", "--url", "http://127.0.0.1:9", "--home", str(tmp_path), "--json"]) == 1
    error = msgspec.json.decode(capsys.readouterr().out)["error"]
    assert error["code"] == "connection_failed" and "http://127.0.0.1:9" in error["detail"]


def test_doctor_works_without_a_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--home", str(tmp_path / "new"), "--json"]) == 0
    facts = msgspec.json.decode(capsys.readouterr().out)
    assert facts["server"] == {"running": False}
    assert facts["settings"]["home"] == {"value": str(tmp_path / "new"), "source": "flag"}
    assert facts["libraries"]["onnxruntime"]
    assert not (tmp_path / "new").exists()


def test_doctor_says_when_the_home_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert run(["doctor", "--home", str(tmp_path / "file"), "--json"]) == 1
    checks = msgspec.json.decode(capsys.readouterr().out)["checks"]
    assert next(c for c in checks if c["check"] == "home")["level"] == "broken"


def test_restore_refuses_what_is_no_backup_and_a_home_in_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.tar").write_bytes(b"no tar")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "modeltap.db").touch()
    for home, code in (("new", "invalid_input"), ("home", "conflict")):
        assert run(["restore", str(tmp_path / "x.tar"), "--home", str(tmp_path / home), "--json"]) == 1
        assert msgspec.json.decode(capsys.readouterr().out)["error"]["code"] == code


@pytest.mark.parametrize("debug", ["", "1"])
def test_what_nobody_expected_is_one_line(tmp_path: Path, debug: str) -> None:
    code = (
        "import sys, modeltap.settings\n"
        "def broken(*args, **kwargs): raise ZeroDivisionError('by zero')\n"
        "modeltap.settings.load_settings = broken\n"
        "sys.argv = ['modeltap', 'doctor', '--json']\n"
        "from modeltap.cli.main import main\nmain()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "MODELTAP_DEBUG": debug}, check=False
    )
    assert done.returncode == 1
    assert "unexpected ZeroDivisionError: by zero" in json.loads(done.stdout)["error"]["detail"]
    assert ("Traceback" in done.stderr) == bool(debug)


def test_a_reader_that_went_away_is_no_failure(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "modeltap", "doctor", "--home", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stderr is not None
        child.stdout.close()
        assert child.stderr.read() == b""
