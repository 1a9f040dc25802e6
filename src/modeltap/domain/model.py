"""A model's versions, and the manifest that a bundle begins with."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

from modeltap.domain.certificate import Certificate
from modeltap.domain.dataset import Schema
from modeltap.domain.search import Tried
from modeltap.domain.signature import Signature
from modeltap.domain.tuning import Searched
from modeltap.errors import Conflict

VersionState = Literal["candidate", "approved", "rejected", "retired"]

TRANSITIONS: dict[tuple[VersionState, str], VersionState] = {
    ("candidate", "approve"): "approved",
    ("candidate", "reject"): "rejected",
    ("approved", "retire"): "retired",
}

BUNDLE_FORMAT = 1


class Lineage(msgspec.Struct, frozen=True, kw_only=True):
    """What a version was made from: everything that decides its weights. Of one that was imported, the file."""

    dataset: str = ""
    dataset_digest: str = ""
    recipe_digest: str = ""
    code_version: str
    seed: int = 0
    threads: int = 1
    parent: str | None = None
    source_digest: str = ""
    """Of the graph that was imported; empty for what was trained here."""
    tried: tuple[Tried, ...] = ()
    """Of a search: every candidate, in the order in which they were tried."""
    searched: Searched | None = None
    """The search over recipes whose best trial this is."""


class EngineChoice(msgspec.Struct, frozen=True, kw_only=True):
    """Which engine runs the graph. Smaller batches are padded up to `min_batch`, measured when the bundle was written, so
    that a row's answer does not depend on the rows beside it; 0 means that only single rows are exact."""

    name: Literal["onnxruntime", "openvino-genai", "upstream"] = "onnxruntime"
    min_batch: int = 1


class Language(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of a language model before it is loaded. Its files are those of an ordinary Hugging Face directory."""

    family: str
    """`llama`, `qwen2`, `gpt2`, `mistral`, …: the `model_type` of its config."""
    context_tokens: int
    """Prompt and answer together."""
    vocabulary: int
    parameters: int
    weights: Literal["float32", "bfloat16", "float16", "int8", "int4"] = "float32"
    """As they are served."""
    has_chat_template: bool = False
    cache: Literal["float32", "float16", "u8"] = "u8"
    """Precision of the keys and values that are kept of what was read."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The first file of a bundle. It holds no time, no job and no path, so that equal training gives an equal digest."""

    format: int = BUNDLE_FORMAT
    task: str
    architecture: str
    signature: Signature
    engine: EngineChoice
    schema: Schema
    """The columns a row may have; reading a row by it gives the graph's typed inputs."""
    output: str
    """The output that holds the answer: class probabilities, or the predicted number."""
    language: Language | None = None
    """Of a language model, which answers in tokens and has no graph."""
    labels: tuple[str, ...] = ()
    lineage: Lineage
    is_batched: bool = True
    """The first axis of every input and output is the sample, and no row's answer depends on another row. A graph without
    that is run for one request at a time."""
    metrics: dict[str, Any] = {}
    """Part → metric → value, with `<metric>_interval` beside it."""
    certificate: Certificate | None = None
    """Of a compressed version. It holds measured times, so it is kept with the version and not in its bundle."""


class ModelVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One immutable version of a named model; `digest` names its bundle in the artifact store."""

    name: str
    version: int
    digest: str
    state: VersionState
    manifest: Manifest
    job: str | None
    created_at: datetime
    aliases: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return f"{self.name}@{self.version}"


def next_state(state: VersionState, event: str) -> VersionState:
    """The state after `event`. Raises Conflict if the event does not fit."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise Conflict(f"a version that is {state} cannot be changed by '{event}'") from None
