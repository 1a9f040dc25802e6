"""Where the pages of this room are: their templates, in which every text is escaped and every name must be known."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

Filters = dict[str, object]


def template(name: str, filters: Filters | None = None) -> Template:
    """The template of that name."""
    environment = _environment()
    environment.filters |= filters or {}
    return environment.get_template(name)


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("modeltap.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
