"""Pages that need nothing else: a template in the frame that all share. Texts are escaped, and every name must be known."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, Template

ROOM = "modeltap.evaluation"


@cache
def page_template(name: str, *, room: str = ROOM, **filters: Callable[..., str]) -> Template:
    """The template of that name in `room`; what it extends and includes is looked for there, then here."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package) for package in dict.fromkeys((room, ROOM))]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= filters
    return environment.get_template(name)


def render_page(template: Template, **values: Any) -> str:
    """The page; what cannot be written as UTF-8, half of a surrogate pair, is a question mark there."""
    return template.render(**values).encode("utf-8", errors="replace").decode("utf-8")
