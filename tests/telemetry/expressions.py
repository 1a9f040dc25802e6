"""What an expression of Prometheus asks for: which metrics, by which labels."""

from __future__ import annotations

import re

from modeltap.telemetry.catalogue import METRICS, Metric

_NAME = re.compile(r"\bmodeltap_[a-z_]+")
_PART = re.compile(r"_(bucket|sum|count)$")
_SELECTOR = re.compile(r"\b(modeltap_[a-z_]+)\{([^}]*)\}")
_BY = re.compile(r"\bby \(([^)]*)\)")


def metric_of(name: str) -> Metric | None:
    """The metric that has a sample of that name; only a histogram has samples beside its own."""
    part = _PART.search(name)
    if name in METRICS:
        return METRICS[name] if METRICS[name].kind != "histogram" else None
    found = METRICS.get(_PART.sub("", name)) if part else None
    return found if found is not None and found.kind == "histogram" else None


def metrics_in(expression: str) -> set[str]:
    """The metrics that it reads; a name of none is shown as it stands."""
    return {found.name if (found := metric_of(name)) else name for name in _NAME.findall(expression)}


def problems_of(expression: str) -> list[str]:
    """Names that no metric has, and labels that those in it do not have."""
    wrong = [name for name in _NAME.findall(expression) if metric_of(name) is None]
    if wrong:
        return wrong
    for name, inside in _SELECTOR.findall(expression):
        known = {*metric_of(name).labels, "instance", "job"}
        wrong += [f"{name}{{{label}}}" for label in re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)", inside) if label not in known]
    known = {"le", "instance", "job"}.union(*(metric_of(name).labels for name in _NAME.findall(expression)))
    for listed in _BY.findall(expression):
        wrong += [f"by ({label})" for label in map(str.strip, listed.split(",")) if label not in known]
    if "histogram_quantile" in expression and not ("le" in expression and "_bucket" in expression):
        wrong.append("a quantile without buckets")
    return wrong
