"""`client.models`: names, versions, aliases, reports, and bundles as files."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from modeltap.client.form import form_body, plain_body
from modeltap.client.packing import open_upload
from modeltap.client.transport import Transport, segment
from modeltap.client.values import Comparison, Model, Version, read_answer

IMPORT_S = 600.0
IMPORT_S_PER_BYTE = 600 / (1 << 30)
"""A large graph is tried for minutes before the server answers."""

Refs = list[str]


class Models:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> list[Model]:
        return [read_answer(m, Model) for m in self._transport.json("GET", "/api/models")["models"]]

    def get(self, ref: str) -> Version:
        """`name@3` or `name@alias`; the newest version for a bare name. Raises NotFound."""
        return read_answer(self._transport.json("GET", f"/api/models/{segment(ref)}"), Version)

    def compare(self, refs: Sequence[str]) -> Comparison:
        """Metrics side by side, and where the recipes differ. Raises NotFound."""
        return read_answer(self._transport.json("GET", "/api/compare", params={"refs": ",".join(refs)}), Comparison)

    def import_file(
        self,
        path: str | os.PathLike[str],
        *,
        name: str,
        recipe: str | os.PathLike[str] | None = None,
        sample: str | os.PathLike[str] | None = None,
        task: str | None = None,
        labels: Sequence[str] = (),
        on_upload: Callable[[int, int], None] | None = None,
    ) -> Version:
        """The new version of a model that was made elsewhere: a file, or a folder or ZIP of its files.

        recipe: a file with the layers that weights alone (.pth, .safetensors) belong to. sample: a file of inputs that the
        model is tried with, and that are repeated at every deploy. task, labels: what a network of layers is for.
        Raises InvalidData for what cannot be read, run or served, InvalidInput for the name and for options that do not fit.
        """
        with ExitStack() as opened:
            upload = opened.enter_context(open_upload(path))
            beside = {"recipe": recipe, "sample": sample}
            parts = {key: opened.enter_context(open_upload(given)) for key, given in beside.items() if given is not None}
            body = form_body({**parts, "model": upload}, on_upload) if parts else plain_body(upload, on_upload)
            answer = self._transport.json(
                "POST",
                "/api/models/import",
                params={"name": name, "task": task, "label": list(labels) or None},
                content=body.chunks,
                headers={"content-type": body.content_type, "content-length": str(body.size_bytes)},
                timeout_s=max(self._transport.timeout_s, IMPORT_S + body.size_bytes * IMPORT_S_PER_BYTE),
            )
        return read_answer(answer, Version)

    def alias(self, name: str, alias: str, *, version: int) -> Version:
        """`name@alias` means that version from now on. Raises NotFound, and InvalidInput for what cannot be an alias."""
        path = f"/api/models/{segment(name)}/aliases/{segment(alias)}"
        return read_answer(self._transport.json("PUT", path, body={"version": version}), Version)

    def remove_alias(self, name: str, alias: str) -> None:
        """Raises NotFound."""
        self._transport.json("DELETE", f"/api/models/{segment(name)}/aliases/{segment(alias)}")

    def remove(self, ref: str) -> Refs:
        """The versions that are gone: one, or all for a bare name. Raises NotFound, and Conflict where one is deployed."""
        removed: Refs = self._transport.json("DELETE", f"/api/models/{segment(ref)}")["removed"]
        return removed

    def report(self, ref: str) -> str:
        """The HTML page of its evaluation."""
        return self._transport.text(f"/api/models/{segment(ref)}/report")

    def recipe(self, ref: str) -> str:
        """The full recipe as YAML; training by it again gives the same digest."""
        return self._transport.text(f"/api/models/{segment(ref)}/recipe")

    def export(self, ref: str, path: str | os.PathLike[str], *, on_bytes: Callable[[int], None] | None = None) -> Path:
        """The ZIP file with the bundle's files; in a folder it gets the version's name. Raises NotFound, StorageFailed."""
        target = Path(path).expanduser()
        if target.is_dir():
            version = self.get(ref)
            target = target / f"{version.name}-{version.version}.zip"
        self._transport.download(f"/api/models/{segment(ref)}/export", target, on_bytes=on_bytes)
        return target
