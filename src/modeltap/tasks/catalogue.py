"""Every task by name: the built-in ones, and those of installed packages under the entry point group `modeltap.tasks`."""

from __future__ import annotations

from importlib.metadata import entry_points

from modeltap.domain.task import Task
from modeltap.errors import InvalidRecipe, nearest
from modeltap.tasks import (
    image_classification,
    tabular_classification,
    tabular_regression,
    tensors,
    text_classification,
    text_embedding,
    text_generation,
)

GROUP = "modeltap.tasks"
BUILT_IN: dict[str, Task] = {
    module.TASK.name: module.TASK
    for module in (
        tabular_classification,
        tabular_regression,
        image_classification,
        text_classification,
        text_embedding,
        text_generation,
    )
}
IMPORTED: dict[str, Task] = {tensors.TASK.name: tensors.TASK}
"""Of models that were not trained here; nothing can be trained for them."""


def find_task(name: str) -> Task:
    """The task of that name. Raises InvalidRecipe naming the nearest one."""
    built_in = BUILT_IN.get(name) or IMPORTED.get(name)
    if built_in is not None:
        return built_in
    added = {point.name: point for point in entry_points(group=GROUP)}
    if name not in added:
        raise InvalidRecipe(f"there is no task '{name}'{nearest(name, [*BUILT_IN, *added])}")
    task = added[name].load()
    if not isinstance(task, Task) or task.name != name:
        raise InvalidRecipe(f"the entry point '{name}' in {GROUP} is not a modeltap Task of that name")
    return task


def task_names() -> list[str]:
    """All that can be trained for, sorted."""
    return sorted({*BUILT_IN, *(point.name for point in entry_points(group=GROUP))})
