"""The model card of a language model that was trained here: from what texts, how well it foresees others, its limits."""

from __future__ import annotations

from collections.abc import Mapping

from modeltap.bundle.card import metrics_table
from modeltap.domain.dataset import Part
from modeltap.domain.model import Manifest


def write_language_card(manifest: Manifest, *, name: str, num_texts: Mapping[Part, int]) -> str:
    """Markdown. num_texts: part → documents, pairs or talks."""
    lineage, language = manifest.lineage, manifest.language
    assert language is not None
    counts = ", ".join(f"{count:,} {part}" for part, count in num_texts.items() if count)
    base = f", trained on from `{lineage.parent}`" if lineage.parent else ""
    lines = [
        f"# {name}",
        "",
        f"A language model of the family {language.family}{base}: {language.parameters:,} parameters, a vocabulary of"
        f" {language.vocabulary:,}, {language.context_tokens:,} tokens of context; served by {manifest.engine.name}.",
        "",
        "## Data",
        "",
        f"Dataset `{lineage.dataset}` (digest `{lineage.dataset_digest[:12]}`): texts {counts}.",
        "",
        "## How good",
        "",
        *metrics_table(manifest.metrics),
        "",
        "Loss is in nats a token; bits a byte do not depend on the tokenizer, so that models can be compared by them.",
        "",
        "## Limits",
        "",
        "It writes what is likely after texts like those it learned from, which need not be true. It was not taught to refuse"
        " anything, and may repeat what it read. The figures hold for texts like those they were measured on.",
        "",
        f"Made by modeltap {lineage.code_version}, seed {lineage.seed}, {lineage.threads} threads,"
        f" recipe `{lineage.recipe_digest[:12]}`.",
        "",
    ]
    return "\n".join(lines)
