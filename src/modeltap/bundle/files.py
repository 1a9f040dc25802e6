"""A bundle as files: written once by training, opened by whatever serves or evaluates it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from modeltap.bundle.background import background_file
from modeltap.bundle.golden import Golden
from modeltap.domain.model import BUNDLE_FORMAT, Manifest
from modeltap.domain.signature import Array
from modeltap.errors import Broken

MANIFEST = "manifest.json"
GRAPH = "model.onnx"
GOLDEN = "golden.json"
CARD = "card.md"
RECIPE = "recipe.yaml"
WEIGHTS = "weights.safetensors"
ARCHITECTURE = "architecture.json"


@dataclass(frozen=True)
class Bundle:
    """An opened bundle; what an engine runs is loaded by it from the paths, which are not called as the files are."""

    manifest: Manifest
    files: Mapping[str, Path]
    golden: Golden

    @property
    def graph(self) -> Path:
        """Of a bundle that is no language model."""
        return self.files[GRAPH]


def bundle_files(
    *,
    manifest: Manifest,
    graph: bytes,
    golden: Golden,
    card: str,
    recipe_yaml: str,
    weights: Mapping[str, Array],
    architecture: Mapping[str, Any],
    texts: Mapping[str, bytes] | None = None,
    background: Sequence[Any] = (),
) -> dict[str, bytes]:
    """File name → content, the same bytes for the same values. Weights and architecture only where there are weights, a recipe
    where there is one; `texts` is how the bundle reads texts, by file; `background` are rows for explanations."""
    files = {**description_files(manifest=manifest, golden=golden, card=card), GRAPH: graph, **(texts or {})}
    files |= background_file(background)
    if recipe_yaml:
        files[RECIPE] = recipe_yaml.encode()
    if weights:
        from safetensors.numpy import save

        files[WEIGHTS] = save({name: np.ascontiguousarray(weights[name]) for name in sorted(weights)})
        files[ARCHITECTURE] = _json(architecture)
    return files


def description_files(*, manifest: Manifest, golden: Golden, card: str) -> dict[str, bytes]:
    """What every bundle has beside its graph."""
    return {MANIFEST: _json(manifest), GOLDEN: _json(golden), CARD: card.encode()}


def language_files(
    *, manifest: Manifest, golden: Golden, card: str, recipe_yaml: str, parts: Mapping[str, bytes | Path]
) -> dict[str, bytes | Path]:
    """A language model's: `parts` are the files of its Hugging Face directory and of its OpenVINO form, by their own names."""
    files: dict[str, bytes | Path] = {**description_files(manifest=manifest, golden=golden, card=card), **parts}
    if recipe_yaml:
        files[RECIPE] = recipe_yaml.encode()
    return files


def lay_out(files: Mapping[str, Path], folder: Path) -> Path:
    """The folder with every file under its own name, as links: for libraries that read directories."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in files.items():
        (folder / name).symlink_to(path.resolve())
    return folder


def open_bundle(files: Mapping[str, Path]) -> Bundle:
    """The bundle in these files. Raises Broken if one is missing, damaged or of a newer format."""
    try:
        manifest = msgspec.json.decode(files[MANIFEST].read_bytes(), type=Manifest)
        golden = msgspec.json.decode(files[GOLDEN].read_bytes(), type=Golden)
        if manifest.language is None:
            files[GRAPH]
    except KeyError as missing:
        raise Broken(f"the bundle has no {missing}") from None
    except OSError as problem:
        raise Broken(f"the bundle cannot be read: {problem.strerror or 'the disk refused'}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as problem:
        raise Broken(f"the bundle cannot be read: {problem}") from None
    if manifest.format > BUNDLE_FORMAT:
        raise Broken(f"the bundle has format {manifest.format}, this modeltap reads up to {BUNDLE_FORMAT}; update modeltap")
    return Bundle(manifest=manifest, files=files, golden=golden)


def _json(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value, order="deterministic"), indent=1)
