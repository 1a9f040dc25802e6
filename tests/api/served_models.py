"""One small model for each kind of input, trained once and served without a socket."""

from __future__ import annotations

import io
import random
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from fault_server import FaultServer, serving
from sklearn.datasets import load_digits
from workshop import Plane, Workshop

from modeltap.data.images import encode_png
from modeltap.storage.backup import restore_backup, write_backup

KINDS = ("cheap", "dear")


@dataclass(frozen=True)
class Samples:
    """Rows of each model's data as a client has them. `people` has the columns id, age, city, joined, member (and kind)."""

    people: list[dict[str, Any]]
    digits: np.ndarray
    signals: np.ndarray


@pytest.fixture(scope="session")
def samples() -> Samples:
    chance = random.Random(7)
    people: list[dict[str, Any]] = []
    for number in range(160):
        dear = number % 2
        person = {
            "id": f"p-{number:04d}",
            "age": None if number % 23 == 5 else round(chance.gauss(30 + 20 * dear, 6), 2),
            "city": chance.choice(["Köln", "Bonn", 'Aix, la "vieille"', "Ulm"]),
            "joined": f"20{chance.randint(10, 24)}-{chance.randint(1, 12):02d}-{chance.randint(1, 28):02d}",
            "member": chance.random() < 0.5,
            "kind": KINDS[dear if chance.random() < 0.9 else 1 - dear],
        }
        people.append(person)
    digits = load_digits().images.astype(np.uint8)[:300]
    signals = np.random.default_rng(3).normal(size=(120, 100)).round(3)
    return Samples(people, digits, signals)


def csv_line(person: dict[str, Any], names: list[str], delimiter: str = ",") -> str:
    cells = []
    for name in names:
        value = person[name]
        text = "" if value is None else str(value)
        quoted = any(mark in text for mark in (delimiter, '"', "\n"))
        cells.append('"' + text.replace('"', '""') + '"' if quoted else text)
    return delimiter.join(cells)


def npz(**arrays: Any) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def png_zip(pictures: np.ndarray, labels: np.ndarray) -> bytes:
    """Pictures in folders that are called as their class is."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for place, (pixels, label) in enumerate(zip(pictures, labels, strict=True)):
            archive.writestr(f"{label}/{place:04d}.png", encode_png(pixels))
    return out.getvalue()


@pytest.fixture(scope="session")
def trained(workshop: Workshop, samples: Samples) -> dict[str, str]:
    """Deployment name → version: people (trees), income (a network's number), digits, pictures (PNG files), signals."""
    names = ["id", "age", "city", "joined", "member", "kind"]
    lines = [",".join(names), *(csv_line(person, names) for person in samples.people)]
    workshop.add("people", "\n".join(lines), target="kind", kinds={"id": "id"})
    target = load_digits().target[: len(samples.digits)]
    workshop.add("digits", npz(x=samples.digits, y=target), "digits.npz")
    workshop.add("pictures", png_zip(samples.digits[:100], target[:100]), "pictures.zip")
    classes = (samples.signals[:, :5].sum(axis=1) > 0).astype(np.int64)
    workshop.add("signals", npz(x=samples.signals.astype(np.float32), y=classes), "signals.npz")
    incomes = ["age;city;income"]
    for person in samples.people:
        age = "" if person["age"] is None else str(person["age"]).replace(".", ",")
        incomes.append(f"{age};{person['city'][:4]};{2 * (person['age'] or 40) + 3:.2f}".replace(".", ","))
    workshop.add("income", "\n".join(incomes), target="income")
    tiny = {"filters": [4], "dense": 8, "dropout": 0.0}
    trees = {"model": {"max_iter": 20, "early_stopping_rounds": 0}}
    network = {"model": {"architecture": "mlp", "hidden": [8]}, "epochs": 3}
    picture = {"model": {"architecture": "cnn", "input": {"name": "x"}, "output": {"name": "y_pred"}, **tiny}, "epochs": 1}
    flat = {"model": "linear", "epochs": 2}
    return {
        "people": workshop.train("people", "tabular-classification", trees)["version"],
        "income": workshop.train("income", "tabular-regression", network)["version"],
        "digits": workshop.train("digits", "image-classification", picture)["version"],
        "pictures": workshop.train("pictures", "image-classification", {"model": {"architecture": "cnn", **tiny}, "epochs": 1})[
            "version"
        ],
        "signals": workshop.train("signals", "tabular-classification", flat)["version"],
    }


@pytest.fixture(scope="session")
def plane(workshop: Workshop, trained: dict[str, str]) -> Iterator[Plane]:
    made = Plane(workshop, trained, default="people")
    yield made
    made.close()


@pytest.fixture(scope="session")
def server(workshop: Workshop, trained: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultServer]:
    """A real server on a copy of the workshop's home, with `people` (the default), `digits` and `signals` deployed."""
    home = tmp_path_factory.mktemp("served") / "home"
    with tempfile.TemporaryFile() as archive:
        write_backup(workshop.database, workshop.artifacts, archive)
        archive.seek(0)
        restore_backup(archive, home)
    with serving(home) as started:
        for name in ("people", "digits", "signals"):
            started.ask("POST", "/api/deployments", json={"name": name, "model": trained[name], "default": name == "people"})
        yield started
