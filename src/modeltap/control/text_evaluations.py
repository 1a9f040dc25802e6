"""Whether a version that has no target, as it writes texts or makes vectors of them, can be measured on a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from modeltap.data.texts import text_form
from modeltap.domain.dataset import Dataset
from modeltap.domain.model import ModelVersion
from modeltap.errors import InvalidData, InvalidInput, MissingExtra
from modeltap.tasks import text_embedding, text_generation
from modeltap.tasks.catalogue import find_task

TASKS = (text_generation.TASK.name, text_embedding.TASK.name)


def has_no_target(version: ModelVersion) -> bool:
    return find_task(version.manifest.task).target == "none" and bool(find_task(version.manifest.task).forms)


def check_texts(version: ModelVersion, dataset: Dataset, said: Mapping[str, Any]) -> None:
    """`said`: what a person may say of rows with a target, which there is none of here.

    Raises InvalidInput for any of it, InvalidData where the two do not fit, MissingExtra.
    """
    task = find_task(version.manifest.task)
    if task.name not in TASKS:
        raise InvalidData(
            f"{version.id} is of the task {task.name}, which has no target that its answers could be compared with"
        )
    given = next((name for name, value in said.items() if value), None)
    if given is not None:
        raise InvalidInput(f"{given} is for rows with a target; {version.id} is measured on texts, leave it out")
    if version.manifest.architecture == "upstream":
        raise InvalidData(f"{version.id} is answered by a server elsewhere, which says nothing of how it foresees a text")
    if dataset.schema.form not in task.forms:
        raise InvalidData(f"{version.id} is measured on texts, {dataset.id} is {dataset.schema.form}; name other data")
    if task is not text_generation.TASK:
        return
    if any(find_spec(name) is None for name in ("torch", "transformers")):
        raise MissingExtra(what="what measures language models needs", extra="llm")
    names = [column.name for column in dataset.schema.columns]
    if text_form(names) is None and [column.kind for column in dataset.schema.features] != ["text"]:
        raise InvalidData(
            f"{dataset.id} has the columns {', '.join(names[:20])}; a language model is measured on documents (text), pairs"
            " (prompt, completion) or talks (messages)"
        )
