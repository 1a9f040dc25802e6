"""An MLflow model directory → the plain model in it, laid out as its own importer takes it, with the rows of its example."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import NamedTuple

from modeltap.errors import InvalidData
from modeltap.importing.mlflow_file import MLMODEL, example_rows, read_mlmodel
from modeltap.importing.onnx import Imported

OWN_FILES = frozenset({MLMODEL, "conda.yaml", "python_env.yaml", "requirements.txt", "input_example.json", "README.md"})
LAID_OUT = ".mlflow"
SAMPLE = "sample.json"


class Opened(NamedTuple):
    """`folder` holds the model alone; `sample` a file with the rows of the example, where there is one."""

    folder: Path
    sample: Path | None
    columns: tuple[str, ...]
    notices: list[str]


def find_mlflow(folder: Path) -> Path | None:
    """The folder with MLmodel: this one, or the only one within it; None where there is none."""
    if (folder / MLMODEL).is_file():
        return folder
    inner = [path for path in folder.iterdir() if path.is_dir()]
    return inner[0] if len(inner) == 1 and (inner[0] / MLMODEL).is_file() else None


def open_mlflow(folder: Path) -> Opened:
    """Moves the model out of the directory. Raises InvalidData for one that is kept as code, pickled, or not there."""
    described = read_mlmodel(folder)
    target = folder / LAID_OUT / "model"
    target.mkdir(parents=True)
    sample = None
    if described.example:
        sample = folder / LAID_OUT / SAMPLE
        sample.write_text(json.dumps(example_rows(folder / described.example)), encoding="utf-8")
    place = folder / described.place
    if described.flavour == "transformers":
        if not place.is_dir():
            raise InvalidData(
                f"{MLMODEL} says that the model is the file {described.place[:80]!r}; a model of transformers is a folder: save"
                " it anew with mlflow.transformers.save_model"
            )
        _merge(place, target)
        for component in sorted(path for path in (folder / "components").glob("*") if path.is_dir()):
            _merge(component, target)
    elif place.is_dir():
        _merge(place, target)
    elif described.flavour == "onnx":  # weights beside the graph come along
        for path in sorted(place.parent.iterdir()):
            if path.name not in OWN_FILES and path.name != LAID_OUT:
                shutil.move(path, target / path.name)
    else:
        ending = ".skops" if described.flavour in ("sklearn", "skops") else place.suffix
        shutil.move(place, target / f"model{ending}")
    return Opened(target, sample, described.columns, described.notices)


def with_signature(opened: Opened, imported: Imported) -> Imported:
    """What was imported, with what MLmodel says of it: noticed where its signature names other columns than the model takes."""
    takes = {column.name for column in imported.manifest.schema.features} or {
        spec.name for spec in imported.manifest.signature.inputs
    }
    notices = [*opened.notices, *imported.notices]
    if opened.columns and len(takes) > 1 and set(opened.columns) != takes:
        other = sorted(set(opened.columns) ^ takes)
        notices.append(f"the signature in {MLMODEL} and the model do not name the same inputs: {', '.join(other)[:300]}")
    return Imported(imported.files, imported.manifest, notices, imported.compared)


def _merge(source: Path, target: Path) -> None:
    for path in sorted(source.iterdir()):
        if not (target / path.name).exists():
            shutil.move(path, target / path.name)
