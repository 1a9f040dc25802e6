"""What a user does, on small data: add it, train on it, deploy the model; and what must hold of a home at any time."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fault_server import ENDED, FaultServer, until

from modeltap.data.store import open_dataset

ROW = {"x": 0.5, "y": "-0.25", "colour": "red"}
SMALL_MLP: dict[str, Any] = {
    "model": {"architecture": "mlp", "hidden": [8]},
    "epochs": 3,
    "early_stopping": None,
    "threads": 1,
}
LONG_MLP: dict[str, Any] = {
    "model": {"architecture": "mlp", "hidden": [16], "dropout": 0.2},
    "optimizer": {"name": "adam", "lr": 0.01},
    "schedule": {"name": "cosine", "warmup": 0.1},
    "early_stopping": {"patience": 100},
    "epochs": 120,
    "batch_size": 8,
    "threads": 1,
}
"""Some seconds of small steps, in which everything that has a state of its own takes part."""
SMALL_TREES: dict[str, Any] = {
    "model": {"architecture": "gradient-boosting", "max_iter": 20, "early_stopping_rounds": 0},
    "threads": 1,
}


@dataclass(frozen=True)
class UsedHomes:
    """Homes that were used, on which nothing runs, and the digests of what a user made there."""

    with_data: Path
    """Holds the dataset toy@1."""
    with_models: Path
    """Holds toy@1 and two versions of the model toy: 1 of SMALL_MLP, 2 of SMALL_TREES."""
    dataset_digest: str
    mlp_digest: str
    trees_digest: str


def table(num_rows: int = 300) -> bytes:
    """A CSV file with numbers, a category, some missing values and a label that follows from them."""
    draw = random.Random(7)
    lines = ["x,y,colour,label"]
    for row in range(num_rows):
        x, y = draw.gauss(0, 1), draw.gauss(0, 1)
        colour = draw.choice(("red", "green", "blue"))
        label = "yes" if x + y + draw.gauss(0, 0.3) > 0 else "no"
        lines.append(f"{x:.4f},{'' if row % 50 == 7 else f'{y:.4f}'},{colour},{label}")
    return "\n".join(lines).encode() + b"\n"


def add_data(server: FaultServer, *, wait_s: float = 60, name: str = "toy", content: bytes | None = None) -> dict[str, Any]:
    """The dataset, or with `wait_s` 0 the job that makes it."""
    params: dict[str, Any] = {"name": name, "filename": f"{name}.csv", "target": "label", "wait": wait_s}
    answer: dict[str, Any] = server.ask("POST", "/api/datasets", params=params, content=content or table())
    return answer.get("job", answer) if wait_s == 0 else answer


def start_training(server: FaultServer, recipe: Mapping[str, Any] = SMALL_MLP) -> str:
    """The id of the job."""
    wanted = {"kind": "train", "dataset": "toy", "task": "tabular-classification", "recipe": dict(recipe)}
    return str(server.ask("POST", "/api/jobs", json=wanted)["id"])


def train(server: FaultServer, recipe: Mapping[str, Any] = SMALL_MLP) -> dict[str, Any]:
    """The result of the job."""
    result: dict[str, Any] = server.wait_job(start_training(server, recipe))["result"]
    return result


def deploy(server: FaultServer, model: str = "toy@1", name: str = "live") -> dict[str, Any]:
    deployment: dict[str, Any] = server.ask("POST", "/api/deployments", json={"name": name, "model": model})
    return deployment


def predict(server: FaultServer, name: str = "live") -> dict[str, Any]:
    answer: dict[str, Any] = server.ask("POST", f"/predict/{name}", json={"instances": [ROW]})
    return answer


def settle(server: FaultServer) -> list[dict[str, Any]]:
    """Every job, once all have ended by themselves."""

    def look() -> list[dict[str, Any]] | None:
        jobs: list[dict[str, Any]] = server.ask("GET", "/api/jobs")["jobs"]
        return jobs if all(job["state"] in ENDED for job in jobs) else None

    return until("every job ends", look)


def check_whole(server: FaultServer) -> set[str]:
    """Everything that is listed is whole and works. The digests that are needed for it."""
    needed: set[str] = set()
    for newest in server.ask("GET", "/api/datasets")["datasets"]:
        for version in server.ask("GET", f"/api/datasets/{newest['name']}")["versions"]:
            needed |= _check_dataset(server, f"{newest['name']}@{version}")
    jobs_with_version = []
    for model in server.ask("GET", "/api/models")["models"]:
        for version in server.ask("GET", f"/api/models/{model['name']}")["versions"]:
            needed |= _check_version(server, version["id"])
            jobs_with_version.append(version["job"])
    assert len(jobs_with_version) == len(set(jobs_with_version)), "a job registered two versions"
    for deployment in server.ask("GET", "/api/deployments")["deployments"]:
        _check_deployment(server, deployment["name"])
    return needed


def check_clean(server: FaultServer) -> None:
    """After gc exactly what is needed is there, and it works."""
    needed = check_whole(server)
    server.ask("POST", "/api/gc", json={"grace_s": 0})
    assert set(server.artifacts.iter_digests()) == check_whole(server) == needed
    assert list(server.artifacts.staging.iterdir()) == []
    uploads = server.home / "uploads"
    assert not uploads.exists() or list(uploads.iterdir()) == []
    kept = {path.name for folder in (server.home / "jobs").glob("*") for path in folder.iterdir()}
    assert kept <= {"log", "events.jsonl", "report.html", "trials.jsonl"}, kept


def _check_dataset(server: FaultServer, ref: str) -> set[str]:
    shown = server.ask("GET", f"/api/datasets/{ref}")
    server.artifacts.verify(shown["digest"])
    stored = open_dataset(server.artifacts.paths(shown["digest"]))
    assert shown["profile"]
    for part, num_rows in shown["num_rows"].items():
        for column in stored.schema.columns:
            assert len(stored.column(part, column.name)) == num_rows
    return {shown["digest"], *server.artifacts.tree(shown["digest"]).values()}


def _check_version(server: FaultServer, ref: str) -> set[str]:
    shown = server.ask("GET", f"/api/models/{ref}")
    server.artifacts.verify(shown["digest"])
    assert {"manifest.json", "model.onnx", "golden.json", "card.md"} <= set(shown["files"])
    assert shown["history"]
    page = server.client.get(f"/api/models/{ref}/report")
    assert page.status_code == 200
    assert "</html>" in page.text
    return {shown["digest"], *server.artifacts.tree(shown["digest"]).values(), hashlib.sha256(page.content).hexdigest()}


def _check_deployment(server: FaultServer, name: str) -> None:
    def look() -> bool:
        status = server.ask("GET", f"/api/deployments/{name}")["status"]
        assert status != "failed", name
        return bool(status == "ready")

    until(f"the deployment {name} is ready", look)
    answer = predict(server, name)
    assert [row["label"] in ("yes", "no") for row in answer["predictions"]] == [True]
