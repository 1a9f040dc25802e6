"""The model card: what it is, from what data, how good with intervals and by slice, and where its limits are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modeltap.domain.model import Manifest
from modeltap.domain.task import MAIN_METRICS


def write_card(
    manifest: Manifest, *, name: str, summary: str, num_rows: Mapping[str, int], slices: Sequence[Mapping[str, Any]]
) -> str:
    """Markdown. slices: {"column", "value", "num_rows", "metrics"} as an evaluation has them."""
    lineage = manifest.lineage
    lines = [
        f"# {name}",
        "",
        f"{summary[:1].upper()}{summary[1:]}; {manifest.architecture}, served by {manifest.engine.name}.",
        "",
        "## Data",
        "",
        f"Dataset `{lineage.dataset}` (digest `{lineage.dataset_digest[:12]}`): "
        + ", ".join(f"{count:,} {part}" for part, count in num_rows.items())
        + " rows.",
        "",
        "| input | kind |",
        "|---|---|",
        *(f"| {_cell(c.name)} | {c.kind}{_shape(c.shape)} |" for c in manifest.schema.features),
        "",
    ]
    if manifest.labels:
        more = f" and {len(manifest.labels) - 20} more" if len(manifest.labels) > 20 else ""
        lines += [f"Answers: {', '.join(f'`{_cell(label)}`' for label in manifest.labels[:20])}{more}.", ""]
    lines += ["## How good", "", *metrics_table(manifest.metrics), ""]
    if slices:
        lines += ["## By slice of the test part", "", *_slices_table(slices), ""]
    lines += [
        "## Limits",
        "",
        "The figures hold for rows like those of the test part. An interval is 95 %, from a bootstrap of its rows;",
        "where it is wide, or a slice has few rows, the figure says little. A category never seen in training is taken for one",
        "of the rare ones or, where there were none, for none in particular; a missing number is replaced by the training",
        "part's median, or followed as missing by trees.",
        "",
        f"Made by modeltap {lineage.code_version}, seed {lineage.seed}, {lineage.threads} threads,"
        f" recipe `{lineage.recipe_digest[:12]}`.",
        "",
    ]
    return "\n".join(lines)


def metrics_table(metrics: Mapping[str, Any]) -> list[str]:
    """Part, metric, value and interval, as a Markdown table."""
    lines = ["| part | metric | value | 95 % interval |", "|---|---|---|---|"]
    for part, values in metrics.items():
        for name in MAIN_METRICS:
            if values.get(name) is None:
                continue
            interval = values.get(f"{name}_interval")
            told = f"{interval[0]:.4g} – {interval[1]:.4g}" if interval else ""
            lines.append(f"| {part} | {name} | {values[name]:.4g} | {told} |")
    return lines


def _slices_table(slices: Sequence[Mapping[str, Any]]) -> list[str]:
    names = [name for name in ("accuracy", "f1_macro", "rmse", "mae") if slices[0]["metrics"].get(name) is not None]
    lines = [f"| column | value | rows | {' | '.join(names)} |", "|---|---|---|" + "---|" * len(names)]
    for piece in slices[:40]:
        told = " | ".join("" if piece["metrics"].get(n) is None else f"{piece['metrics'][n]:.4g}" for n in names)
        lines.append(f"| {_cell(piece['column'])} | {_cell(piece['value'])} | {piece['num_rows']} | {told} |")
    return lines


def _cell(text: object) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ").replace("`", "'")


def _shape(shape: Sequence[int]) -> str:
    return " " + " × ".join(map(str, shape)) if shape else ""
