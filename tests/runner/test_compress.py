"""A language model is compressed as a job does it: measured against its parent, registered with a certificate, or rejected."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from workshop import Workshop

from modeltap.bundle.files import description_files, open_bundle
from modeltap.bundle.golden import Golden
from modeltap.compression.golden import record_golden_prompts
from modeltap.compression.openvino import convert
from modeltap.control.compressions import Compressions
from modeltap.control.deployments import Deployments
from modeltap.control.models import Models
from modeltap.domain.certificate import Certificate
from modeltap.domain.model import EngineChoice, Language, Lineage, Manifest
from modeltap.domain.tenant import DEFAULT_TENANT
from modeltap.errors import CannotCompress, Conflict, InvalidData, InvalidInput, NotFound
from modeltap.importing.huggingface_child import language_signature
from modeltap.runner.compress import compress
from modeltap.runner.steps import Step
from modeltap.storage.datasets import DatasetRepository
from modeltap.storage.deployments import DeploymentRepository
from tiny_language import TEXT, files_of, make_tiny_llama

LANGUAGE = Language(family="llama", context_tokens=256, vocabulary=427, parameters=101376, has_chat_template=True)


class Foundry:
    """A home with a tiny language model in it, compressed in this process."""

    golden: Golden

    def __init__(self, home: Path) -> None:
        self.workshop = Workshop(home)
        shop = self.workshop
        datasets = DatasetRepository(shop.database, DEFAULT_TENANT)
        self.compressions = Compressions(datasets, shop.models, shop.artifacts, shop.jobs, lambda: None)
        deployments = DeploymentRepository(shop.database, DEFAULT_TENANT)
        self.deployments = Deployments(deployments, shop.models, shop.artifacts, lambda: None, is_loopback=True)

    def register(self, name: str, files: dict[str, Path], language: Language | None = LANGUAGE, **lineage: str) -> None:
        signature, schema = language_signature()
        manifest = Manifest(
            task="text-generation",
            architecture="llama",
            signature=signature,
            engine=EngineChoice(name="openvino-genai"),
            schema=schema,
            output="text",
            language=language,
            lineage=Lineage(code_version="0", **lineage),
        )
        described = description_files(manifest=manifest, golden=self.golden, card="# tiny") if files else {"a": b"a"}
        digest = self.workshop.artifacts.put_tree({**files, **described})
        self.workshop.models.add(name, digest, manifest, None, datetime.now(UTC))

    def compress(self, ref: str, weights: str = "int8", **more: object) -> dict[str, object]:
        job = self.compressions.start(ref, weights=weights, **more)  # type: ignore[arg-type]
        workdir = self.workshop.home / "jobs" / job.id
        workdir.mkdir(parents=True)
        return compress(
            Step(
                job=job,
                home=self.workshop.home,
                database=self.workshop.database,
                artifacts=self.workshop.artifacts,
                workdir=workdir,
                report=lambda progress: None,
                stop_requested=lambda: False,
            )
        )


@pytest.fixture(scope="module")
def foundry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Foundry]:
    folder = tmp_path_factory.mktemp("foundry")
    source = make_tiny_llama(folder / "tiny")
    convert(source, folder / "converted", weights="float32")
    files = {**files_of(source), **files_of(folder / "converted")}
    (folder / "home").mkdir()
    made = Foundry(folder / "home")
    made.golden = record_golden_prompts(files, LANGUAGE)
    made.workshop.add("tales", "\n".join(TEXT) * 20, filename="tales.txt")
    made.register("tiny", files)
    made.register("gone", files, dataset="lost@1")
    yield made
    made.workshop.close()


def test_a_smaller_model_is_a_version_with_a_certificate(foundry):
    result = foundry.compress("tiny", texts=list(TEXT) * 8, max_drop=1.0)
    assert result["version"] == "tiny-int8@1" and result["state"] == "candidate"
    version = foundry.workshop.models.get("tiny-int8")
    certificate = version.manifest.certificate
    assert msgspec.to_builtins(certificate) == result["certificate"]
    assert certificate.parent == "tiny@1" and certificate.parent_digest == foundry.workshop.models.get("tiny").digest
    assert certificate.evidence == "given texts" and certificate.num_samples == 24
    assert certificate.child_bytes < certificate.parent_bytes and certificate.child_value == pytest.approx(
        certificate.parent_value + certificate.drop
    )
    files = foundry.workshop.files("tiny-int8")
    assert not [name for name in files if "safetensors" in name] and "tokenizer.json" in files
    bundle = open_bundle(files)
    assert bundle.manifest.language.weights == "int8" and bundle.manifest.lineage.parent == "tiny@1"
    assert bundle.manifest.certificate is None, "measured times are no part of what the digest is made of"
    assert [prompt.text for prompt in bundle.golden.prompts] == [prompt.text for prompt in foundry.golden.prompts]
    foundry.deployments.deploy("small", "tiny-int8@1")


def test_one_that_misses_its_bound_is_rejected_and_deployed_by_force_alone(foundry):
    result = foundry.compress("tiny@1", "int4", data="tales", max_drop=100.0, min_gain=1000.0, name="tinier")
    assert result["state"] == "rejected"
    certificate = foundry.workshop.models.get("tinier@1").manifest.certificate
    assert len(certificate.reasons) == 1 and certificate.evidence == "tales@1 (rows)"
    with pytest.raises(Conflict, match=r"tinier@1 was rejected: .* demanded is 1000; .* --force"):
        foundry.deployments.deploy("bad", "tinier@1")
    assert foundry.deployments.deploy("bad", "tinier@1", force=True).name == "bad"
    _, archive = Models(foundry.workshop.models, foundry.workshop.artifacts).export("tinier")
    with archive, zipfile.ZipFile(archive) as files:
        assert msgspec.json.decode(files.read("certificate.json"), type=Certificate) == certificate


@pytest.mark.parametrize(
    ("ref", "more", "error", "told"),
    [
        ("tiny", {}, InvalidInput, "tiny@1 was imported, so no texts are known"),
        ("tiny", {"texts": ["a"], "data": "tales"}, InvalidInput, "not both"),
        ("tiny", {"texts": ["a"] * 1001}, InvalidInput, "1,000 texts"),
        ("tiny", {"texts": ["a" * (1 << 20), "b"]}, InvalidInput, "characters together"),
        ("tiny", {"data": "nowhere"}, NotFound, "nowhere"),
        ("gone", {}, NotFound, "lost@1, which gone@1 was trained on, was removed"),
        ("none", {}, NotFound, "none"),
        ("tiny", {"texts": ["a"], "max_drop": 0.0}, InvalidInput, "max_drop is 0"),
        ("tiny", {"texts": ["a"], "max_drop": float("nan")}, InvalidInput, "max_drop is nan"),
        ("tiny", {"texts": ["a"], "min_gain": -1.0}, InvalidInput, "min_gain is -1"),
        ("tiny", {"texts": ["a"], "name": "Not A Name"}, InvalidInput, "name"),
    ],
)
def test_what_cannot_be_is_refused_before_a_job_is_made(foundry, ref, more, error, told):
    before = len(foundry.workshop.jobs.list())
    with pytest.raises(error, match=told):
        foundry.compressions.start(ref, weights="int8", **more)
    assert len(foundry.workshop.jobs.list()) == before


def test_other_models_are_not_compressed(foundry):
    foundry.register("table", {}, language=None)
    foundry.register("small", {}, language=msgspec.structs.replace(LANGUAGE, weights="int8"), parent="tiny@1")
    foundry.register("bare", {})
    for name, told in {
        "table": "no target that the answers of both could be compared with",
        "small": "compressed already .* its parent tiny@1",
        "bare": "no weights",
    }.items():
        with pytest.raises((InvalidData, CannotCompress), match=told):
            foundry.compressions.start(name, weights="int8", texts=["a text"])


def test_texts_that_say_nothing_fail_the_job(foundry):
    with pytest.raises(InvalidData, match="32 at the least"):
        foundry.compress("tiny", texts=["a", "b"])
