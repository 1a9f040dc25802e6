"""Fine-tuning in OpenAI's protocol: files become a training job on the version behind a model name, and its result a model
name that answers."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple

import msgspec

from modeltap.control.files import Files
from modeltap.control.fine_tuning_file import MIN_EXAMPLES, check_examples
from modeltap.domain.deployment import Deployment
from modeltap.domain.job import Job
from modeltap.domain.model import ModelVersion
from modeltap.domain.money import show_price
from modeltap.domain.names import MAX_NAME_CHARS
from modeltap.domain.stored_file import StoredFile
from modeltap.domain.tenant import Principal
from modeltap.domain.usage import UNITS
from modeltap.errors import InvalidInput, MissingExtra, ModelNotAllowed, ModelNotFound, NotFound
from modeltap.recipe.architectures import find_architecture
from modeltap.recipe.parse import parse_recipe
from modeltap.recipe.render import recipe_document
from modeltap.storage.artifacts import ArtifactStore
from modeltap.storage.deployments import DeploymentRepository
from modeltap.storage.files import FileRepository
from modeltap.storage.jobs import JobRepository, new_job_id
from modeltap.storage.models import ModelRepository

TASK = "text-generation"
WEIGHTS = "model.safetensors"
ID_PREFIX = "ftjob-"
JOB_PREFIX = "job-"
RESULTS = "results"
MAX_SUFFIX_CHARS = 40
MAX_PARENTS = 8
SEEDS = 2**31
_NEEDED = ("torch", "transformers", "peft")
_NO_NAME = re.compile(r"[^A-Za-z0-9._]+")

Architecture = Literal["lora", "full"]
FineTuningStatus = Literal["validating_files", "queued", "running", "succeeded", "failed", "cancelled", "paused"]


class Hyperparameters(msgspec.Struct, frozen=True, kw_only=True):
    """As they were asked for; None leaves it to the recipe's defaults."""

    n_epochs: int | None = None
    batch_size: int | None = None
    learning_rate_multiplier: float | None = None


class FileOf(msgspec.Struct, frozen=True, kw_only=True):
    """A file as it was when the job was made; it may be removed meanwhile."""

    id: str
    filename: str
    digest: str


class FineTuneSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a fine-tuning job does. `dataset` and `name` are its own, so that nobody else adds a version to them."""

    key: str
    model: str
    """As the client named it: a deployment."""
    base: str
    """The version that is trained on."""
    dataset: str
    name: str
    """Of the model that comes of it, and of the deployment."""
    recipe: dict[str, Any]
    checkpoint_every_s: float
    terms: dict[str, Any]
    """What the deployment of the base costs and takes, as /api/deployments reads it."""
    training_file: FileOf
    validation_file: FileOf | None = None
    architecture: Architecture = "lora"
    hyperparameters: Hyperparameters = Hyperparameters()
    seed: int
    suffix: str | None = None
    metadata: dict[str, str] | None = None


class FineTuning(NamedTuple):
    """A fine-tuning job as its client sees it, but for the wire."""

    job: Job
    spec: FineTuneSpec
    results: StoredFile | None

    @property
    def id(self) -> str:
        return ID_PREFIX + self.job.id.removeprefix(JOB_PREFIX)

    @property
    def status(self) -> FineTuningStatus:
        return status_of(self.job)


def status_of(job: Job) -> FineTuningStatus:
    """A job's state, and what it told last, in OpenAI's words. Pure."""
    if job.state == "running":
        return "validating_files" if (job.progress or {}).get("phase", "import") == "import" else "running"
    return job.state


class FineTunings:
    """Bound to the tenant of its repositories."""

    def __init__(
        self,
        files: Files,
        stored: FileRepository,
        models: ModelRepository,
        deployments: DeploymentRepository,
        artifacts: ArtifactStore,
        jobs: JobRepository,
        wake: Callable[[], None],
        *,
        threads: int,
        checkpoint_every_s: float,
    ) -> None:
        self._files = files
        self._stored = stored
        self._models = models
        self._deployments = deployments
        self._artifacts = artifacts
        self._jobs = jobs
        self._wake = wake
        self._threads = threads
        self._checkpoint_every_s = checkpoint_every_s

    def start(
        self,
        principal: Principal,
        *,
        model: str,
        training_file: str,
        validation_file: str | None = None,
        architecture: Architecture = "lora",
        hyperparameters: Hyperparameters = Hyperparameters(),  # noqa: B008  frozen
        seed: int | None = None,
        suffix: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> FineTuning:
        """The job, queued. Raises ModelNotFound, ModelNotAllowed, NotFound and InvalidInput naming the field, InvalidData with
        the line of the file that is no example, MissingExtra."""
        if any(find_spec(name) is None for name in _NEEDED):
            raise MissingExtra(what="what fine-tuning needs", extra="llm")
        deployment = self._deployment(principal, model)
        base = self._base(deployment)
        examples = self._file(principal, training_file, "training_file", least=MIN_EXAMPLES)
        measured = None if validation_file is None else self._file(principal, validation_file, "validation_file")
        told = base.manifest.language
        if examples.form == "chat" and (told is None or not told.has_chat_template):
            raise InvalidInput(
                f"the model '{model}' has no chat template, so that it cannot learn from messages; send"
                ' {"prompt": "…", "completion": "…"} lines',
                fields=[("training_file", "messages")],
            )
        if measured is not None and measured.form != examples.form:
            raise InvalidInput(
                f"validation_file has {measured.form} lines, training_file {examples.form} lines; send both in one form",
                fields=[("validation_file", "another form")],
            )
        job_id = new_job_id()
        name = result_name(model, suffix, job_id)
        chosen_seed = secrets.randbelow(SEEDS) if seed is None else seed
        spec = FineTuneSpec(
            key=principal.key,
            model=model,
            base=base.id,
            dataset=name,
            name=name,
            recipe=self._recipe(base, architecture, hyperparameters, chosen_seed, has_validation=measured is not None),
            checkpoint_every_s=self._checkpoint_every_s,
            terms=_terms(deployment),
            training_file=examples.file,
            validation_file=None if measured is None else measured.file,
            architecture=architecture,
            hyperparameters=hyperparameters,
            seed=chosen_seed,
            suffix=suffix,
            metadata=None if metadata is None else dict(metadata),
        )
        job = self._jobs.add("train", msgspec.to_builtins(spec), datetime.now(UTC), via="openai", job_id=job_id)
        self._wake()
        return FineTuning(job, spec, None)

    def get(self, job_id: str) -> FineTuning:
        """Raises NotFound."""
        return self._shown(self._job(job_id))

    def page(
        self, *, after: str | None, limit: int, metadata: Mapping[str, str] | None = None
    ) -> tuple[list[FineTuning], bool]:
        """The newest first, and whether there are more; with `metadata`, those that have all of it. Raises NotFound."""
        last = None if after is None else self._job(after)
        found: list[Job] = []
        while len(found) <= limit:
            jobs = self._jobs.page("openai", "train", after=last, limit=limit + 1)
            wanted = (metadata or {}).items()
            found += [job for job in jobs if wanted <= (job.spec.get("metadata") or {}).items()]
            if len(jobs) <= limit:
                break
            last = jobs[-1]
        return [self._shown(job) for job in found[:limit]], len(found) > limit

    def change(self, job_id: str, action: Literal["cancel", "pause", "resume"]) -> FineTuning:
        """The job after it was asked to; one that runs does it at its next checkpoint. Raises NotFound, Conflict."""
        job, now = self._job(job_id), datetime.now(UTC)
        changed = self._jobs.resume(job.id, now) if action == "resume" else self._jobs.ask(job.id, action, now)
        self._wake()
        return self._shown(changed)

    def version(self, fine_tuning: FineTuning) -> ModelVersion | None:
        """What came of it, if it got so far."""
        return self._models.of_job(fine_tuning.job.id)

    def history(self, version: ModelVersion) -> list[dict[str, Any]]:
        """What was measured on the way, one dict a pass or a look. Raises NotFound."""
        return self._models.extras(version)["history"]

    def _job(self, job_id: str) -> Job:
        try:
            job = self._jobs.get(JOB_PREFIX + job_id.removeprefix(ID_PREFIX))
        except NotFound:
            raise _no_job(job_id) from None
        if job.kind != "train" or job.via != "openai" or not job_id.startswith(ID_PREFIX):
            raise _no_job(job_id)
        return job

    def _shown(self, job: Job) -> FineTuning:
        name = f"{job.id}/{RESULTS}"
        made = self._stored.made_by((name,), datetime.now(UTC)) if job.state == "succeeded" else {}
        return FineTuning(job, msgspec.convert(job.spec, FineTuneSpec), made.get(name))

    def _deployment(self, principal: Principal, model: str) -> Deployment:
        try:
            found = self._deployments.get(model)
        except NotFound as problem:
            raise ModelNotFound(problem.message, fields=[("model", "unknown")]) from None
        if principal.models is not None and model not in principal.models:
            allowed = ", ".join(sorted(principal.models))
            raise ModelNotAllowed(f"the key is not for '{model}'; it is for: {allowed}", fields=[("model", "not allowed")])
        return found

    def _base(self, deployment: Deployment) -> ModelVersion:
        """The version with weights to train on: the deployed one, or the one that it was compressed from."""
        version = self._models.get(max(deployment.routes, key=lambda route: route.weight).model_id)
        for _ in range(MAX_PARENTS):
            manifest = version.manifest
            if manifest.language is not None and WEIGHTS in self._artifacts.tree(version.digest):
                return version
            if manifest.lineage.parent is None:
                break
            version = self._models.get(manifest.lineage.parent)
        what = "cannot be trained on" if version.manifest.language is not None else "is no language model"
        raise InvalidInput(
            f"the model '{deployment.name}' leads to {version.id}, which {what}; name one whose version holds {WEIGHTS}",
            fields=[("model", what)],
        )

    def _file(self, principal: Principal, file_id: str, field: str, *, least: int = 1) -> _Checked:
        file = self._files.for_job(principal, file_id, field=field, purpose="fine-tune")
        found = check_examples(self._artifacts.path(file.digest), file.filename, field=field, least=least)
        return _Checked(FileOf(id=file.id, filename=file.filename, digest=file.digest), found.form)

    def _recipe(
        self,
        base: ModelVersion,
        architecture: Architecture,
        given: Hyperparameters,
        seed: int,
        *,
        has_validation: bool,
    ) -> dict[str, Any]:
        """The full document. Raises InvalidRecipe for numbers that no recipe takes."""
        split = {"train": 1.0, "val": 0.0, "test": 0.0} if has_validation else {"train": 0.9, "val": 0.1, "test": 0.0}
        document: dict[str, Any] = {
            "task": TASK,
            "data": {"split": split},
            "model": {"architecture": architecture, "base": base.id},
            "seed": seed,
            "threads": self._threads,
        }
        if given.n_epochs is not None:
            document["epochs"] = given.n_epochs
        if given.batch_size is not None:
            document["batch_size"] = given.batch_size
        if given.learning_rate_multiplier is not None:
            lr = find_architecture(architecture).defaults["optimizer"]["lr"]
            document["optimizer"] = {"lr": lr * given.learning_rate_multiplier}
        return recipe_document(parse_recipe(document))


class _Checked(NamedTuple):
    file: FileOf
    form: str


def result_name(model: str, suffix: str | None, job_id: str) -> str:
    """`ft-MODEL-SUFFIX-ID`: a name that a deployment may have, and no other job gives."""
    tail = job_id.removeprefix(JOB_PREFIX)
    told = _NO_NAME.sub("-", suffix or "").strip("-")[:MAX_SUFFIX_CHARS]
    ending = f"-{told}-{tail}" if told else f"-{tail}"
    return f"ft-{model}"[: MAX_NAME_CHARS - len(ending)] + ending


def _terms(base: Deployment) -> dict[str, Any]:
    """What the result is served for: as the base, but never to everybody."""
    terms = base.terms
    return {
        "price": {unit: show_price(getattr(terms.price, unit)) for unit in UNITS},
        "deadline_ms": terms.deadline_ms,
        "max_batch": terms.max_batch,
    }


def _no_job(job_id: str) -> NotFound:
    return NotFound(f"there is no fine-tuning job '{job_id[:80]}'; GET /v1/fine_tuning/jobs lists yours")
