"""What the server's answers hold, as typed values. `raw` is the whole JSON object, also what this client does not know."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar, overload

import msgspec

from modeltap.client.errors import ApiError
from modeltap.client.receipt import Receipt
from modeltap.domain.dataset import Schema
from modeltap.domain.progress import Progress

RESTING = frozenset({"succeeded", "failed", "cancelled", "paused"})
"""States that a job leaves only when somebody asks."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    raw: dict[str, Any] = {}


class Server(Answer, frozen=True, kw_only=True):
    version: str
    pid: int
    home: str = ""
    background: bool = False
    started_at: datetime | None = None
    settings: dict[str, Any] = {}


class Dataset(Answer, frozen=True, kw_only=True):
    """One version of a dataset. `created` is False where the same data was there already; `profile` is of `get` only."""

    id: str
    name: str
    version: int
    digest: str
    schema: Schema
    num_rows: dict[str, int]
    created: bool = False
    notices: tuple[str, ...] = ()
    job: str | None = None
    created_at: datetime | None = None
    profile: dict[str, Any] | None = None
    versions: tuple[int, ...] = ()
    size_bytes: int | None = None


def dataset_ref(dataset: str | Dataset) -> str:
    return dataset.id if isinstance(dataset, Dataset) else dataset


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One runner of a job. `end` None: it runs; else succeeded, failed, waits, paused, cancelled, exited, killed,
    out_of_memory, over_memory, frozen, silent, never_started or vanished."""

    number: int
    started_at: datetime
    ended_at: datetime | None = None
    end: str | None = None
    detail: str | None = None
    pid: int | None = None
    threads: int | None = None
    exit_status: int | None = None
    signal: int | None = None
    log_line: str | None = None
    """The last it wrote."""
    peak_bytes: int | None = None


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How many jobs go before one that waits, itself counted; it waits for a slot, for threads, or for its runner to start."""

    position: int
    waits_for: str
    detail: str


class Job(Answer, frozen=True, kw_only=True):
    id: str
    kind: str
    state: str
    spec: dict[str, Any] = {}
    wanted: str = "run"
    attempt: int = 0
    created_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    progress: Progress | None = None
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    priority: str = "normal"
    threads: int | None = None
    memory_bytes: int | None = None
    given_threads: int | None = None
    """Of those that jobs have together, while it runs."""
    not_before: datetime | None = None
    """A job whose last failure may pass is tried again then; `waiting` tells of that failure, as `error` would."""
    waiting: dict[str, Any] | None = None
    queue: Standing | None = None
    """Of one that waits for its turn."""
    attempts: tuple[Attempt, ...] = ()
    """How each of its runners ended, the oldest first; of `get` only."""

    @property
    def is_resting(self) -> bool:
        """Whether it ended or is paused: nothing more happens until somebody asks."""
        return self.state in RESTING


class Version(Answer, frozen=True, kw_only=True):
    """One version of a model. `metrics`: part → metric → value. From `manifest` on only `get` tells: that of the bundle, and
    its `files` with their sizes in bytes."""

    id: str
    name: str
    version: int
    digest: str
    state: str = "candidate"
    aliases: tuple[str, ...] = ()
    created_at: datetime | None = None
    task: str = ""
    architecture: str = ""
    dataset: str = ""
    job: str | None = None
    metrics: dict[str, dict[str, Any]] = {}
    manifest: dict[str, Any] = {}
    evaluation: dict[str, Any] | None = None
    history: tuple[Any, ...] = ()
    versions: tuple[dict[str, Any], ...] = ()
    files: dict[str, int] = {}


class Model(Answer, frozen=True, kw_only=True):
    """A model's name, how many versions it has, and the newest."""

    name: str
    versions: int
    latest: Version


class Comparison(Answer, frozen=True, kw_only=True):
    """`metrics`: metric → version → value. `recipe_differences`: recipe key → version → value, only where they differ."""

    versions: tuple[Version, ...]
    metrics: dict[str, dict[str, Any]]
    recipe_differences: dict[str, dict[str, Any]] = {}
    certificates: dict[str, dict[str, Any]] = {}
    """Of those that were compressed."""


class Deployment(Answer, frozen=True, kw_only=True):
    name: str
    routes: tuple[dict[str, Any], ...] = ()
    previous: tuple[dict[str, Any], ...] = ()
    tenant: str = ""
    is_default: bool = False
    terms: dict[str, Any] = {}
    status: str = ""
    reason: str = ""
    task: str = ""
    labels: tuple[str, ...] = ()
    signature: dict[str, Any] | None = None
    language: dict[str, Any] | None = None
    """Of a language model: family, context_tokens, weights, whether it `has_chat_template`, …"""
    url: str = ""


class Tenant(Answer, frozen=True, kw_only=True):
    """`limits`: name → limit, None where there is none; budgets are decimal texts."""

    name: str
    limits: dict[str, Any] = {}
    created_at: datetime | None = None


class Key(Answer, frozen=True, kw_only=True):
    """Who may call. `models` are the deployments it may call, None is all; `secrets` say since when and until when its texts
    open."""

    id: str
    tenant: str
    label: str = ""
    scopes: tuple[str, ...] = ()
    models: tuple[str, ...] | None = None
    limits: dict[str, Any] = {}
    state: str = ""
    secrets: tuple[dict[str, Any], ...] = ()
    created_at: datetime | None = None
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


class NewKey(Key, frozen=True, kw_only=True):
    """A key just made or rotated; its text is told this once."""

    key: str


class TrainResult(Answer, frozen=True, kw_only=True):
    """`metrics`: part (test, val) → metric → value, with `<metric>_interval` beside it."""

    job: str
    version: str
    name: str
    digest: str = ""
    metrics: dict[str, dict[str, Any]] = {}
    notices: tuple[str, ...] = ()
    candidates: tuple[dict[str, Any], ...] = ()
    """Of `architecture: auto`, as tried: name, architecture, state, metrics, epochs, seconds and weight in the blend."""


class EvaluateResult(Answer, frozen=True, kw_only=True):
    job: str
    model: str
    dataset: str
    part: str
    metrics: dict[str, Any] = {}
    evaluation: dict[str, Any] | None = None
    notices: tuple[str, ...] = ()


class TuneResult(TrainResult, frozen=True, kw_only=True):
    """Of the best trial's version. `trials`: how many were complete, pruned and failed, and which was the `best`."""

    trials: dict[str, Any] = {}


class CompressResult(Answer, frozen=True, kw_only=True):
    """`certificate`: quality, sizes and speeds of parent and child with intervals, and `reasons`; empty: it is a win, and the
    version a candidate."""

    job: str
    version: str
    name: str
    state: str
    digest: str = ""
    certificate: dict[str, Any] = {}


class RenderedRecipe(Answer, frozen=True, kw_only=True):
    recipe: dict[str, Any]
    yaml: str


class Predictions(Sequence[Any]):
    """One answer a row, in order; `model` is the version that gave them, `receipt` what the call cost and what is left."""

    def __init__(self, raw: dict[str, Any], receipt: Receipt | None = None) -> None:
        self.raw = raw
        self.receipt = receipt or Receipt()
        self.answers: list[Any] = raw.get("predictions", [])
        self.model: str = raw.get("model", "")
        self.id: str = raw.get("id", "")

    @property
    def cost(self) -> Decimal | None:
        """What the call was charged; None where it was charged in an earlier try."""
        return self.receipt.cost

    @property
    def request_id(self) -> str:
        """By which the server's log and usage records know the call."""
        return self.receipt.request_id or self.id

    def __len__(self) -> int:
        return len(self.answers)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.answers)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        return self.answers[index]

    def __repr__(self) -> str:
        return f"<{len(self)} answers of {self.model}>"


A = TypeVar("A", bound=Answer)


def read_answer(raw: Any, kind: type[A]) -> A:
    """The JSON object as that value. Raises ApiError if this client does not understand it."""
    try:
        return msgspec.convert({**raw, "raw": raw}, kind, strict=False)
    except (msgspec.ValidationError, TypeError) as problem:
        raise ApiError(
            f"the server's answer is not a {kind.__name__} as this client knows it ({problem});"
            " use a client of the server's version: modeltap --version on both sides"
        ) from None
