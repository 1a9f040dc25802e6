"""Servers elsewhere as versions: what is named is checked, asked whether it knows the model, and registered under a name."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from modeltap import __version__
from modeltap.bundle.upstream import upstream_files
from modeltap.domain.model import ModelVersion
from modeltap.domain.names import parse_name
from modeltap.domain.upstream import Upstream, check_host, check_program, parse_hosts, parse_upstream, place_of
from modeltap.engines.upstream_trial import try_upstream
from modeltap.errors import Conflict, InvalidInput, NotFound
from modeltap.storage.artifacts import ArtifactStore
from modeltap.storage.models import ModelRepository


class UpstreamVersions:
    """Bound to the tenant of its repository. `hosts` and `programs` are the settings that say what is allowed."""

    def __init__(self, models: ModelRepository, artifacts: ArtifactStore, *, hosts: str, programs: str) -> None:
        self._models = models
        self._artifacts = artifacts
        self._hosts = hosts
        self._programs = programs

    def register(self, name: str, fields: Mapping[str, Any]) -> ModelVersion:
        """The version of that name that these fields of Upstream make; the newest one, if they are the same. Blocks while the
        server is asked; a command is first started where it is deployed.

        Raises InvalidInput, Refused for a host or program that is not allowed, Conflict for a name that is a model's of this
        home, NotFound for a model that is not known there, UpstreamFailed.
        """
        parse_name("model", name)
        upstream = parse_upstream(_read(fields))
        if upstream.command:
            check_program(upstream.command, self._programs)
        else:
            rules = parse_hosts(self._hosts)
            check_host(place_of(upstream.url), rules)
            context_tokens = asyncio.run(try_upstream(upstream, rules))
            if context_tokens is not None and "context_tokens" not in fields:
                upstream = msgspec.structs.replace(upstream, context_tokens=context_tokens)
        files, manifest = upstream_files(upstream, code_version=__version__)
        newest = self._newest(name)
        if newest is not None and newest.manifest.engine.name != "upstream":
            raise Conflict(f"'{name}' is a model of this home; give the upstream another name")
        digest = self._artifacts.put_tree(files)
        if newest is not None and newest.digest == digest:
            return newest
        return self._models.add(name, digest, manifest, None, datetime.now(UTC))

    def _newest(self, name: str) -> ModelVersion | None:
        try:
            return self._models.get(name)
        except NotFound:
            return None


def _read(fields: Mapping[str, Any]) -> Upstream:
    try:
        return msgspec.convert(dict(fields), Upstream)
    except msgspec.ValidationError as problem:
        what, _, where = str(problem).replace("`", "").partition(" - at ")
        field = where.removeprefix("$.") or "upstream"
        raise InvalidInput(f"{field}: {what}", fields=[(field, what)]) from None
