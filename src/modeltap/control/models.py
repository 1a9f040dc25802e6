"""Model versions: shown, compared, exported, named by aliases, removed."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import msgspec

from modeltap.bundle.files import RECIPE
from modeltap.domain.model import Manifest, ModelVersion
from modeltap.domain.names import parse_alias, parse_ref
from modeltap.errors import NotFound
from modeltap.recipe.document import load_document
from modeltap.storage.artifacts import ArtifactStore
from modeltap.storage.models import ModelRepository

CERTIFICATE = "certificate.json"
"""In an archive: that of a compressed version, which is no part of its bundle."""
ZIP_TIME = (1980, 1, 1, 0, 0, 0)
"""Of every member, so that equal bundles give equal archives."""


class Models:
    def __init__(self, models: ModelRepository, artifacts: ArtifactStore) -> None:
        self._models = models
        self._artifacts = artifacts

    def newest(self) -> list[dict[str, Any]]:
        """Each model with its newest version, short."""
        listed = []
        for newest in self._models.list():
            versions = self._models.versions(newest.name)
            listed.append({"name": newest.name, "versions": len(versions), "latest": version_summary(newest)})
        return listed

    def describe(self, ref: str) -> dict[str, Any]:
        """One version with manifest, evaluation, history, files, and its siblings."""
        version = self._models.get(ref)
        extras = self._models.extras(version)
        tree = self._artifacts.tree(version.digest)
        return {
            **version_summary(version),
            "manifest": msgspec.to_builtins(version.manifest),
            "evaluation": extras["evaluation"],
            "history": extras["history"],
            "files": {name: self._artifacts.size_bytes(digest) for name, digest in tree.items()},
            "versions": [version_summary(sibling) for sibling in self._models.versions(version.name)],
        }

    def compare(self, refs: Sequence[str]) -> dict[str, Any]:
        """Metrics of the test part side by side, the recipe keys in which the versions differ, and what compression did to
        those that were compressed."""
        versions = [self._models.get(ref) for ref in refs]
        metrics: dict[str, dict[str, Any]] = {}
        recipes: dict[str, dict[str, Any]] = {}
        for version in versions:
            for name, value in version.manifest.metrics.get("test", {}).items():
                metrics.setdefault(name, {})[version.id] = value
            trained = RECIPE in self._artifacts.tree(version.digest)
            for key, value in _flat(load_document(self.recipe(version.id)), "") if trained else ():
                recipes.setdefault(key, {})[version.id] = value
        ids = [version.id for version in versions]
        differing = {
            key: {one: values.get(one) for one in ids}
            for key, values in recipes.items()
            if len({repr(values.get(one)) for one in ids}) > 1
        }
        return {
            "versions": [version_summary(version) for version in versions],
            "metrics": metrics,
            "recipe_differences": differing,
            "certificates": {
                version.id: msgspec.to_builtins(version.manifest.certificate)
                for version in versions
                if version.manifest.certificate is not None
            },
        }

    def recipe(self, ref: str) -> str:
        """The full recipe of the version's training, as YAML."""
        return self._file(ref, RECIPE).read_text(encoding="utf-8")

    def report(self, ref: str) -> bytes:
        """The HTML report of the version's evaluation. Raises NotFound if it has none."""
        version = self._models.get(ref)
        digest = self._models.extras(version)["report"]
        if digest is None:
            raise NotFound(f"{version.id} has no report")
        return self._artifacts.path(digest).read_bytes()

    def register(self, name: str, files: Mapping[str, Path], manifest: Manifest) -> dict[str, Any]:
        """The new candidate of that name, with these files as its bundle. Raises InvalidInput for the name, StorageFailed."""
        digest = self._artifacts.put_tree(files)
        return version_summary(self._models.add(name, digest, manifest, None, datetime.now(UTC)))

    def manifests(self, digests: Collection[str]) -> dict[str, Manifest]:
        """Digest → manifest, of those of these bundles that the tenant has, in one look."""
        return self._models.manifests(digests)

    def export(self, ref: str) -> tuple[ModelVersion, IO[bytes]]:
        """A zip of the bundle's files, in a temporary file that is gone when closed."""
        version = self._models.get(ref)
        archive = tempfile.TemporaryFile()  # noqa: SIM115  handed to whoever sends it
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
            if version.manifest.certificate is not None:
                content = msgspec.json.format(msgspec.json.encode(version.manifest.certificate), indent=1)
                target.writestr(zipfile.ZipInfo(CERTIFICATE, ZIP_TIME), content, zipfile.ZIP_DEFLATED)
            for name, digest in sorted(self._artifacts.tree(version.digest).items()):
                member = zipfile.ZipInfo(name, ZIP_TIME)
                member.compress_type = zipfile.ZIP_DEFLATED
                with self._artifacts.path(digest).open("rb") as source, target.open(member, "w") as out:
                    while chunk := source.read(1 << 20):
                        out.write(chunk)
        archive.seek(0)
        return version, archive

    def set_alias(self, name: str, alias: str, version: int) -> dict[str, Any]:
        return version_summary(self._models.set_alias(name, parse_alias(alias), version))

    def remove_alias(self, name: str, alias: str) -> None:
        self._models.remove_alias(name, alias)

    def remove(self, ref: str) -> list[str]:
        """The versions that are gone: one, or with a bare name all. Raises NotFound, Conflict."""
        name, selector = parse_ref(ref)
        gone = [self._models.get(ref)] if selector else list(self._models.versions(name))
        self._models.remove(ref)
        return [version.id for version in gone]

    def _file(self, ref: str, name: str) -> Path:
        tree = self._artifacts.tree(self._models.get(ref).digest)
        if name not in tree:
            raise NotFound(f"{ref} has no {name}")
        return self._artifacts.path(tree[name])


def version_summary(version: ModelVersion) -> dict[str, Any]:
    """The version without its manifest's bulk."""
    return {
        "id": version.id,
        "name": version.name,
        "version": version.version,
        "digest": version.digest,
        "state": version.state,
        "aliases": list(version.aliases),
        "created_at": msgspec.to_builtins(version.created_at),
        "task": version.manifest.task,
        "architecture": version.manifest.architecture,
        "dataset": version.manifest.lineage.dataset,
        "metrics": version.manifest.metrics,
        "job": version.job,
    }


def _flat(value: Any, prefix: str) -> list[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        return [pair for key, inner in value.items() for pair in _flat(inner, f"{prefix}.{key}" if prefix else str(key))]
    return [(prefix, value)]
