"""Every place where a test may kill the process is passed somewhere, once, and no place is passed that is not listed."""

from __future__ import annotations

import ast

from checkout import SOURCE

from modeltap.faults import CRASH_POINTS


def test_every_crash_point_is_passed_in_the_code_and_every_passed_one_is_listed():
    passed = []
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "crash_point":
                (argument,) = node.args
                assert isinstance(argument, ast.Constant)
                passed.append(argument.value)
    assert sorted(set(passed)) == sorted(CRASH_POINTS)
