"""`client.datasets`: send data, see what was found in it, remove it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from modeltap.client.packing import Given, OnUpload, chunks_of, open_upload
from modeltap.client.transport import Transport, segment
from modeltap.client.values import Dataset, Job, read_answer

if TYPE_CHECKING:
    from modeltap.client.jobs import Jobs

WAIT_S = 30
"""How long the server holds the answer back before it hands out a job instead."""

Refs = list[str]


class Datasets:
    def __init__(self, transport: Transport, jobs: Jobs) -> None:
        self._transport = transport
        self._jobs = jobs

    def add(
        self,
        data: Given,
        *,
        name: str,
        target: str | None = None,
        test: Given = None,
        val: Given = None,
        filename: str | None = None,
        header: bool | None = None,
        columns: Sequence[str] = (),
        delimiter: str | None = None,
        missing: Sequence[str] = (),
        kinds: Mapping[str, str] | None = None,
        image_size: tuple[int, int] | None = None,
        on_upload: OnUpload | None = None,
    ) -> Dataset:
        """The new version, or the one that holds the same data already (then `created` is False).

        data: a path (file, folder, .zip), bytes with their `filename`, or a polars or pandas data frame; test and val: the
        same, as parts of their own. kinds: column → kind, where the inferred one is wrong. image_size: (width, height).
        Raises InvalidData for what cannot be read here or there, InvalidInput for a bad name or option.
        """
        with open_upload(data, test=test, val=val, filename=filename) as upload:
            params = {
                "name": name,
                "filename": upload.filename,
                "target": target,
                "header": None if header is None else str(header).lower(),
                "columns": ",".join(columns) or None,
                "delimiter": delimiter,
                "missing": [*missing],
                "kind": [f"{column}:{kind}" for column, kind in (kinds or {}).items()],
                "image_size": None if image_size is None else "x".join(map(str, image_size)),
                "wait": WAIT_S,
            }
            answer = self._transport.json(
                "POST",
                "/api/datasets",
                params=params,
                content=chunks_of(upload, on_upload),
                headers={"content-type": "application/octet-stream", "content-length": str(upload.size_bytes)},
                timeout_s=max(self._transport.timeout_s, 2.0 * WAIT_S),
            )
        if "id" in answer:
            return read_answer(answer, Dataset)
        job = self._jobs.wait(read_answer(answer["job"], Job).id)
        return read_answer(job.result or {}, Dataset)

    def list(self) -> list[Dataset]:
        """The newest version of each."""
        return [read_answer(d, Dataset) for d in self._transport.json("GET", "/api/datasets")["datasets"]]

    def get(self, ref: str) -> Dataset:
        """One version with its profile; the newest for a bare name. Raises NotFound."""
        return read_answer(self._transport.json("GET", f"/api/datasets/{segment(ref)}"), Dataset)

    def remove(self, ref: str) -> Refs:
        """The versions that are gone. Raises NotFound, and Conflict where a model still needs one."""
        removed: Refs = self._transport.json("DELETE", f"/api/datasets/{segment(ref)}")["removed"]
        return removed
