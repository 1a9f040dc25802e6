"""The step of a fine-tuning job: its files become a dataset, a training makes a version of it, and the version answers under
its name before the job has succeeded.

Each part is there once, however often a runner takes the job up: the dataset and the version carry names of the job's own, the
result file the job's id, and the deployment is the same when it is made again.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from modeltap.client.errors import ConnectionFailed
from modeltap.control.datasets import ImportOptions, ImportSpec
from modeltap.control.fine_tunings import RESULTS, FileOf, FineTuneSpec
from modeltap.control.trainings import TrainSpec
from modeltap.data.store import open_dataset
from modeltap.data.texts import divide_samples, plain_messages
from modeltap.data.tokenizer import open_tokenizer
from modeltap.domain.model import ModelVersion
from modeltap.domain.progress import Progress
from modeltap.errors import Broken, InvalidData, InvalidInput, NotFound, Unavailable
from modeltap.faults import crash_point
from modeltap.recipe.parse import parse_recipe
from modeltap.runner.home_server import HomeServer
from modeltap.runner.imports import import_file
from modeltap.runner.steps import Step
from modeltap.runner.train import train
from modeltap.storage.datasets import DatasetRepository
from modeltap.storage.disk import disk_failures
from modeltap.storage.files import FileRepository
from modeltap.storage.keys import KeyRepository
from modeltap.storage.models import ModelRepository

BOTH = "examples.zip"
"""Training and validation file together, as data with parts is given."""
RENAMED = {"val_loss": "valid_loss", "lr": "learning_rate"}
"""Columns of the result file, in OpenAI's words."""


def fine_tune(step: Step) -> dict[str, Any]:
    """What the training says, and the model name that answers now. Raises what the training raises, GoldenMismatch, Stopped."""
    spec = msgspec.convert(step.job.spec, FineTuneSpec)
    models = ModelRepository(step.database, step.job.tenant)
    version = models.of_job(step.job.id)
    result: dict[str, Any] = {}
    if version is None:
        result = train(_training(step, spec, _dataset(step, spec)))
        version = models.of_job(step.job.id)
        if version is None:
            raise Broken("the training ended without a version; see the job's log")
    step.report(Progress(phase="bundle", message="keeping the results"))
    _keep_results(step, spec, models.extras(version)["history"])
    step.report(Progress(phase="bundle", message=f"deploying {version.id} as {spec.name}"))
    crash_point("fine_tune.before_deploy")
    _deploy(step, spec, version)
    crash_point("fine_tune.deployed")
    step.report(Progress(phase="done", fraction=1.0, message=f"{spec.name} answers"))
    return {
        **result,
        "job": step.job.id,
        "version": version.id,
        "name": version.name,
        "digest": version.digest,
        "metrics": version.manifest.metrics,
        "deployment": spec.name,
        "trained_tokens": _trained_tokens(step, spec, version),
    }


def _training(step: Step, spec: FineTuneSpec, dataset: str) -> Step:
    """The same step for a training as anybody may ask for."""
    plain = TrainSpec(dataset=dataset, name=spec.name, recipe=spec.recipe, checkpoint_every_s=spec.checkpoint_every_s)

    def report(progress: Progress) -> None:
        if progress.phase != "done":  # of the training; the job goes on
            step.report(progress)

    return replace(step, job=msgspec.structs.replace(step.job, spec=msgspec.to_builtins(plain)), report=report)


def _dataset(step: Step, spec: FineTuneSpec) -> str:
    """The dataset that the job's files are; made now, unless an earlier runner did."""
    try:
        return DatasetRepository(step.database, step.job.tenant).get(spec.dataset).id
    except NotFound:
        options = ImportOptions()
    if spec.validation_file is None:
        asked = ImportSpec(name=spec.dataset, filename="train.jsonl", upload="", options=options)
        return str(import_file(step, asked, _bytes_of(step, spec.training_file))["id"])
    path = step.workdir / BOTH
    with disk_failures("putting the files together"), zipfile.ZipFile(path, "w") as archive:
        for name, file in (("train.jsonl", spec.training_file), ("val.jsonl", spec.validation_file)):
            archive.write(_bytes_of(step, file), name)
    try:
        asked = ImportSpec(name=spec.dataset, filename=BOTH, upload="", options=options)
        return str(import_file(step, asked, path)["id"])
    finally:
        path.unlink(missing_ok=True)


def _trained_tokens(step: Step, spec: FineTuneSpec, version: ModelVersion) -> int:
    """Tokens of the texts that were learned from, once for each pass over them; beyond the context nothing is read."""
    files = step.artifacts.paths(version.digest)
    tokenizer = open_tokenizer(files)
    recipe = parse_recipe(spec.recipe)
    dataset = DatasetRepository(step.database, step.job.tenant).get(spec.dataset)
    samples = divide_samples(open_dataset(step.artifacts.paths(dataset.digest)), recipe.data.split)["train"]
    language = version.manifest.language
    most = 0 if language is None else language.context_tokens
    num_tokens = 0
    for one in samples:
        if one.messages:
            tools = one.tools if tokenizer.takes_tools else None
            with suppress(InvalidInput):  # the template refuses it, and so nothing was learned from it
                num_tokens += min(most, len(tokenizer.chat(plain_messages(one.messages), tools=tools, is_answered=True)))
        else:
            num_tokens += min(most, len(tokenizer.encode(one.prompt + one.text)))
    return num_tokens * recipe.epochs


def _bytes_of(step: Step, file: FileOf) -> Path:
    try:
        return step.artifacts.path(file.digest)
    except NotFound:
        raise InvalidData(f"the bytes of '{file.filename}' are gone; send the file again") from None


def _keep_results(step: Step, spec: FineTuneSpec, history: Sequence[dict[str, Any]]) -> None:
    """What was measured on the way, as a file of the job."""
    table = results_csv(history)
    with step.artifacts.keeping_all():
        FileRepository(step.database, step.job.tenant).add(
            key=spec.key,
            purpose="fine-tune-results",
            filename=f"{spec.name}-results.csv",
            size_bytes=len(table),
            digest=step.artifacts.put_bytes(table),
            now=datetime.now(UTC),
            made_by=f"{step.job.id}/{RESULTS}",
        )


def results_csv(history: Sequence[dict[str, Any]]) -> bytes:
    """One row for each look at the training, with every number that was taken there."""
    columns = list(dict.fromkeys(name for row in history for name, value in row.items() if isinstance(value, int | float)))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([RENAMED.get(name, name) for name in columns])
    for row in history:
        writer.writerow(["" if row.get(name) is None else row[name] for name in columns])
    return text.getvalue().encode()


def _deploy(step: Step, spec: FineTuneSpec, version: ModelVersion) -> None:
    """The name leads to the version, which is loaded, and the key that ordered it may call it: a key for certain models gets
    the name of this one, and nobody else does. Raises what refuses it, Stopped while no server can do it."""
    with suppress(NotFound):  # the home's own key is not among those that are kept, and may call all
        KeyRepository(step.database, step.job.tenant).allow(spec.key, spec.name)

    def told(why: str) -> None:
        step.report(Progress(phase="wait", message=why))

    body = msgspec.json.encode({"name": spec.name, "model": version.id, "terms": spec.terms})
    headers = {"content-type": "application/json"}
    server = HomeServer(step, told)
    try:
        while True:
            step.pause_point()
            try:
                server.transport().ask("POST", "/api/deployments", content=body, headers=headers)
                return
            except ConnectionFailed as problem:
                server.wait_for_it(problem.message)
            except Unavailable as problem:
                server.wait(problem.retry_after_s, problem.message)
    finally:
        server.close()
