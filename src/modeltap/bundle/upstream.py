"""The bundle of a version whose engine is elsewhere: a manifest, and in place of weights where its server is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from modeltap.bundle.files import description_files
from modeltap.bundle.golden import Golden
from modeltap.domain.dataset import Column, Schema
from modeltap.domain.model import EngineChoice, Language, Lineage, Manifest
from modeltap.domain.signature import Signature, TensorSpec
from modeltap.domain.upstream import Upstream, parse_upstream
from modeltap.errors import Broken, InvalidInput

UPSTREAM = "upstream.json"
TEXT = "text"
_SPEC = TensorSpec(TEXT, "BYTES", (-1,))


def upstream_files(upstream: Upstream, *, code_version: str) -> tuple[dict[str, bytes | Path], Manifest]:
    """The files of the version and its manifest; the same bytes for the same upstream."""
    manifest = Manifest(
        task="text-generation",
        architecture="upstream",
        signature=Signature((_SPEC,), (_SPEC,)),
        engine=EngineChoice(name="upstream"),
        schema=Schema(form="texts", columns=(Column(name=TEXT, kind="text"),)),
        output=TEXT,
        language=Language(family="upstream", context_tokens=upstream.context_tokens, vocabulary=0, parameters=0),
        lineage=Lineage(code_version=code_version),
    )
    golden = Golden(rows=[], answers={}, environment={})
    described = description_files(manifest=manifest, golden=golden, card=_card(upstream))
    content = msgspec.json.format(msgspec.json.encode(upstream, order="deterministic"), indent=1)
    return {**described, UPSTREAM: content}, manifest


def read_upstream(files: Mapping[str, Path]) -> Upstream:
    """Where the version's server is. Raises Broken."""
    try:
        return parse_upstream(msgspec.json.decode(files[UPSTREAM].read_bytes(), type=Upstream))
    except KeyError as missing:
        raise Broken(f"the bundle has no {missing}") from None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, InvalidInput) as problem:
        raise Broken(f"the bundle's {UPSTREAM} cannot be read: {problem}") from None


def _card(upstream: Upstream) -> str:
    where = f"the server at {upstream.url}" if upstream.url else f"a server that modeltap starts: {upstream.command[0]}"
    return (
        f"# An upstream\n\nAnswered by {where}, where the model is called '{upstream.model or 'what it lists first'}'.\n"
        "modeltap checks keys and limits, and counts what is used by what that server says of it.\n"
    )
