"""The model card of what was imported: what it takes and gives, and that nothing is known of how good it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from modeltap.domain.model import Manifest
from modeltap.domain.signature import TensorSpec


def write_import_card(manifest: Manifest, *, facts: Mapping[str, str], notices: Sequence[str], what: str = "graph") -> str:
    """Markdown; equal files give equal cards. `what` is what was imported."""
    signature = manifest.signature
    tensors = [("input", spec) for spec in signature.inputs] + [("output", spec) for spec in signature.outputs]
    run = (
        f"Rows of several requests are run together, {manifest.engine.min_batch} at the least."
        if manifest.is_batched
        else "One request is run at a time: its rows may depend on each other, or it has none."
    )
    lines = [
        f"# An imported {what}",
        "",
        f"SHA-256 of the {what}: `{manifest.lineage.source_digest}`. Served by {manifest.engine.name}. {run}",
        "",
        "| | name | datatype | shape |",
        "|---|---|---|---|",
        *(f"| {way} | {_cell(spec.name)} | {spec.datatype} | {_shape(spec)} |" for way, spec in tensors),
        "",
        *(f"{name[:1].upper()}{name[1:]}: {_cell(value)}." for name, value in facts.items() if value),
        "",
        "## How good",
        "",
        "Not known here: it was not trained by modeltap, and was not evaluated.",
        "",
    ]
    if notices:
        lines += ["## Noticed", "", *(f"- {_cell(notice)}" for notice in notices), ""]
    return "\n".join(lines)


def write_language_import_card(manifest: Manifest, *, notices: Sequence[str]) -> str:
    """Markdown; equal directories give equal cards."""
    language = manifest.language
    assert language is not None
    chat = "It has a chat template." if language.has_chat_template else "It has no chat template: it goes on with a text."
    lines = [
        "# An imported language model",
        "",
        f"Family {_cell(language.family)}, {language.parameters:,} parameters, a vocabulary of {language.vocabulary:,};"
        f" it reads and writes {language.context_tokens:,} tokens together. {chat}",
        "",
        f"SHA-256 over the files it was made of: `{manifest.lineage.source_digest}`. Served by {manifest.engine.name} with"
        f" {language.weights} weights.",
        "",
        "## How good",
        "",
        "Not known here: it was not trained by modeltap, and was not evaluated.",
        "",
    ]
    if notices:
        lines += ["## Noticed", "", *(f"- {_cell(notice)}" for notice in notices), ""]
    return "\n".join(lines)


def _shape(spec: TensorSpec) -> str:
    return " × ".join("any" if extent < 0 else str(extent) for extent in spec.shape) or "one value"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("`", "'")[:2000]
