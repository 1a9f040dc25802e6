"""A language model's weights → smaller ones, measured against their parent → a registered version with its certificate."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from modeltap import __version__
from modeltap.bundle.files import CARD, GOLDEN, MANIFEST, RECIPE, Bundle, language_files, lay_out
from modeltap.compression.certificate import Speeds, certify
from modeltap.compression.comparing import NUM_STREAMS, Side, compare
from modeltap.compression.evidence import choose_evidence, read_ids
from modeltap.compression.openvino import OPENVINO_FILES, convert
from modeltap.compression.pairs import loss_drop
from modeltap.control.compress_spec import CompressSpec
from modeltap.data.store import open_dataset
from modeltap.data.texts import Sample, divide_samples, read_samples
from modeltap.data.tokenizer import open_tokenizer
from modeltap.domain.dataset import Part
from modeltap.domain.model import Manifest
from modeltap.domain.progress import Progress
from modeltap.errors import InvalidData
from modeltap.evaluation.certificate_view import render_certificate
from modeltap.jobs.thread_limits import granted_threads
from modeltap.recipe.document import load_document
from modeltap.recipe.parse import parse_recipe
from modeltap.runner.register_child import register_child
from modeltap.runner.steps import Step
from modeltap.storage.disk import disk_failures

OWN = (MANIFEST, GOLDEN, CARD, RECIPE, *OPENVINO_FILES)
"""Of a bundle: not part of the Hugging Face directory."""
HELD_OUT: tuple[Part, ...] = ("val", "test")
WEIGHTS_ENDINGS = (".safetensors", ".safetensors.index.json")


def compress_language(step: Step, spec: CompressSpec, bundle: Bundle) -> dict[str, Any]:
    """As `compress`. Raises InvalidData for texts that say nothing, Broken for a model that does not load."""
    language, files = bundle.manifest.language, bundle.files
    assert language is not None and (spec.method == "int8" or spec.method == "int4")
    step.report(Progress(phase="data", message="reading the texts to compare on"))
    samples, told = _samples(step, spec, bundle)
    tokenizer = open_tokenizer(files)
    evidence = choose_evidence(read_ids(samples, tokenizer), context_tokens=language.context_tokens)
    step.pause_point()
    folder = step.workdir / "compressed"
    with disk_failures("compressing"):
        shutil.rmtree(folder, ignore_errors=True)
        source = {name: path for name, path in files.items() if name not in OWN}
        convert(lay_out(source, folder / "source"), folder / "made", weights=spec.method, report=_teller(step))
    made = {name: folder / "made" / name for name in OPENVINO_FILES if (folder / "made" / name).is_file()}
    kept = {name: path for name, path in source.items() if not name.endswith(WEIGHTS_ENDINGS)}
    step.pause_point()
    manifest = _manifest(bundle.manifest, spec)
    assert manifest.language is not None
    compared = compare(
        Side(spec.model, files, language),
        Side(spec.name, {**kept, **made}, manifest.language),
        evidence,
        golden_texts=tuple(prompt.text for prompt in bundle.golden.prompts),
        tell=_teller(step),
        threads=granted_threads(),
    )
    step.pause_point()
    certificate = certify(
        parent=spec.model,
        parent_digest=spec.digest,
        method=spec.method,
        evidence=told,
        drop=loss_drop(compared.parent_nats, compared.child_nats, compared.num_tokens),
        sizes_bytes=(_served_bytes(files), _served_bytes(made)),
        speeds=Speeds(compared.parent_speeds, compared.child_speeds, NUM_STREAMS),
        demand=spec.demand,
    )
    step.report(Progress(phase="bundle", message="writing the bundle"))
    recipe = files[RECIPE].read_text(encoding="utf-8") if RECIPE in files else ""
    parts: dict[str, bytes | Path] = {**kept, **made}
    card = write_card(manifest, spec)
    digest = step.artifacts.put_tree(
        language_files(manifest=manifest, golden=compared.golden, card=card, recipe_yaml=recipe, parts=parts)
    )
    shutil.rmtree(folder, ignore_errors=True)
    facts = {
        "model": spec.name,
        "parent": spec.model,
        "method": spec.method,
        "family": manifest.language.family,
        "job": step.job.id,
    }
    page = render_certificate(certificate, title=f"{spec.name}: {spec.method} of {spec.model}", facts=facts)
    report = step.artifacts.put_bytes(page.encode())
    return register_child(step, spec, digest, manifest, certificate, report=report)


def write_card(manifest: Manifest, spec: CompressSpec) -> str:
    """Markdown; what was measured is not in it, as it differs from run to run."""
    language = manifest.language
    assert language is not None
    return "\n".join(
        [
            f"# {spec.name}",
            "",
            f"{spec.model} with {language.weights} weights: family {language.family}, {language.parameters:,} parameters, a"
            f" vocabulary of {language.vocabulary:,}, {language.context_tokens:,} tokens of context. Served by"
            f" {manifest.engine.name}.",
            "",
            "## How good",
            "",
            "Compared with its parent on the same documents, and on one machine in turns: see the certificate of the version.",
            "",
        ]
    )


def _samples(step: Step, spec: CompressSpec, bundle: Bundle) -> tuple[list[Sample], str]:
    """Texts that the parent did not learn from, as far as that is known, and what they are called."""
    if spec.texts:
        return [Sample(text=text) for text in spec.texts], "given texts"
    stored = open_dataset(step.artifacts.paths(spec.dataset_digest))
    if spec.dataset_digest == bundle.manifest.lineage.dataset_digest and RECIPE in bundle.files:
        recipe = parse_recipe(load_document(bundle.files[RECIPE].read_text(encoding="utf-8")))
        divided = divide_samples(stored, recipe.data.split)
        part: Part | None = next((part for part in HELD_OUT if divided[part]), None)
        if part is None:
            raise InvalidData(f"{spec.model} learned from all of {spec.dataset}; name other texts with --data or --texts")
        return divided[part], f"{spec.dataset} ({part})"
    held_out = next((part for part in HELD_OUT if part in stored.parts), stored.parts[0])
    return read_samples(stored, held_out), f"{spec.dataset} ({held_out})"


def _manifest(parent: Manifest, spec: CompressSpec) -> Manifest:
    assert parent.language is not None
    return msgspec.structs.replace(
        parent,
        language=msgspec.structs.replace(parent.language, weights=spec.method, cache="u8"),
        lineage=msgspec.structs.replace(parent.lineage, parent=spec.model, code_version=__version__),
        metrics={},
        certificate=None,
    )


def _served_bytes(files: Mapping[str, Path]) -> int:
    return sum(files[name].stat().st_size for name in OPENVINO_FILES if name in files)


def _teller(step: Step) -> Callable[[str], None]:
    return lambda message: step.report(Progress(phase="compress", message=message))
