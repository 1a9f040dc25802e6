"""The version behind the name in a request that is answered from texts: vectors, or classes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from modeltap.domain.task import Task
from modeltap.errors import Forbidden, InvalidInput, ModelNotAllowed, ModelNotFound, NotFound
from modeltap.serving.call import Call
from modeltap.serving.plane import Plane
from modeltap.serving.version import Version

LONGEST_NAME = 200


@contextmanager
def naming_model(call: Call, name: str) -> Iterator[None]:
    """Within it, what is wrong with the model is said of the field `model`. Raises ModelNotFound, ModelNotAllowed."""
    allowed = call.principal.models
    try:
        yield
    except NotFound as problem:
        raise ModelNotFound(problem.message, fields=[("model", problem.message)]) from None
    except Forbidden as problem:
        if allowed is not None and name not in allowed:
            raise ModelNotAllowed(problem.message, fields=[("model", problem.message)]) from None
        raise


def find_text_version(plane: Plane, call: Call, name: str, task: Task) -> Version:
    """The loaded version. Raises ModelNotFound, ModelNotAllowed, Loading, and InvalidInput for one of another task."""
    with naming_model(call, name):
        try:
            version = plane.find(call, name)
        except InvalidInput as problem:
            raise InvalidInput(problem.message, fields=[("model", problem.message)]) from None
    if version.manifest.task != task.name:
        told = f"'{name[:LONGEST_NAME]}' is of the task {version.manifest.task}; this takes a deployment of {task.name}"
        raise InvalidInput(told, fields=[("model", told)])
    return version
