"""One version of a model as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modeltap.cli.certificate_text import show_certificate
from modeltap.cli.metrics_text import show_metrics
from modeltap.cli.moments import when
from modeltap.cli.output import Output, size
from modeltap.client.values import Version

MAX_TENSORS = 24
MAX_LABELS = 12


def show_version(out: Output, version: Version) -> None:
    """What it is, from what, how good, and its files."""
    manifest = version.manifest
    lineage = manifest.get("lineage", {})
    labels = manifest.get("labels", [])
    language = manifest.get("language") or {}
    out.say(version.id, style="bold")
    out.facts(
        [
            ("task", version.task),
            ("architecture", version.architecture),
            ("state", version.state),
            ("aliases", ", ".join(version.aliases) or None),
            ("made", when(version.created_at)),
            ("from data", lineage.get("dataset") or None),
            ("imported files" if language else "imported graph", lineage.get("source_digest") or None),
            ("parent", lineage.get("parent")),
            *_language_facts(language),
            ("seed", lineage.get("seed") if lineage.get("dataset") else None),
            ("job", version.job),
            ("labels", _few(labels, MAX_LABELS) if labels else None),
            ("digest", version.digest),
        ]
    )
    for part in ("test", "val"):
        if version.metrics.get(part):
            out.say()
            show_metrics(out, part, version.metrics[part])
    if manifest.get("certificate"):
        out.say()
        show_certificate(out, manifest["certificate"])
    out.say()
    show_signature(out, manifest.get("signature", {}))
    if version.files:
        out.say()
        out.table(("file", "size"), [(name, size(num_bytes)) for name, num_bytes in version.files.items()], right=("size",))
    others = [str(v.get("id")) for v in version.versions if v.get("id") != version.id]
    if others:
        out.say()
        out.say(f"other versions: {_few(others, 20)}")


def _language_facts(language: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    if not language:
        return []
    return [
        ("weights", f"{language['parameters']:,}, as {language.get('weights', 'float32')}"),
        ("context", f"{language['context_tokens']:,} tokens, of {language['vocabulary']:,} kinds"),
        ("chat template", "yes" if language.get("has_chat_template") else "no"),
    ]


def show_signature(out: Output, signature: Mapping[str, Any]) -> None:
    """Inputs and outputs with their types and shapes; N is the number of rows."""
    rows = [_tensor_row(way, tensor) for way in ("inputs", "outputs") for tensor in signature.get(way, [])]
    out.table(("", "name", "type", "shape"), rows[:MAX_TENSORS])
    if len(rows) > MAX_TENSORS:
        out.say(f"… and {len(rows) - MAX_TENSORS} more")


def _tensor_row(way: str, tensor: Mapping[str, Any]) -> tuple[str, str, str, str]:
    return (
        way.removesuffix("s"),
        tensor["name"],
        tensor["datatype"],
        "×".join("N" if n == -1 else str(n) for n in tensor["shape"]),
    )


def _few(names: Sequence[str], most: int) -> str:
    return ", ".join(names[:most]) + (f", … ({len(names)})" if len(names) > most else "")
