"""YAML (or JSON) text → the plain values of a recipe, dotted settings on top of them, and its shorthands written out.

Shorthands: a bare name for optimizer, loss, schedule and model; a number or a truth for early_stopping; a section without
keys. The reader differs from YAML 1.1 where that would surprise: `1e-3` is a number, a key is always a text (also `no:` and
`1:`), a date is a text, and a key that stands twice is an error.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from modeltap.errors import InvalidRecipe

if TYPE_CHECKING:
    import yaml

NAMED = ("loss", "optimizer", "schedule")
EMPTY_SECTIONS = {
    "": ("data", "model", "distributed", *NAMED),
    "data": ("split", "clean", "transforms", "columns"),
    "model": ("input", "output"),
}
MAX_CHARS = 1_000_000
MAX_VALUES = 200_000
MAX_DEPTH = 32
EXPONENT = re.compile(r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)[eE][+-]?[0-9]+$")
"""Numbers that YAML 1.1 reads as texts."""
_TAG = "tag:yaml.org,2002:"
_COLUMN_PLACES = ("data.columns.", "data.transforms.columns.", "loss.class_weights.", "search.space.")
_COLUMN_KEYS = ("kind", "role", "decimal", "date_format", "normalize", "shape", "datatype")


def load_document(text: str) -> dict[str, Any]:
    """The mapping in a YAML text; empty for an empty one. Raises InvalidRecipe, with the line, if it is anything else."""
    document = _load(text)
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise InvalidRecipe(f"a recipe is a mapping of keys, given was a {type(document).__name__}")
    check_values(document)
    return document


def apply_settings(document: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The document with each dotted key set: {"optimizer.lr": 0.01}; a text is read as a YAML value.

    A column's name may hold dots: data.columns.sepal.length=ignored.
    """
    changed = expand(document)
    for dotted, value in settings.items():
        *path, last = _split(dotted)
        if not last or not all(path):
            raise InvalidRecipe(f"'{dotted}' is not a key; write it as optimizer.lr=0.01")
        place = changed
        for part in path:
            inner = place.get(part)
            place[part] = inner = dict(inner) if isinstance(inner, Mapping) else {}
            place = inner
        place[last] = _setting(value)
    return changed


def expand(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with its shorthands written out."""
    expanded = {key: value for key, value in document.items() if value is not None or key not in EMPTY_SECTIONS[""]}
    for section in ("data", "model"):
        inner = expanded.get(section)
        if isinstance(inner, Mapping):
            expanded[section] = {k: v for k, v in inner.items() if v is not None or k not in EMPTY_SECTIONS[section]}
    for key in NAMED:
        if isinstance(expanded.get(key), str):
            expanded[key] = {"name": expanded[key]}
    if isinstance(expanded.get("model"), str):
        expanded["model"] = {"architecture": expanded["model"]}
    stopping = expanded.get("early_stopping")
    if isinstance(stopping, bool):
        expanded["early_stopping"] = {} if stopping else None
    elif isinstance(stopping, int):
        expanded["early_stopping"] = {"patience": stopping}
    return expanded


def check_values(document: Any) -> None:
    """Raises InvalidRecipe for a number that is not finite, a text that is none, and for more or deeper values than any recipe
    has: YAML's aliases can make billions of few bytes."""
    left = MAX_VALUES

    def walk(value: Any, where: str, depth: int) -> None:
        nonlocal left
        left -= 1
        if left < 0 or depth > MAX_DEPTH:
            raise InvalidRecipe(f"the recipe is too large: at most {MAX_VALUES:,} values, nested {MAX_DEPTH} deep")
        if isinstance(value, str):
            _check_text(value)
        if isinstance(value, float) and not math.isfinite(value):
            raise InvalidRecipe(f"{where} is {value}; a finite number is needed", fields=[(where, "not finite")])
        if isinstance(value, Mapping):
            for key, inner in value.items():
                _check_text(str(key))
                walk(inner, f"{where}.{key}" if where else str(key), depth + 1)
        elif isinstance(value, list | tuple):
            for place, inner in enumerate(value):
                walk(inner, f"{where}[{place}]", depth + 1)

    walk(document, "", 0)


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidRecipe(f"{text[:80]!a} holds half of a surrogate pair, which is no text") from None


def _load(text: str) -> Any:
    import yaml

    if len(text) > MAX_CHARS:
        raise InvalidRecipe(f"the recipe has {len(text):,} characters; at most {MAX_CHARS:,} are read")
    loader = None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _mend(node, set())
        return loader.construct_document(node)
    except (yaml.YAMLError, ValueError) as problem:
        raise InvalidRecipe(f"the recipe is not YAML: {_reason(problem)}") from None
    except RecursionError:
        raise InvalidRecipe("the recipe is nested too deeply") from None
    finally:
        if loader is not None:
            loader.dispose()


def _mend(node: yaml.Node, seen: set[int]) -> None:
    """Retags what YAML 1.1 would read as something else. Raises InvalidRecipe for a key that is there twice."""
    import yaml

    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.ScalarNode):
        number = node.style is None and node.tag == f"{_TAG}str" and EXPONENT.fullmatch(node.value)
        if number:
            node.tag = f"{_TAG}float"
        elif node.tag == f"{_TAG}timestamp":
            node.tag = f"{_TAG}str"
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _mend(item, seen)
    elif isinstance(node, yaml.MappingNode):
        names: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != f"{_TAG}merge":
                key.tag = f"{_TAG}str"
                if key.value in names:
                    raise InvalidRecipe(f"the key '{key.value}' stands twice, in line {key.start_mark.line + 1} again")
                names.add(key.value)
            _mend(value, seen)


def _reason(problem: Exception) -> str:
    mark = getattr(problem, "problem_mark", None)
    what = getattr(problem, "problem", None) or str(problem).splitlines()[0]
    return f"{what} (line {mark.line + 1}, column {mark.column + 1})" if mark is not None else str(what)


def _split(dotted: str) -> list[str]:
    for place in _COLUMN_PLACES:
        name = dotted.removeprefix(place)
        if name != dotted:
            head, _, key = name.rpartition(".")
            own = [head, key] if head and place == "data.columns." and key in _COLUMN_KEYS else [name]
            return [*place.rstrip(".").split("."), *own]
    return dotted.split(".")


def _setting(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        read = _load(value)
    except InvalidRecipe:
        return value
    # `--set data.target="ratio: b"` names a column; a mapping is written with braces.
    return value if isinstance(read, dict) and not value.lstrip().startswith("{") else read
