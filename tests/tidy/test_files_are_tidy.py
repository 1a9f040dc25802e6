"""Files are short, begin by saying what they hold, are named for what they hold, and name no machine."""

from __future__ import annotations

import ast
import re

import pytest
from checkout import ROOT, SOURCE, python_files, text_files

MAX_LINES = 400
MAX_LINE_CHARS = 128
VAGUE = re.compile(r"(^|_)(utils?|helpers?|common|managers?|services?|base|misc)($|_)")
VAGUE_CLASS = re.compile(r"(Manager|Helper|Utils?|Base)$")
ALLOWED_NAMES = {"services"}
"""`api/services.py` holds what routes call: the word stands there for what a web framework hands in."""

PLACES = re.compile(r"(?<![\w.$<~-])/(home|root|work|Users|opt|mnt)/[\w.]+")
HOSTS = re.compile(r"(pypi\.org|pythonhosted|download\.pytorch|anaconda|--(extra-)?index-url|--find-links|mirrors?\.)")
THIS_FILE = "test_files_are_tidy.py"


@pytest.mark.parametrize("path", python_files("src", "tests", "examples", "benchmarks"), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_python_file_is_short_and_begins_with_what_it_holds(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_LINES
    assert text.startswith(('"""', 'r"""')), "the first line is a docstring that says what the file holds"
    assert ast.get_docstring(ast.parse(text))


def test_names_say_what_is_held_or_decided():
    vague = []
    for path in SOURCE.rglob("*.py"):
        if VAGUE.search(path.stem) and path.stem not in ALLOWED_NAMES:
            vague.append(str(path.relative_to(ROOT)))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and VAGUE_CLASS.search(node.name):
                vague.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    assert not vague


def test_what_tests_import_from_beside_them_has_a_name_of_its_own():
    names = [path.stem for path in (ROOT / "tests").rglob("*.py") if not path.stem.startswith(("test_", "conftest"))]
    assert len(names) == len(set(names))


def test_no_work_is_left_as_a_note():
    mark = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b")
    assert not [str(path.relative_to(ROOT)) for path in text_files() if mark.search(path.read_text(encoding="utf-8"))]


def test_no_file_names_a_place_on_somebodys_machine_or_a_package_host():
    found = []
    for path in text_files():
        if path.name in (THIS_FILE, "LICENSE"):
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if PLACES.search(line) or HOSTS.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert not found


def test_a_broad_except_stands_only_where_a_failure_has_nowhere_else_to_go():
    # The edges: a request, a replica, a runner; and libraries that raise classes of their own for what they cannot read.
    allowed = {
        "api/app.py",
        "api/control_batches.py",
        "api/control_data.py",
        "api/door.py",
        "api/event_sending.py",
        "api/grpc.py",
        "api/hot.py",
        "data/subwords.py",
        "data/tokenizer.py",
        "engines/child.py",
        "engines/onnx.py",
        "engines/token_streams.py",
        "engines/tokens_child.py",
        "importing/skops_file.py",
        "importing/skops_graph.py",
        "runner/__main__.py",
        "serving/replica.py",
        "serving/router.py",
        "training/rank.py",
    }
    broad = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ExceptHandler) and (
                node.type is None or (isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException"))
            ):
                broad.add(str(path.relative_to(SOURCE)))
    assert broad <= allowed
