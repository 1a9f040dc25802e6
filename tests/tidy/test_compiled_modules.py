"""What the wheel compiles: files that exist, and nothing in them that a compiled class would lose."""

from __future__ import annotations

import ast
import importlib
import os
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOOK = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["mypyc"]
HARMLESS = {"frozen", "gc", "kw_only"}
"""mypyc drops what stands beside a base class; without these a Struct does the same, and is only less strict or slower. It
also forgets what a container holds, so what comes as a message is in a module that is not compiled."""


@pytest.mark.parametrize("name", HOOK["include"])
def test_a_compiled_module_keeps_what_its_classes_say(name: str) -> None:
    tree = ast.parse((ROOT / name).read_text())
    structs = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.keywords]
    assert "Decoder(" not in (ROOT / name).read_text()
    for struct in structs:
        assert {keyword.arg for keyword in struct.keywords} <= HARMLESS, f"{struct.name} loses its keywords"


@pytest.mark.skipif("MODELTAP_TEST_COMPILED" not in os.environ, reason="`make wheel-check` compiles them, and sets it")
def test_what_make_wheel_check_tests_is_compiled() -> None:
    names = [name.removeprefix("src/").removesuffix(".py").replace("/", ".") for name in HOOK["include"]]
    assert [name for name in names if not str(importlib.import_module(name).__file__).endswith(".so")] == []
