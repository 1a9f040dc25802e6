"""What the documents say can be done: commands and flags exist, files and links are there, and both READMEs say the same."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from checkout import ROOT, SOURCE, blocks, documents, headings, read, section

import modeltap

LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")
INLINE = re.compile(r"`(modeltap [a-z][^`]*)`")
CHINESE = re.compile(r"[\u4e00-\u9fff]")


class Said(NamedTuple):
    """A command line and where it stands."""

    document: str
    words: list[str]


def command_lines() -> Iterator[Said]:
    """Every `modeltap …` in a block of shell, and every one in running text."""
    for path in documents():
        text = path.read_text(encoding="utf-8")
        name = str(path.relative_to(ROOT))
        lines = [line for block in blocks(text, "sh") for line in block.text.splitlines()]
        for line in [*lines, *INLINE.findall(text)]:
            found = re.search(r"(?:^|[\s(|/])modeltap (.*)", line)
            if found:
                yield Said(name, shlex.split(found[1].split(" | ")[0].split(" > ")[0]))


def cli() -> Any:
    from typer.main import get_command

    from modeltap.cli.main import build_app

    return get_command(build_app())


def problem(words: list[str], command: Any) -> str | None:
    """The command or option that does not exist; None if all do. Arguments may be left out where a command is only named."""
    if words[:1] == ["COMMAND"]:
        return None
    while words and hasattr(command, "commands"):
        name = words.pop(0)
        if name.startswith("-"):
            return None if name in ("--help", "--version", "--json") else f"no option {name}"
        if name not in command.commands:
            return f"no command {name}"
        command = command.commands[name]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    unknown = [word for word in words if word.startswith("-") and word != "-" and word not in {*known, "--help"}]
    return f"{command.name} has no option {unknown[0]}" if unknown else None


@pytest.mark.parametrize("said", list(command_lines()), ids=lambda said: f"{said.document}:{' '.join(said.words)[:50]}")
def test_every_command_in_a_document_exists_with_its_options(said):
    assert problem(list(said.words), cli()) is None


def test_every_link_leads_to_a_file():
    dead = []
    for path in documents():
        for target in LINK.findall(path.read_text(encoding="utf-8")):
            if not (path.parent / target).exists():
                dead.append(f"{path.relative_to(ROOT)} → {target}")
    assert not dead


def test_both_readmes_have_the_same_sections_and_the_same_code():
    english, chinese = read("README.md"), read("README.zh.md")
    assert [level for level, _ in headings(english)] == [level for level, _ in headings(chinese)]
    assert blocks(english) == blocks(chinese)
    assert LINK.findall(english.replace("README.zh.md", "README.md")) == LINK.findall(chinese)
    assert english.count("\n|") == chinese.count("\n|"), "tables have the same rows"
    prose = re.sub(r"^```.*?^```$", "", chinese, flags=re.MULTILINE | re.DOTALL)
    assert all(CHINESE.search(title) for _, title in headings(chinese) if title not in ("modeltap", "Python"))
    assert len(CHINESE.findall(prose)) > 1000


def test_the_recipes_in_the_readme_are_the_files_that_its_commands_use():
    yaml = [block.text for block in blocks(section(read("README.md"), "Recipes"), "yaml")]
    assert yaml == [read("examples/wine.yaml"), read("examples/digits.yaml")]


def test_the_changelog_tells_of_this_version():
    assert f"## {modeltap.__version__}" in [
        f"{'#' * level} {title.split(' ')[0]}" for level, title in headings(read("CHANGELOG.md"))
    ]


def test_the_package_and_its_metadata_have_one_version():
    project = tomllib.loads(read("pyproject.toml"))["project"]
    assert project["version"] == modeltap.__version__


def test_every_pin_is_one_exact_version():
    lines = [line for line in read("constraints.txt").splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line) for line in lines)
    assert len(lines) == len({line.partition("==")[0].lower() for line in lines})


def test_the_architecture_page_has_a_line_for_every_room_and_no_other():
    rooms = {path.name for path in SOURCE.iterdir() if (path.is_dir() and path.name != "__pycache__") or path.suffix == ".py"}
    rooms -= {"__init__.py", "__main__.py"}
    text = section(read("ARCHITECTURE.md"), "Rooms")
    told = re.findall(r"^\| `([a-z_.]+?)/?` \|", text, re.MULTILINE)
    assert sorted(told) == sorted(rooms)


def test_every_invariant_names_tests_that_exist():
    text = section(read("ARCHITECTURE.md"), "Invariants")
    named = re.findall(r"`((?:tests|pyproject)[\w/.]*)(?:::(\w+))?`", text)
    assert named
    for place, test in named:
        path = ROOT / place
        assert path.exists(), place
        assert not test or f"def {test}(" in Path(path).read_text(encoding="utf-8"), f"{place}::{test}"
    items = re.findall(r"^\d+\. .*(?:\n   .*)*", text, re.MULTILINE)
    assert items
    assert all("`tests/" in item or "`pyproject" in item for item in items), "an invariant without a test is a wish"
