"""A dataset's profile as text: a line a column, small histograms, and bars for the balance of the target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modeltap.cli.output import Output, number, size
from modeltap.client.values import Dataset

BLOCKS = " ▁▂▃▄▅▆▇█"
BAR_CHARS = 30
MAX_CLASSES = 20
MAX_COLUMNS = 200
MAX_EXAMPLE_CHARS = 44


def show_columns(out: Output, dataset: Dataset) -> None:
    """What was inferred: kind, role, missing and different values, and what they look like."""
    profile = dataset.profile or {}
    rows = []
    columns = profile.get("columns", [])
    for facts in columns[:MAX_COLUMNS]:
        rows.append((facts["name"], facts["kind"], facts["role"], facts.get("missing"), facts.get("distinct"), example(facts)))
    out.say(_summary(dataset))
    out.table(("column", "kind", "role", "missing", "distinct", "values"), rows, right=("missing", "distinct"))
    if len(columns) > MAX_COLUMNS:
        out.say(f"… and {len(columns) - MAX_COLUMNS} more columns")


def show_profile(out: Output, dataset: Dataset) -> None:
    """All of it: facts, columns with histograms, target."""
    profile = dataset.profile or {}
    out.say(dataset.id, style="bold")
    show_columns(out, dataset)
    numbers = [c for c in profile.get("columns", []) if (c.get("histogram") or {}).get("counts")]
    if numbers:
        out.say()
        rows = [(c["name"], sparkline(c["histogram"]["counts"]), c.get("min"), c.get("max"), c.get("mean")) for c in numbers]
        out.table(("column", "histogram", "min", "max", "mean"), rows[:MAX_COLUMNS], right=("min", "max", "mean"))
    _show_target(out, profile.get("target"))
    out.say()
    out.facts(
        [
            ("digest", dataset.digest),
            ("versions", ", ".join(f"{dataset.name}@{v}" for v in dataset.versions) or None),
            ("stored", None if dataset.size_bytes is None else size(dataset.size_bytes)),
            ("repeated rows", profile.get("duplicate_rows")),
        ]
    )


def example(facts: Mapping[str, Any]) -> str:
    """What the values of a column look like, in a few words."""
    if facts.get("top"):
        return _shortened(", ".join(str(entry["value"]) for entry in facts["top"][:6]))
    if facts.get("shape"):
        return "×".join(map(str, facts["shape"])) + f" {facts.get('datatype', '')}".rstrip()
    if facts.get("characters"):
        lengths = facts["characters"]
        return f"{lengths['min']:,} to {lengths['max']:,} characters"
    if facts.get("min") is not None and facts.get("max") is not None:
        if isinstance(facts["min"], str):
            return f"{facts['min'][:10]} … {facts['max'][:10]}"
        mean = f" (mean {number(facts['mean'])})" if facts.get("mean") is not None else ""
        return f"{number(facts['min'])} … {number(facts['max'])}{mean}"
    return ""


def sparkline(counts: Sequence[int]) -> str:
    """One block a bin, the highest for the most frequent; a bin that is not empty is never blank."""
    most = max(counts, default=0)
    if most == 0:
        return ""
    steps = len(BLOCKS) - 1
    return "".join(BLOCKS[0 if count == 0 else max(1, round(count / most * steps))] for count in counts)


def _show_target(out: Output, target: Mapping[str, Any] | None) -> None:
    if target is None:
        return
    out.say()
    classes = target.get("classes") or []
    missing = f", {target['missing']:,} missing" if target.get("missing") else ""
    if not classes:
        counts = (target.get("histogram") or {}).get("counts", [])
        out.say(f"target {target['name']}: {example(target)}{missing}  {sparkline(counts)}")
        return
    out.say(f"target {target['name']}: {target.get('distinct', len(classes))} classes{missing}")
    width = max(len(str(c["label"])) for c in classes[:MAX_CLASSES])
    most = max(c["fraction"] for c in classes) or 1.0
    for entry in classes[:MAX_CLASSES]:
        bar = "█" * max(1, round(entry["fraction"] / most * BAR_CHARS))
        out.say(f"  {str(entry['label']).ljust(width)}  {bar.ljust(BAR_CHARS)}  {entry['fraction']:6.1%}  {entry['count']:,}")
    if len(classes) > MAX_CLASSES:
        out.say(f"  … and {len(classes) - MAX_CLASSES} more")


def _summary(dataset: Dataset) -> str:
    parts = ", ".join(f"{part} {count:,}" for part, count in dataset.num_rows.items())
    return f"{dataset.schema.form}: {parts}; {len(dataset.schema.columns)} columns"


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_EXAMPLE_CHARS else text[: MAX_EXAMPLE_CHARS - 1] + "…"
