"""A server elsewhere that speaks OpenAI's protocol and answers for a deployment: where it is, or how it is started."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Annotated, NamedTuple
from urllib.parse import urlsplit

import msgspec

from modeltap.errors import InvalidInput, Refused

PORT_MARK = "{port}"
"""Stands in a command for the port that its server must listen on, at 127.0.0.1."""
MAX_CONTEXT = 16_777_216
MAX_ARGUMENTS = 256
MAX_ARGUMENT_CHARS = 4096
MAX_NAME_CHARS = 256
HOSTS_SETTING = "MODELTAP_UPSTREAM_HOSTS"
PROGRAMS_SETTING = "MODELTAP_UPSTREAM_PROGRAMS"

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


class Upstream(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Either `url` or `command`. It holds no secret: `key_variable` only says where the server finds one."""

    url: str = ""
    """What stands before /chat/completions: https://host/v1."""
    command: tuple[str, ...] = ()
    """Program and arguments, one of which has {port} in it."""
    model: str = ""
    """Its name there; '' is the first that a command's server lists."""
    key_variable: str = ""
    """The variable of the server's environment that holds the key for the URL; '' sends none."""
    variables: tuple[str, ...] = ()
    """Of the server's environment, handed on to the command beside those that every program needs."""
    context_tokens: Annotated[int, msgspec.Meta(ge=1, le=MAX_CONTEXT)] = 8192
    """Prompt and answer together: what a request that names no limit may use at the most."""
    max_streams: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 256
    """Requests at a time; more are refused at the door."""


class HostRule(NamedTuple):
    """One entry of the allow-list. Only an entry with a port reaches addresses that are not public."""

    host: str
    port: int | None


class Place(NamedTuple):
    """What a URL names."""

    scheme: str
    host: str
    port: int
    path: str


def parse_upstream(upstream: Upstream) -> Upstream:
    """The same, if it makes sense by itself. Raises InvalidInput naming the field that does not."""
    if bool(upstream.url) == bool(upstream.command):
        raise _invalid("url", "an upstream is either a URL or a command; give one of the two")
    if len(upstream.model) > MAX_NAME_CHARS or not upstream.model.isprintable():
        raise _invalid("model", f"the model's name there has at most {MAX_NAME_CHARS} printable characters")
    if upstream.url:
        place_of(upstream.url)
        if not upstream.model:
            raise _invalid("model", "name the model as the server behind the URL calls it")
        if upstream.variables:
            raise _invalid("variables", "variables are handed to a command; a URL has none to hand them to")
    else:
        _check_command(upstream.command)
        if upstream.key_variable:
            raise _invalid("key_variable", "a command's server gets a fresh key at every start; leave it out")
    for name in (*upstream.variables, *((upstream.key_variable,) if upstream.key_variable else ())):
        if not _VARIABLE.fullmatch(name):
            raise _invalid("key_variable", f"'{name[:80]}' cannot be the name of a variable; such as UPSTREAM_KEY")
    return upstream


def place_of(url: str) -> Place:
    """Scheme, host, port and path of the URL. Raises InvalidInput for one that is no plain http or https address."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _invalid("url", f"'{url[:200]}' is no URL; give one such as https://host/v1") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or len(url) > 2048 or not url.isprintable() or " " in url:
        raise _invalid("url", f"'{url[:200]}' must be http or https with a host, such as https://host/v1")
    if parts.username is not None or parts.password is not None:
        raise _invalid("url", "a URL holds no name or password; put the key into a variable and name that")
    if parts.query or parts.fragment:
        raise _invalid("url", "the URL ends with its path, such as /v1; leave out what follows '?' or '#'")
    return Place(parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80), parts.path.rstrip("/"))


def parse_hosts(setting: str) -> tuple[HostRule, ...]:
    """The entries of the allow-list: `host`, `host:port` or `[address]:port`. Raises InvalidInput."""
    rules = []
    for entry in filter(None, (part.strip() for part in setting.split(","))):
        try:
            parts = urlsplit(f"//{entry}")
            rule = HostRule(parts.hostname or "", parts.port)
        except ValueError:
            rule = HostRule("", None)
        if not rule.host or parts.path or parts.username is not None:
            raise InvalidInput(f"{HOSTS_SETTING} has '{entry}'; its entries are host or host:port, separated by commas")
        rules.append(rule)
    return tuple(rules)


def check_host(place: Place, rules: Collection[HostRule]) -> bool:
    """Whether the place may also have an address that is not public. Raises Refused where it is not on the list."""
    if HostRule(place.host, place.port) in rules:
        return True
    if HostRule(place.host, None) in rules:
        return False
    raise Refused(
        f"'{place.host}:{place.port}' is not among the hosts that deployments may lead to; add it to {HOSTS_SETTING} on the"
        " server"
    )


def check_program(command: tuple[str, ...], programs: str) -> None:
    """Raises Refused where the setting does not name the program, as the command does."""
    allowed = [part.strip() for part in programs.split(",") if part.strip()]
    if command[0] not in allowed:
        listed = f"; allowed: {', '.join(allowed)}" if allowed else ""
        raise Refused(
            f"'{command[0][:200]}' is not among the programs that deployments may start{listed}; add it to"
            f" {PROGRAMS_SETTING} on the server"
        )


def _check_command(command: tuple[str, ...]) -> None:
    if len(command) > MAX_ARGUMENTS or any(len(part) > MAX_ARGUMENT_CHARS or "\0" in part for part in command):
        raise _invalid("command", f"a command has at most {MAX_ARGUMENTS} parts of {MAX_ARGUMENT_CHARS} characters")
    if not command[0].strip():
        raise _invalid("command", "a command begins with its program")
    if not any(PORT_MARK in part for part in command[1:]):
        raise _invalid("command", f"the command says {PORT_MARK} where its server takes the port, as in --port {PORT_MARK}")


def _invalid(field: str, what: str) -> InvalidInput:
    return InvalidInput(what, fields=[(field, what)])
