"""A recipe as a caller has it: a mapping, YAML text, or the path of a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modeltap.errors import InvalidRecipe

RecipeLike = Mapping[str, Any] | str | os.PathLike[str]
"""A recipe as a mapping, as YAML text, or the path of a YAML file."""


def read_recipe(recipe: RecipeLike | None) -> Mapping[str, Any] | str | None:
    """A mapping or YAML text as the server takes it; a path is read. Raises InvalidRecipe where no file is there."""
    if recipe is None or isinstance(recipe, Mapping):
        return recipe
    if isinstance(recipe, str) and ("\n" in recipe or ": " in recipe):
        return recipe
    path = Path(recipe).expanduser()
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else "it is not UTF-8 text"
        raise InvalidRecipe(f"the recipe '{path}' cannot be read: {reason}") from None
