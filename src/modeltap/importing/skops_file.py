"""A .skops file → the scikit-learn model in it, once everything that it names is scikit-learn's own, or plain data.

skops makes objects by the names of their classes. What it trusts is asked of it, and looked at here before: no method, no
operator and no function but numpy's and scipy's is named by a file, and no class of any other library.
"""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from modeltap.data.read_members import zip_members
from modeltap.data.source import ReadOptions
from modeltap.errors import InvalidData
from modeltap.importing.pickles import first_bytes, is_pickle, told_of_pickle

SCHEMA = "schema.json"
MAX_MEMBERS = 100_000
MAX_UNPACKED_BYTES = 4 << 30
MAX_SCHEMA_BYTES = 64 << 20
MAX_DEPTH = 200
LIBRARIES = ("sklearn", "numpy", "scipy", "builtins", "collections")
CODE_LOADERS = frozenset({"MethodNode", "OperatorFuncNode", "PartialNode", "ConstructorFromReduceNode"})
"""Parts of a file that stand for a call."""
ALSO_TRUSTED = (
    "numpy.dtype",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree",
)
"""Not trusted by skops because scikit-learn follows the places in a tree unseen; `_check_trees` looks at them."""
EXPORT = 'skops.io.dump(model, "model.skops")'
_LEAF = -1


class SkopsModel(NamedTuple):
    """A fitted estimator, and what its reader noticed."""

    model: Any
    notices: list[str]


def read_skops(path: Path) -> SkopsModel:
    """Raises InvalidData, naming what is not scikit-learn's, for a file that is damaged or holds more than a fitted model."""
    schema = _schema(path)
    _check_names(schema)
    import skops.io

    content = path.read_bytes()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            strange = sorted(set(skops.io.get_untrusted_types(data=content)) - set(ALSO_TRUSTED))
            if strange:
                raise _holds(strange)
            model = skops.io.loads(content, trusted=list(ALSO_TRUSTED))
        except (InvalidData, MemoryError):
            raise
        except Exception as problem:  # noqa: BLE001  the file decides what fails where in three libraries
            raise InvalidData(
                f"the file cannot be read as skops reads it ({_first_line(problem)}); write it anew: {EXPORT}"
            ) from None
    _check_model(model)
    for tree in _trees(model):
        _check_tree(tree)
    return SkopsModel(model, _version_notices(warned))


def parts_of(model: Any) -> Iterator[Any]:
    """The model, and every estimator within it."""
    seen: set[int] = set()
    waiting = [model]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if hasattr(one, "get_params"):
            yield one
        inner = vars(one).values() if hasattr(one, "__dict__") else ()
        for value in one if isinstance(one, list | tuple) else one.values() if isinstance(one, dict) else inner:
            if hasattr(value, "get_params") or isinstance(value, list | tuple | dict):
                waiting.append(value)
            elif isinstance(value, np.ndarray) and value.dtype == object:
                waiting.append(value.ravel().tolist())


def _schema(path: Path) -> dict[str, Any]:
    if not zipfile.is_zipfile(path):
        told = f"the file is no skops file, or is not complete; write it anew: {EXPORT}"
        raise InvalidData(told_of_pickle(path) if is_pickle(first_bytes(path)) else told)
    options = ReadOptions(max_members=MAX_MEMBERS, max_unpacked_bytes=MAX_UNPACKED_BYTES)
    try:
        with zip_members(path, path.name, options) as members:
            found = next((member for member in members if member.name == SCHEMA), None)
            if found is None or found.size_bytes > MAX_SCHEMA_BYTES:
                raise InvalidData(f"the file is no skops file: it has no {SCHEMA}, or a very long one; write it: {EXPORT}")
            content = found.read()
        schema = json.loads(content)
    except (ValueError, RecursionError, zipfile.BadZipFile):
        raise InvalidData(f"the file is no skops file: its {SCHEMA} cannot be read; write it anew: {EXPORT}") from None
    if not isinstance(schema, dict) or "__class__" not in schema:
        raise InvalidData(f"the file is no skops file: its {SCHEMA} describes no object; write it anew: {EXPORT}")
    return schema


def _check_names(schema: dict[str, Any]) -> None:
    """Raises InvalidData for a class of another library, a call, and a nest deeper than any model's."""
    strange: set[str] = set()
    waiting: list[tuple[Any, int]] = [(schema, 0)]
    while waiting:
        value, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise InvalidData(f"the file is nested more than {MAX_DEPTH} deep, as no model is; write it anew: {EXPORT}")
        if isinstance(value, dict):
            if "__class__" in value:
                name = f"{value.get('__module__')}.{value['__class__']}"
                known = str(value.get("__module__")).partition(".")[0] in LIBRARIES
                if not known or value.get("__loader__") in CODE_LOADERS:
                    strange.add(name)
            waiting += [(inner, depth + 1) for inner in value.values()]
        elif isinstance(value, list):
            waiting += [(inner, depth + 1) for inner in value]
    if strange:
        raise _holds(sorted(strange))


def _holds(strange: list[str]) -> InvalidData:
    named = ", ".join(name[:100] for name in strange[:5])
    more = f" and {len(strange) - 5} more" if strange[5:] else ""
    return InvalidData(
        f"the file holds what is not scikit-learn's own: {named}{more}; only models made of scikit-learn's estimators alone are"
        " imported. Replace those parts by scikit-learn's, or export the whole model to ONNX"
    )


def _check_model(model: Any) -> None:
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    if not hasattr(model, "get_params") or not type(model).__module__.startswith("sklearn."):
        raise InvalidData(
            f"the file holds a {type(model).__name__}, no scikit-learn estimator; write the fitted model: {EXPORT}"
        )
    try:
        check_is_fitted(model)
    except (NotFittedError, TypeError):
        raise InvalidData(f"the {type(model).__name__} was never fitted; fit it, and write it anew: {EXPORT}") from None


def _trees(model: Any) -> Iterator[tuple[Any, int]]:
    """The nodes of every tree, and how many features it was grown on."""
    for part in parts_of(model):
        if hasattr(part, "tree_"):
            yield part.tree_, part.n_features_in_
        for grown in getattr(part, "_predictors", None) or ():
            for tree in grown:
                yield tree, part.n_features_in_


def _check_tree(given: tuple[Any, int]) -> None:
    """Raises InvalidData where a branch leads out of its tree, or asks a feature that is not there: nobody looks later."""
    tree, num_features = given
    if hasattr(tree, "children_left"):
        left, right, asked = tree.children_left, tree.children_right, tree.feature
        is_leaf = left == _LEAF
    else:
        left, right, asked = (tree.nodes[name].astype(np.int64) for name in ("left", "right", "feature_idx"))
        is_leaf = tree.nodes["is_leaf"].astype(bool)
    inner = ~is_leaf
    own = np.flatnonzero(inner)
    is_right = len(is_leaf) > 0
    for to in (left[inner], right[inner]):
        is_right = is_right and bool((to > own).all() and (to < len(is_leaf)).all())
    if not is_right or not bool((asked[inner] >= 0).all() and (asked[inner] < num_features).all()):
        raise InvalidData(f"the file is damaged: a branch of a tree leads nowhere; write the model anew: {EXPORT}")


def _version_notices(warned: list[Any]) -> list[str]:
    from sklearn import __version__
    from sklearn.exceptions import InconsistentVersionWarning

    versions = {
        str(one.message.original_sklearn_version) for one in warned if isinstance(one.message, InconsistentVersionWarning)
    }
    if not versions:
        return []
    return [f"the model was made with scikit-learn {', '.join(sorted(versions))}, and its answers compared with {__version__}"]


def _first_line(problem: Exception) -> str:
    lines = str(problem).strip().splitlines()
    return f"{type(problem).__name__}: {lines[0][:200]}" if lines else type(problem).__name__
