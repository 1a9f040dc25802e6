"""`search:` of a recipe: what each dotted key may be, checked by reading a recipe at every corner of the space."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from modeltap.domain.metrics import CLASS_METRICS, NUMBER_METRICS
from modeltap.domain.recipe import Candidates, Recipe, Search
from modeltap.domain.task import Task
from modeltap.errors import InvalidRecipe, nearest
from modeltap.recipe.architectures import find_architecture
from modeltap.recipe.document import apply_settings
from modeltap.recipe.options import read_struct
from modeltap.tasks.catalogue import find_task, task_names

MAX_CORNERS = 512
MAX_WHOLE_POINTS = 1000
FIXED = ("task", "search", "data.target", "data.split", "threads", "device", "precision", "distributed")
"""Keys that every trial has in common, as their values could not be compared otherwise, and what the machine gives."""
SEARCHED_FAMILIES = ("network", "boosting")

Params = Mapping[str, Any]
Parse = Callable[[Mapping[str, Any]], Recipe]


class Dimension(msgspec.Struct, frozen=True, kw_only=True):
    """One key that is searched: its `choices`, or the numbers from `low` to `high`."""

    key: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    step: float | None = None
    whole: bool = False
    """Only whole numbers: the key takes no others."""
    points: int | None = None

    @property
    def ends(self) -> tuple[Any, ...]:
        """Every choice, or both ends of the range."""
        if self.choices:
            return self.choices
        return (int(self.low), int(self.high)) if self.whole else (self.low, self.high)


def read_candidates(space: Any) -> dict[str, Any]:
    """The space with its shorthand, a bare list of choices, written out. Raises InvalidRecipe for what is neither list nor
    range, naming the key."""
    if not isinstance(space, Mapping):
        raise InvalidRecipe(f"search.space is a mapping of keys such as optimizer.lr, given was {space!r:.80}")
    written = {}
    for key, raw in space.items():
        given = {"choices": raw} if isinstance(raw, list | tuple) else raw
        _check_candidates(f"search.space.{key}", read_struct(given, Candidates, where=f"search.space.{key}"))
        written[str(key)] = given
    return written


def check_search(recipe: Recipe, document: Mapping[str, Any], task: Task, parse: Parse) -> Recipe:
    """The recipe with the metric's name written out. `document` is what it was read from, `parse` reads another.

    Raises InvalidRecipe for a key that no recipe has, a corner that cannot be trained, and what a search cannot do.
    """
    search = recipe.search
    assert search is not None
    if task.target == "none":
        searched = [name for name in task_names() if find_task(name).target != "none"]
        raise InvalidRecipe(
            f"a search compares its trials by how they answer a target, and {task.name} has none; what is searched:"
            f" {', '.join(searched)}; else leave the section out and use `modeltap train`"
        )
    if not search.space:
        raise InvalidRecipe("search.space is empty; name keys, such as optimizer.lr: {low: 1e-4, high: 1e-1, log: true}")
    allowed = CLASS_METRICS if task.target == "class" else NUMBER_METRICS
    metric = search.metric or (task.metric if task.metric in allowed else allowed[0])
    if metric not in allowed:
        raise InvalidRecipe(
            f"search.metric '{metric}' is none of {task.name}{nearest(metric, allowed)}", fields=[("search.metric", "unknown")]
        )
    _check_names(list(search.space))
    _check_corners(document, dimensions(search, document, parse), parse)
    return msgspec.structs.replace(recipe, search=msgspec.structs.replace(search, metric=metric))


def dimensions(search: Search, document: Mapping[str, Any], parse: Parse) -> tuple[Dimension, ...]:
    """What is searched, in the order of the space."""
    return tuple(_dimension(key, said, document, parse) for key, said in search.space.items())


def candidate(document: Mapping[str, Any], params: Params) -> dict[str, Any]:
    """The document of one trial: these keys set, and no search in it."""
    plain = {key: value for key, value in document.items() if key != "search"}
    return apply_settings(plain, {key: json.dumps(value) for key, value in params.items()})


def told(params: Params) -> str:
    """optimizer.lr=0.003, model.hidden=[64]"""
    return ", ".join(f"{key}={told_value(value)}" for key, value in params.items())


def told_value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)


def _check_candidates(where: str, said: Candidates) -> None:
    def wrong(what: str) -> InvalidRecipe:
        return InvalidRecipe(f"{where}: {what}", fields=[(where, what)])

    if said.choices is not None:
        if not said.choices:
            raise wrong("choices is empty; give one or more values")
        if said != Candidates(choices=said.choices):
            raise wrong("choices stand alone; low, high, log, step and points are of a range")
        return
    if said.low is None or said.high is None:
        raise wrong("give choices: [...], or low and high")
    if not said.low < said.high:
        raise wrong(f"low is {said.low:g} and high {said.high:g}; low must be below high")
    if said.log and said.low <= 0:
        raise wrong(f"low is {said.low:g}; with log: true it must be above 0")
    if said.step is not None and (said.log or not 0 < said.step <= said.high - said.low):
        raise wrong("step is above 0, at most high - low, and not together with log")
    if said.step is not None and said.points is not None:
        raise wrong("step and points both say which numbers; give one of them")


def _check_names(keys: list[str]) -> None:
    for key in keys:
        if any(key == fixed or key.startswith(fixed + ".") for fixed in FIXED):
            raise InvalidRecipe(
                f"search.space.{key}: '{key}' is the same in every trial; set it in the recipe itself",
                fields=[(f"search.space.{key}", "cannot be searched")],
            )
        for other in keys:
            if other.startswith(key + "."):
                raise InvalidRecipe(f"search.space has '{key}' and '{other}', which is a part of it; name one of them")


def _dimension(key: str, said: Candidates, document: Mapping[str, Any], parse: Parse) -> Dimension:
    if said.choices is not None:
        return Dimension(key=key, choices=said.choices)
    assert said.low is not None
    assert said.high is not None
    ends = (said.low, said.high, *(() if said.step is None else (said.step,)))
    whole = all(float(end).is_integer() for end in ends) and not _takes_fractions(key, said.low, said.high, document, parse)
    return Dimension(
        key=key,
        low=float(said.low),
        high=float(said.high),
        log=said.log,
        step=None if said.step is None else float(said.step),
        whole=whole,
        points=said.points,
    )


def _takes_fractions(key: str, low: float, high: float, document: Mapping[str, Any], parse: Parse) -> bool:
    between = low + (high - low) * 0.4375 + 0.0625
    try:
        parse(candidate(document, {key: between}))
    except InvalidRecipe:
        return False
    return True


def _check_corners(document: Mapping[str, Any], searched: tuple[Dimension, ...], parse: Parse) -> None:
    for corner in corners(searched):
        problem = _problem(document, corner, parse)
        if problem is None:
            continue
        culprits = dict(corner)
        for key in corner:
            fewer = {name: value for name, value in culprits.items() if name != key}
            if fewer and (less := _problem(document, fewer, parse)) is not None and less.message == problem.message:
                culprits = fewer
        raise InvalidRecipe(
            f"search.space: with {told(culprits)}: {problem.message}",
            fields=[(f"search.space.{key}", problem.message) for key in culprits],
        )


def _problem(document: Mapping[str, Any], params: Params, parse: Parse) -> InvalidRecipe | None:
    try:
        recipe = parse(candidate(document, params))
    except InvalidRecipe as problem:
        return problem
    family = find_architecture(recipe.model.architecture).family
    if family not in SEARCHED_FAMILIES:
        if family == "search":
            told = "is not trained in trials, it is a search itself: `modeltap train` runs it; or name one architecture"
        else:
            told = "is not trained in trials; name another one"
        return InvalidRecipe(f"the architecture '{recipe.model.architecture}' {told}")
    if recipe.distributed.processes > 1:
        return InvalidRecipe("a trial is trained by one process; leave distributed out, and set search.parallel")
    return None


def corners(searched: tuple[Dimension, ...]) -> Iterator[dict[str, Any]]:
    """Every combination of ends, the first ones first; of very many each end at least once, and some hundred drawn ones."""
    keys, ends = [one.key for one in searched], [one.ends for one in searched]
    num_corners = 1
    for values in ends:
        num_corners *= len(values)
    if num_corners <= MAX_CORNERS:
        for values in itertools.product(*ends):
            yield dict(zip(keys, values, strict=True))
        return
    first = {key: values[0] for key, values in zip(keys, ends, strict=True)}
    for key, values in zip(keys, ends, strict=True):
        for value in values:
            yield {**first, key: value}
    draw = random.Random(0)  # noqa: S311 - which corners are looked at
    for _ in range(MAX_CORNERS):
        yield {key: draw.choice(values) for key, values in zip(keys, ends, strict=True)}
