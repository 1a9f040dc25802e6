"""The import step: an uploaded file → a stored version of a dataset."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from modeltap.control.datasets import UPLOADS, ImportSpec, dataset_facts
from modeltap.data.infer import infer_schema
from modeltap.data.profile import profile
from modeltap.data.read import read_source
from modeltap.data.source import ReadOptions
from modeltap.data.store import write_dataset
from modeltap.domain.progress import Progress
from modeltap.errors import InvalidData, InvalidInput
from modeltap.faults import crash_point
from modeltap.runner.steps import Step
from modeltap.storage.datasets import DatasetRepository

STAGED = "dataset"
"""Folder of the job in which the files are written before they are stored; what a killed runner left there is overwritten."""


def import_dataset(step: Step) -> dict[str, Any]:
    """The dataset, whether it is new, and what was noticed. Raises InvalidData, InvalidValue, StorageFailed."""
    spec = msgspec.convert(step.job.spec, ImportSpec)
    upload = step.home / UPLOADS / spec.upload
    if not upload.is_file():
        raise InvalidData("the uploaded file is gone; add the data again")
    try:
        result = import_file(step, spec, upload)
    except InvalidInput:  # the same bytes would be refused again; after any other end they may be needed
        step.discard.append(upload)
        raise
    step.discard.append(upload)
    step.report(Progress(phase="done", fraction=1.0, message=result["id"]))
    return result


def import_file(step: Step, spec: ImportSpec, upload: Path) -> dict[str, Any]:
    """The dataset's facts; the file stays where it is. Raises as `import_dataset`."""
    options = spec.options
    step.report(Progress(phase="import", message=f"reading {spec.filename}"))
    source = read_source(
        upload,
        filename=spec.filename,
        options=ReadOptions(
            header=options.header,
            columns=options.columns,
            delimiter=options.delimiter,
            image_size=(options.image_size[1], options.image_size[0]) if options.image_size else None,
        ),
    )
    step.pause_point()
    step.report(Progress(phase="import", fraction=0.4, message="inferring the schema"))
    schema, notices = infer_schema(source, target=options.target, overrides=options.kinds, missing=options.missing or None)
    step.report(Progress(phase="import", fraction=0.6, message="profiling"))
    facts = profile(source, schema)
    step.pause_point()
    step.report(Progress(phase="import", fraction=0.9, message="storing"))
    folder = step.workdir / STAGED
    try:
        digest = step.artifacts.put_tree(write_dataset(source, schema, folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    crash_point("dataset.blobs_written")
    num_rows = {part: rows.num_rows for part, rows in source.parts.items()}
    datasets = DatasetRepository(step.database, step.job.tenant)
    dataset, created = datasets.add(spec.name, digest, schema, num_rows, facts, datetime.now(UTC))
    return {
        **dataset_facts(dataset),
        "created": created,
        "job": step.job.id,
        "notices": [*source.notices, *notices],
        "profile": facts,
    }
