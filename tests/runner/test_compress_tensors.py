"""Classifiers and regressions are compressed as a job does it: measured against their parents, candidates or rejected."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest
from safetensors.numpy import load_file
from sklearn.datasets import load_diabetes, load_digits
from workshop import Workshop

from modeltap.bundle.files import open_bundle
from modeltap.control.compress_spec import CompressSpec
from modeltap.control.compressions import Compressions
from modeltap.control.deployments import Deployments
from modeltap.control.models import Models
from modeltap.domain.features import FEATURES
from modeltap.domain.tenant import DEFAULT_TENANT
from modeltap.engines.select import open_warm_engine
from modeltap.errors import CannotCompress, Conflict, InvalidInput, InvalidRecipe, NotFound
from modeltap.runner import compress_speed
from modeltap.runner.compress_numbers import calibration_of, make_static, parts_of
from modeltap.runner.compress_tensors import finish
from modeltap.runner.steps import Step
from modeltap.runner.tensor_parent import open_parent
from modeltap.storage.datasets import DatasetRepository
from modeltap.storage.deployments import DeploymentRepository
from modeltap.training.building import build_again

LAYERS: list[Any] = [
    {"conv2d": {"filters": 16, "kernel": 3, "padding": "same", "activation": "relu"}},
    {"maxpool2d": {"size": 2}},
    "flatten",
    {"dense": {"units": 128, "activation": "relu"}},
    {"dense": {"units": 10, "activation": "softmax"}},
]
DIGITS = {"model": {"architecture": "sequential", "layers": LAYERS}, "epochs": 6, "batch_size": 32}
WIDE = {"model": {"architecture": "mlp", "hidden": [96, 96]}, "epochs": 8, "early_stopping": None}
TREES = {"model": {"architecture": "gradient-boosting", "max_iter": 15, "early_stopping_rounds": 0}}
STUDENT = {"model": {"architecture": "mlp", "hidden": [32]}, "epochs": 15, "early_stopping": None}


class Foundry:
    """A home with versions in it that are compressed in this process."""

    def __init__(self, workshop: Workshop) -> None:
        self.workshop = workshop
        datasets = DatasetRepository(workshop.database, DEFAULT_TENANT)
        self.compressions = Compressions(datasets, workshop.models, workshop.artifacts, workshop.jobs, lambda: None)
        deployments = DeploymentRepository(workshop.database, DEFAULT_TENANT)
        self.deployments = Deployments(deployments, workshop.models, workshop.artifacts, lambda: None, is_loopback=True)

    def compress(self, ref: str, **wishes: Any) -> dict[str, Any]:
        return self.workshop._do(self.compressions.start(ref, **wishes))

    def step(self, ref: str, **wishes: Any) -> tuple[Step, CompressSpec]:
        """Of a job that is done by hand."""
        job = self.compressions.start(ref, **wishes)
        shop = self.workshop
        step = Step(job, shop.home, shop.database, shop.artifacts, shop.home, lambda _: None, lambda: False)
        return step, msgspec.convert(job.spec, CompressSpec)


@pytest.fixture(scope="module")
def foundry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Foundry]:
    patch = pytest.MonkeyPatch()
    patch.setattr(compress_speed, "TURNS", 3)
    patch.setattr(compress_speed, "TURN_S", 0.01)
    shop = Workshop(tmp_path_factory.mktemp("foundry"))
    digits, held = load_digits(), io.BytesIO()
    np.savez(held, x=(digits.images * 15).astype(np.uint8)[..., None], y=digits.target)
    shop.add("digits", held.getvalue(), filename="digits.npz")
    diabetes = load_diabetes()
    rows = [[*row, "yes" if row[1] > 0 else "no", target] for row, target in zip(diabetes.data, diabetes.target, strict=True)]
    header = [*diabetes.feature_names, "old", "progress"]
    table = "\n".join(",".join(map(str, row)) for row in [header, *rows])
    shop.add("sugar", table, target="progress")
    shop.train("digits", "image-classification", DIGITS)
    shop.train("sugar", "tabular-regression", WIDE)
    shop.train("sugar", "tabular-regression", TREES, name="forest")
    yield Foundry(shop)
    shop.close()
    patch.undo()


def test_eight_bits_are_a_version_with_a_certificate(foundry):
    result = foundry.compress("digits", weights="int8", max_drop="5pp")
    assert (result["version"], result["state"]) == ("digits-int8@1", "candidate")
    version = foundry.workshop.models.get("digits-int8")
    certificate = version.manifest.certificate
    assert msgspec.to_builtins(certificate) == result["certificate"]
    assert (certificate.parent, certificate.measure, certificate.num_samples) == ("digits@1", "accuracy", 180)
    assert certificate.evidence == "digits@1 (test)" and certificate.demand.max_drop == 0.05
    assert certificate.calibration_rows == 512 and len(certificate.calibration_digest) == 64
    assert certificate.child_bytes < certificate.parent_bytes / 2 and certificate.drop_interval[1] <= 0.05
    assert certificate.method == "int8 (static)" and certificate.parent_p50_s > 0 and certificate.gain > 0
    assert {one.column for one in certificate.slices} == {"label"}, "pictures are sliced by what is on them"
    assert sum(one.num_samples for one in certificate.slices) == 180
    files = foundry.workshop.files("digits-int8")
    bundle = open_bundle(files)
    assert bundle.manifest.lineage.parent == "digits@1" and bundle.manifest.certificate is None
    assert "weights.safetensors" not in files and "## Against its parent" in files["card.md"].read_text()
    open_warm_engine(bundle).close()
    foundry.deployments.deploy("small", "digits-int8@1")
    models = Models(foundry.workshop.models, foundry.workshop.artifacts)
    assert b"Against its parent" in models.report("digits-int8@1")
    assert list(models.compare(["digits@1", "digits-int8@1"])["certificates"]) == ["digits-int8@1"]
    again = foundry.compress("digits", weights="int8", max_drop="5pp")
    assert again["digest"] == result["digest"]


def test_a_child_calibrated_on_noise_is_rejected_and_deployed_by_force_alone(foundry):
    step, spec = foundry.step("digits", weights="int8", max_drop="5pp", name="ruined")
    parent = open_parent(step, spec, open_bundle(foundry.workshop.files("digits")))
    parts = parts_of(parent)
    rows = calibration_of(parent, parts)[FEATURES]
    noise = np.random.default_rng(0).normal(scale=300.0, size=rows.shape).astype(np.float32)
    result = finish(step, spec, parent, make_static(parent, parts, {FEATURES: noise}))
    assert result["state"] == "rejected" and result["certificate"]["child_value"] < 0.8
    with pytest.raises(Conflict, match=r"ruined@1 was rejected: its accuracy may be .* worse .* allowed is 5 points.* --force"):
        foundry.deployments.deploy("bad", "ruined@1")
    assert foundry.deployments.deploy("bad", "ruined@1", force=True).name == "bad"


def test_a_pruned_network_is_a_smaller_recipe_that_is_compressed_on(foundry):
    result = foundry.compress("digits", prune=0.5, rounds=2, max_drop="10pp", settings={"epochs": "4"})
    assert result["state"] == "candidate", result["certificate"]["reasons"]
    files = foundry.workshop.files("digits-pruned")
    told = msgspec.json.decode(files["architecture.json"].read_bytes())
    keys = [next(iter(layer.values())) for layer in told["options"]["layers"]]
    assert [one.get("filters") or one["units"] for one in keys if "filters" in one or "units" in one] == [8, 64, 10]
    build_again(told, load_file(files["weights.safetensors"]))
    assert "filters: 8" in files["recipe.yaml"].read_text() and [h["epoch"] for h in _history(foundry, "digits-pruned")] == [
        1,
        2,
        3,
        4,
    ]
    smaller = foundry.compress("digits-pruned", weights="int8", max_drop="10pp")
    sizes = [
        foundry.workshop.files(name)["model.onnx"].stat().st_size for name in ("digits", "digits-pruned", "digits-pruned-int8")
    ]
    assert sizes[0] > 3 * sizes[1] > 3 * sizes[2] and smaller["certificate"]["parent"] == "digits-pruned@1"


def test_single_zeros_save_nothing_and_say_so(foundry):
    result = foundry.compress("sugar", prune=0.6, unstructured=True, max_drop="50%", settings={"epochs": "1"})
    certificate = result["certificate"]
    assert result["state"] == "rejected" and "nothing is saved" in certificate["reasons"][-1]
    assert certificate["notes"][0] == "60% of the weights are 0" and "neither speed nor size" in certificate["notes"][1]


def test_a_regression_in_eight_bits_is_compared_by_its_error(foundry):
    result = foundry.compress("sugar", weights="int8", max_drop="20%", name="light")
    certificate = result["certificate"]
    assert result["state"] == "candidate", certificate["reasons"]
    assert certificate["measure"] == "rmse" and certificate["demand"]["max_drop"] == 0.2 and certificate["p_value"] is None
    assert {one["column"] for one in certificate["slices"]} == {"old", "progress"}


def test_four_bits_of_fully_connected_layers(foundry):
    certificate = foundry.compress("sugar", weights="int4", max_drop="50%")["certificate"]
    assert certificate["method"] == "int4" and certificate["child_bytes"] < certificate["parent_bytes"] / 2


def test_trees_teach_a_network(foundry):
    result = foundry.compress("forest", distil=STUDENT, alpha=0.9, max_drop="100%")
    assert result["state"] == "candidate", result["certificate"]["reasons"]
    version = foundry.workshop.models.get("forest-distilled")
    assert version.manifest.architecture == "mlp" and version.manifest.lineage.parent == "forest@1"
    assert "90% of the loss are the answers of forest@1" in version.manifest.certificate.notes[0]
    foundry.deployments.deploy("taught", version.id)


@pytest.mark.parametrize(
    ("ref", "wishes", "error", "told"),
    [
        ("forest", {"weights": "int8"}, CannotCompress, "made of trees.*written in 8 bits.*--distil recipe.yaml.*fewer trees"),
        ("forest", {"prune": 0.5}, CannotCompress, "made of trees.*could be pruned"),
        ("digits-int8", {"weights": "int4"}, CannotCompress, "compressed already.*compress its parent digits@1"),
        ("digits", {}, InvalidInput, "choose one of weights, prune and distil; given were: none"),
        ("digits", {"weights": "int8", "prune": 0.5}, InvalidInput, "given were: int8, prune"),
        ("digits", {"weights": "int8", "rounds": 2}, InvalidInput, "rounds: int8 has no use for that"),
        ("digits", {"weights": "int8", "settings": {"epochs": 1}}, InvalidInput, "set: int8 has no use for that"),
        ("digits", {"prune": 1.0}, InvalidInput, "prune is 1; it is more than 0 and at most 0.95"),
        ("digits", {"prune": 0.5, "rounds": 0}, InvalidInput, "rounds is 0"),
        ("digits", {"prune": 0.5, "settings": {"model.layers": "[]"}}, InvalidRecipe, "'model.layers' cannot be set here"),
        ("digits", {"weights": "int8", "max_drop": "2%"}, InvalidInput, "'2%'.*compared by its accuracy, so write 0.5pp"),
        ("sugar", {"weights": "int8", "max_drop": "2pp"}, InvalidInput, "compared by its rmse, so write 2%"),
        ("digits", {"weights": "int8", "max_drop": "much"}, InvalidInput, "max_drop is 'much'"),
        ("digits", {"weights": "int8", "max_drop": "150pp"}, InvalidInput, "max_drop is 1.5; it is more than 0 and at most 1"),
        ("digits", {"weights": "int8", "texts": ["a"]}, InvalidInput, "--data and --texts are for language models"),
        ("digits", {"distil": TREES}, CannotCompress, "'gradient-boosting' cannot; choose a network"),
        (
            "digits",
            {"distil": {**STUDENT, "task": "tabular-regression"}},
            InvalidRecipe,
            "student's task is 'tabular-regression'",
        ),
        (
            "digits",
            {"distil": {**STUDENT, "data": {"split": {"seed": 7}}}},
            InvalidRecipe,
            "data.split differs from the teacher's",
        ),
        ("digits", {"distil": STUDENT, "alpha": 1.5}, InvalidInput, "alpha is 1.5"),
        ("digits", {"distil": "epochs: ["}, InvalidRecipe, "not YAML"),
        ("nothing", {"weights": "int8"}, NotFound, "nothing"),
    ],
)
def test_what_cannot_be_is_refused_before_a_job_is_made(foundry, ref, wishes, error, told):
    before = len(foundry.workshop.jobs.list())
    with pytest.raises(error, match=told):
        foundry.compressions.start(ref, **wishes)
    assert len(foundry.workshop.jobs.list()) == before


def _history(foundry: Foundry, ref: str) -> list[dict[str, Any]]:
    models = foundry.workshop.models
    return models.extras(models.get(ref))["history"]
