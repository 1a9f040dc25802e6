"""A recipe document → a typed `Recipe` with every default filled in: task's, then architecture's, then the user's keys.

An architecture's own options stand beside `architecture`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import msgspec

from modeltap.domain.dataset import Column, Kind, Role
from modeltap.domain.recipe import (
    Clean,
    Data,
    Distributed,
    EarlyStopping,
    Loss,
    Model,
    Optimizer,
    Recipe,
    Schedule,
    Search,
    Split,
    Tensor,
    Transforms,
)
from modeltap.domain.task import Task
from modeltap.errors import InvalidRecipe, nearest
from modeltap.recipe.architectures import architecture_names, find_architecture, parse_options, render_options
from modeltap.recipe.auto_architecture import AUTO, AUTO_ARCHITECTURE, check_auto
from modeltap.recipe.document import NAMED, check_values, expand
from modeltap.recipe.options import allowed_words, plain_reason, split_place
from modeltap.recipe.search_space import check_search, read_candidates
from modeltap.tasks.catalogue import find_task

DEFAULT = "default"
MAX_EPOCHS = 1_000_000
MAX_STEPS = 1_000_000_000
MAX_BATCH_SIZE = 10_000_000
MAX_THREADS = 1024
MAX_PROCESSES = 256
MAX_AXES = 8
MAX_EXTENT = 100_000_000
MAX_NAME_CHARS = 128

SECTIONS: dict[str, type[msgspec.Struct]] = {
    "data": Data,
    "data.split": Split,
    "data.clean": Clean,
    "data.transforms": Transforms,
    "model": Model,
    "model.input": Tensor,
    "model.output": Tensor,
    "loss": Loss,
    "optimizer": Optimizer,
    "schedule": Schedule,
    "early_stopping": EarlyStopping,
    "distributed": Distributed,
    "search": Search,
}


def parse_recipe(document: Mapping[str, Any], *, task: str | None = None, target: str | None = None) -> Recipe:
    """The complete recipe. `task` and `target` stand above the document's own, which may leave them out.

    Raises InvalidRecipe for an unknown key (with the nearest known one), a value of the wrong type or out of its bounds, an
    unknown task or architecture, and a combination that cannot be trained.
    """
    check_values(document)
    user = expand(document)
    if task is not None:
        user["task"] = task
    if target is not None:
        user["data"] = {**_mapping(user.get("data", {}), "data"), "target": target}
    if not isinstance(user.get("task"), str):
        raise InvalidRecipe("the recipe names no task; add `task: tabular-classification`, or pass --task")
    found = find_task(user["task"])
    if not found.forms:
        raise InvalidRecipe(f"nothing is trained for '{found.name}'; it is the task of models that were imported")
    model = _mapping(user.get("model", {}), "model")
    architecture = find_architecture(_architecture_name(model, found))
    merged = _merge(_merge(expand(found.defaults), expand(architecture.defaults)), user)
    merged["model"] = {**_split_options(_mapping(merged.get("model", {}), "model")), "architecture": architecture.name}
    _name_columns(merged)
    _check_keys(merged)
    if isinstance(searched := merged.get("search"), Mapping) and "space" in searched:
        merged["search"] = {**searched, "space": read_candidates(searched["space"])}
    recipe = _convert(merged)
    written_out = render_options(parse_options(architecture, recipe.model.options))
    recipe = msgspec.structs.replace(recipe, model=msgspec.structs.replace(recipe.model, options=written_out))
    if architecture.tasks and found.name not in architecture.tasks:
        raise InvalidRecipe(f"'{architecture.name}' does not do {found.name}; it does: {', '.join(architecture.tasks)}")
    if not architecture.tasks and "texts" in found.forms:
        fitting = [name for name in architecture_names() if found.name in find_architecture(name).tasks]
        raise InvalidRecipe(f"'{architecture.name}' reads no texts; for {found.name} there are: {', '.join(fitting)}")
    recipe = _check_whole(_resolve_loss(recipe, found))
    return recipe if recipe.search is None else check_search(recipe, user, found, parse_recipe)


def _architecture_name(model: Mapping[str, Any], task: Task) -> str:
    """What is left out is the task's quick default. `auto` is a search; of a task that has none it is the default, too."""
    name = model.get("architecture", DEFAULT)
    if not isinstance(name, str):
        raise InvalidRecipe("model.architecture must be a name")
    if name == DEFAULT or (name == AUTO and task.name not in AUTO_ARCHITECTURE.tasks):
        return task.architecture
    return name


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        both = isinstance(value, Mapping) and isinstance(under, Mapping)
        if both and not (key in NAMED and "name" in value and value["name"] != under.get("name")):  # type: ignore[union-attr]
            merged[key] = _merge(under, value)  # type: ignore[arg-type]
        else:
            merged[key] = value
    return merged


def _split_options(model: Mapping[str, Any]) -> dict[str, Any]:
    fixed = {name: model[name] for name in ("architecture", "input", "output") if name in model}
    own = {name: value for name, value in model.items() if name not in (*fixed, "options")}
    return {**fixed, "options": {**_mapping(model.get("options", {}), "model.options"), **own}}


def _name_columns(document: dict[str, Any]) -> None:
    data = document.get("data")
    if isinstance(data, Mapping) and isinstance(data.get("columns"), Mapping):
        columns = {
            name: {**column, "name": name} if isinstance(column, Mapping) else column
            for name, column in data["columns"].items()
        }
        document["data"] = {**data, "columns": columns}


def _check_keys(document: Mapping[str, Any]) -> None:
    _check_section("", Recipe, document)
    for place, section in SECTIONS.items():
        value: Any = document
        for part in place.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if isinstance(value, Mapping):
            _check_section(place + ".", section, value)
    for name, column in _mapping(_mapping(document.get("data", {}), "data").get("columns", {}), "data.columns").items():
        if isinstance(column, Mapping):
            _check_section(f"data.columns.{name}.", Column, column)


def _check_section(place: str, section: type[msgspec.Struct], value: Mapping[str, Any]) -> None:
    known = section.__struct_fields__
    for key in value:
        if key not in known:
            raise InvalidRecipe(
                f"unknown key '{place}{key}'{nearest(str(key), known)}", fields=[(f"{place}{key}", "unknown key")]
            )


def _convert(document: Mapping[str, Any]) -> Recipe:
    try:
        return msgspec.convert(document, Recipe, strict=False)
    except msgspec.ValidationError as problem:
        what, where = split_place(str(problem))
        place, _, key = where.rpartition(".")
        section = SECTIONS.get(place, Recipe) if not place or place in SECTIONS else None
        words = allowed_words(section, key) if section is not None else []
        told = plain_reason(what, document, where, words)
        raise InvalidRecipe(f"{where or 'recipe'}: {told}", fields=[(where, told)]) from None


def _resolve_loss(recipe: Recipe, task: Task) -> Recipe:
    name = task.losses[0] if recipe.loss.name == "auto" else recipe.loss.name
    if name not in task.losses:
        raise InvalidRecipe(f"loss '{name}' does not fit {task.name}; allowed: {', '.join(task.losses)}")
    return msgspec.structs.replace(recipe, loss=msgspec.convert({**msgspec.to_builtins(recipe.loss), "name": name}, Loss))


def _check_whole(recipe: Recipe) -> Recipe:
    split = recipe.data.split
    if split.train <= 0:
        raise InvalidRecipe("data.split.train must be above 0; nothing could be trained")
    if split.train + split.val + split.test > 1 + 1e-9:
        total = split.train + split.val + split.test
        raise InvalidRecipe(f"data.split adds up to {total:g}; train, val and test together are at most 1")
    if split.group and split.time:
        raise InvalidRecipe("data.split has both group and time; choose one")
    low, high = recipe.data.clean.outlier_quantiles
    if low >= high:
        raise InvalidRecipe(f"data.clean.outlier_quantiles [{low:g}, {high:g}] must rise")
    if recipe.optimizer.weight_decay and recipe.optimizer.name != "adamw":
        raise InvalidRecipe("optimizer.weight_decay is for adamw; for the others use optimizer.l2")
    for where, given, largest in (
        ("epochs", recipe.epochs, MAX_EPOCHS),
        ("steps", recipe.steps or 1, MAX_STEPS),
        ("batch_size", recipe.batch_size, MAX_BATCH_SIZE),
        ("accumulate", recipe.accumulate, recipe.batch_size),
        ("threads", recipe.threads or 1, MAX_THREADS),
        ("distributed.processes", recipe.distributed.processes, MAX_PROCESSES),
    ):
        if given > largest:
            raise InvalidRecipe(f"{where} is {given}; at most {largest:,} is allowed", fields=[(where, "too large")])
    _check_columns(recipe)
    _check_tensors(recipe)
    _check_language(recipe)
    _check_distributed(recipe)
    if recipe.model.architecture == AUTO:
        check_auto(recipe)
    return recipe


def _check_distributed(recipe: Recipe) -> None:
    processes, where = recipe.distributed.processes, "distributed.processes"
    if processes == 1:
        if recipe.distributed.gradients != "auto":
            told = "distributed.gradients is for several processes; set distributed.processes, or leave it out"
            raise InvalidRecipe(told, fields=[("distributed.gradients", "unused")])
        return
    architecture = find_architecture(recipe.model.architecture)
    if architecture.family not in ("network", "language") or not architecture.shares_batches:
        told = f"{where} is {processes}, and '{architecture.name}' is trained by one process; leave distributed out"
        raise InvalidRecipe(told, fields=[(where, "one process only")])
    if recipe.batch_size < processes:
        told = f"batch_size is {recipe.batch_size}, and each of {processes} processes needs a row of it; raise it"
        raise InvalidRecipe(told, fields=[("batch_size", "fewer rows than processes")])


def _check_language(recipe: Recipe) -> None:
    if find_architecture(recipe.model.architecture).family == "language":
        return
    for key, given, default in (
        ("steps", recipe.steps, None),
        ("accumulate", recipe.accumulate, 1),
        ("precision", recipe.precision, "auto"),
    ):
        if given != default:
            told = f"{key} is for language models; '{recipe.model.architecture}' is none"
            raise InvalidRecipe(told, fields=[(key, "unused")])


def _check_columns(recipe: Recipe) -> None:
    allowed = [*get_args(Kind), *get_args(Role)]
    for name, said in recipe.data.columns.items():
        if isinstance(said, str) and said not in allowed:
            where = f"data.columns.{name}"
            known = nearest(said, allowed)
            raise InvalidRecipe(f"{where} is '{said}', which is no kind or role{known}", fields=[(where, "unknown")])
    weights = recipe.loss.class_weights
    for label, weight in weights.items() if isinstance(weights, Mapping) else ():
        if weight < 0:
            raise InvalidRecipe(f"loss.class_weights.{label} is {weight:g}; a weight is 0 or more")


def _check_tensors(recipe: Recipe) -> None:
    for where, tensor in (("model.input", recipe.model.input), ("model.output", recipe.model.output)):
        if tensor.shape is not None and not (len(tensor.shape) <= MAX_AXES and all(1 <= n <= MAX_EXTENT for n in tensor.shape)):
            raise InvalidRecipe(
                f"{where}.shape is {list(tensor.shape)}; up to {MAX_AXES} whole numbers from 1 to {MAX_EXTENT:,} are allowed,"
                " without the batch"
            )
        name = tensor.name
        if name is not None and not (name == name.strip() and 0 < len(name) <= MAX_NAME_CHARS and name.isprintable()):
            raise InvalidRecipe(f"{where}.name is {name[:80]!r}; a name is 1 to {MAX_NAME_CHARS} printable characters")
        if name is not None and name.startswith("modeltap"):
            raise InvalidRecipe(f"{where}.name is '{name}'; names that begin with 'modeltap' are the graph's own")


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidRecipe(f"{where} must be a mapping of keys, given was {value!r}")
    return value
