"""The names of datasets, models and deployments, and references to one version of them."""

from __future__ import annotations

import re

from modeltap.errors import InvalidInput

MAX_NAME_CHARS = 64
LATEST = "latest"
"""The reference to the newest version; no alias may be called so."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ALIAS = re.compile(r"[a-z][a-z0-9-]*")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")


def parse_name(noun: str, given: str) -> str:
    """`given`, if it can name a `noun`. Raises InvalidInput saying what a name may hold."""
    if not isinstance(given, str) or len(given) > MAX_NAME_CHARS or not _NAME.fullmatch(given):
        raise InvalidInput(
            f"{_shown(given)} cannot name a {noun}; use 1 to {MAX_NAME_CHARS} of the letters a-z and A-Z, digits,"
            " '.', '_' and '-', and begin with a letter or a digit",
            fields=[("name", "not a valid name")],
        )
    return given


def parse_alias(given: str) -> str:
    """`given`, if it can be an alias of a version: a-z, then a-z, digits and '-'; not `latest`. Raises InvalidInput."""
    if not isinstance(given, str) or len(given) > MAX_NAME_CHARS or not _ALIAS.fullmatch(given):
        raise InvalidInput(
            f"{_shown(given)} cannot be an alias; use at most {MAX_NAME_CHARS} of the letters a-z, digits and '-',"
            " and begin with a letter",
            fields=[("alias", "not a valid alias")],
        )
    if given == LATEST:
        raise InvalidInput(
            f"the alias '{LATEST}' is reserved for the newest version; choose another", fields=[("alias", "reserved")]
        )
    return given


def parse_ref(given: str) -> tuple[str, str | None]:
    """Name and selector of `name`, `name@3`, `name@latest` or `name@alias`; the selector is None for a bare name.

    A selector of digits is a version number from 1 to 999999999. Raises InvalidInput.
    """
    if not isinstance(given, str):
        raise InvalidInput(f"{_shown(given)} is not a reference; write name, name@3 or name@alias")
    name, at, selector = given.partition("@")
    if at and not (_VERSION.fullmatch(selector) or (len(selector) <= MAX_NAME_CHARS and _ALIAS.fullmatch(selector))):
        raise InvalidInput(f"{_shown(given)} is not a reference; write name, name@3, name@{LATEST} or name@alias")
    return parse_name("dataset, model or deployment", name), selector if at else None


def _shown(given: object) -> str:
    text = str(given)
    return repr(text if len(text) <= MAX_NAME_CHARS else text[:MAX_NAME_CHARS] + "…")
