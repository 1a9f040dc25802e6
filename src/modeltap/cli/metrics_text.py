"""Metrics as text: one a line with its interval, or versions side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modeltap.cli.output import Output
from modeltap.domain.task import MAIN_METRICS

INTERVAL = "_interval"


def show_metrics(out: Output, part: str, metrics: Mapping[str, Any]) -> None:
    """A table of the main metrics of one part with their 95 % intervals."""
    rows = [(name, score(metrics[name]), bounds_text(metrics.get(name + INTERVAL))) for name in names_of(metrics)]
    if rows:
        out.table((part, "value", "95 % interval"), rows, right=("value",))


def show_comparison(out: Output, refs: Sequence[str], metrics: Mapping[str, Mapping[str, Any]]) -> None:
    """Metrics as rows, versions as columns."""
    rows = [(name, *(score(metrics[name].get(ref)) for ref in refs)) for name in names_of(metrics)]
    out.table(("metric", *refs), rows, right=refs)


def names_of(metrics: Mapping[str, Any]) -> list[str]:
    """The main metrics that are there; all of them where none is."""
    plain = [name for name in metrics if not name.endswith(INTERVAL)]
    return [name for name in MAIN_METRICS if name in metrics] or plain


def score(value: Any) -> str:
    """Four decimals below 10, four digits above; – where undefined."""
    if not isinstance(value, (int, float)):
        return "–"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:,.5g}"


def bounds_text(bounds: Any) -> str:
    """0.8432 to 0.8711"""
    if not isinstance(bounds, (list, tuple)) or len(bounds) != 2:
        return ""
    return f"{score(bounds[0])} to {score(bounds[1])}"


def headline(metrics: Mapping[str, Any]) -> str:
    """The first of the main metrics with its interval: accuracy 0.9722 (0.955 to 0.985)."""
    name = next(iter(names_of(metrics)), None)
    if name is None:
        return ""
    bounds = bounds_text(metrics.get(name + INTERVAL))
    return f"{name} {score(metrics[name])}{f' ({bounds})' if bounds else ''}"


def show_candidates(out: Output, candidates: Sequence[Mapping[str, Any]]) -> None:
    """What a search tried, with what each was worth; nothing where there was no search."""
    if not candidates:
        return
    names = list(dict.fromkeys(name for one in candidates for name in one["metrics"]))
    rows = [
        (
            one["name"] if one["state"] == "trained" else f"{one['name']} ({one['state']})",
            *(score(one["metrics"].get(name)) for name in names),
            f"{one['seconds']:.1f}",
            f"{one['weight']:.0%}" if one["weight"] else "",
        )
        for one in candidates
    ]
    out.table(("candidate", *names, "seconds", "weight"), rows, right=(*names, "seconds", "weight"))
