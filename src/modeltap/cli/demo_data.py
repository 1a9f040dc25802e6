"""The demo's files: real handwriting as pictures, and real measurements as tables, both bundled with scikit-learn."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modeltap.errors import MissingExtra, StorageFailed

NUM_ASKED = 5
"""Held-out rows that each deployment is asked about."""
PIXEL_LEVELS = 16
SEED = 0


@dataclass(frozen=True)
class Question:
    """One held-out row as it is sent, and the truth. `path` is where a person finds it."""

    expected: str
    path: Path
    picture: bytes | None = None
    row: dict[str, Any] | None = None


@dataclass(frozen=True)
class DemoData:
    """One dataset's files: what is sent as `path` (and `test`), and the questions for later."""

    name: str
    story: str
    path: Path
    test: Path | None
    target: str | None
    questions: tuple[Question, ...]


def write_demo_data(folder: Path) -> tuple[DemoData, DemoData]:
    """Digits and tumours, written under `folder`; equal bytes every time.

    Raises MissingExtra where scikit-learn, which bundles the data, is not installed; StorageFailed.
    """
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise MissingExtra(what="scikit-learn, which bundles the demo's data,", extra="train") from None
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _digits(folder), _tumours(folder)
    except OSError as problem:
        raise StorageFailed(f"the demo's files cannot be written to '{folder}': {problem.strerror or problem}") from None


def _digits(folder: Path) -> DemoData:
    from sklearn.datasets import load_digits

    digits = load_digits()
    test = _held_out(digits.target)
    path = folder / "digits.zip"
    questions: list[Question] = []
    with zipfile.ZipFile(path, "w") as archive:
        for index, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
            picture = _png(pixels)
            part = "test" if index in test else "train"
            archive.writestr(zipfile.ZipInfo(f"{part}/{label}/{index:04}.png"), picture)
            if index in test and len(questions) < NUM_ASKED and str(label) not in {q.expected for q in questions}:
                asked = folder / f"digit-{index:04}.png"
                asked.write_bytes(picture)
                questions.append(Question(expected=str(label), path=asked, picture=picture))
    story = f"{len(digits.target):,} handwritten digits, pictures of 8×8 pixels"
    return DemoData("digits", story, path, None, None, tuple(questions))


def _tumours(folder: Path) -> DemoData:
    from sklearn.datasets import load_breast_cancer

    found = load_breast_cancer()
    names = [str(name).replace(" ", "_") for name in found.feature_names]
    test = _held_out(found.target)
    lines: dict[str, list[str]] = {"train": [], "test": []}
    rows: list[tuple[dict[str, Any], str]] = []
    for index, (values, label) in enumerate(zip(found.data.tolist(), found.target, strict=True)):
        diagnosis = str(found.target_names[label])
        lines["test" if index in test else "train"].append(",".join([*map(repr, values), diagnosis]))
        if index in test:
            rows.append((dict(zip(names, values, strict=True)), diagnosis))
    title = ",".join([*names, "diagnosis"])
    paths = {part: folder / f"tumour-{part}.csv" for part in lines}
    for part, path in paths.items():
        path.write_text("\n".join([title, *lines[part]]) + "\n", encoding="utf-8")
    asked = folder / "tumour-rows.csv"
    chosen = rows[:NUM_ASKED]
    asked.write_text(
        "\n".join([",".join(names), *(",".join(map(repr, row.values())) for row, _ in chosen)]) + "\n", encoding="utf-8"
    )
    questions = tuple(Question(expected=diagnosis, path=asked, row=row) for row, diagnosis in chosen)
    story = f"{len(found.target):,} tumours, {len(names)} measurements of each"
    return DemoData("tumour", story, paths["train"], paths["test"], "diagnosis", questions)


def _held_out(labels: Any) -> frozenset[int]:
    """A fifth of the rows, the same share of each class."""
    import numpy as np
    from sklearn.model_selection import train_test_split

    _, test = train_test_split(np.arange(len(labels)), test_size=0.2, random_state=SEED, stratify=labels)
    return frozenset(test.tolist())


def _png(pixels: Any) -> bytes:
    import numpy as np
    from PIL import Image

    grey = np.round(np.asarray(pixels) * (255 / PIXEL_LEVELS)).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(grey).save(stream, format="PNG")
    return stream.getvalue()
