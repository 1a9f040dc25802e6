"""A certificate as a page shows it: what was demanded and whether it holds, both sides beside each other, the worst slices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from modeltap.domain.certificate import Bounds, Certificate, Measure, SliceDrop, tell_drop
from modeltap.evaluation.metric_titles import METRIC_TITLES
from modeltap.evaluation.page import page_template, render_page

SHOWN_SLICES = 12


class Compared(NamedTuple):
    """A line of the table: `told` is the difference, `bounds` its 95 % interval, empty where there is none."""

    name: str
    parent: str
    child: str
    told: str
    bounds: str = ""


class SliceShown(NamedTuple):
    """The rows that share a value of a column."""

    name: str
    rows: str
    compared: Compared


class CertificateShown(NamedTuple):
    heading: str
    is_win: bool
    verdict: str
    demand: str
    evidence: str
    rows: list[Compared]
    slices: list[SliceShown]
    slices_told: str
    notes: list[str]


def render_certificate(certificate: Certificate, *, title: str, facts: Mapping[str, str]) -> str:
    """The page of a version that has no evaluation of its own: a language model's. All text is escaped."""
    template = page_template("certificate_page.html")
    return render_page(template, title=title, facts=facts, certificate=show_certificate(certificate))


def show_certificate(certificate: Certificate) -> CertificateShown:
    """All of it in a person's words."""
    c = certificate
    notes = list(c.notes)
    if c.calibration_digest:
        notes.append(f"calibrated with {c.calibration_rows:,} rows of the training part, digest {c.calibration_digest[:12]}")
    worst = sorted((one for one in c.slices if one.drop > 0), key=lambda one: -one.drop)
    return CertificateShown(
        heading=f"{c.method} of {c.parent}",
        is_win=not c.reasons,
        verdict=f"It is no win: {'; '.join(c.reasons)}." if c.reasons else "It holds what was demanded.",
        demand=_demand(c),
        evidence=_evidence(c),
        rows=_rows(c),
        slices=[_slice(c.measure, one) for one in worst[:SHOWN_SLICES]],
        slices_told=_slices_told(len(c.slices), len(worst)),
        notes=notes,
    )


def _rows(c: Certificate) -> list[Compared]:
    title = METRIC_TITLES[c.measure][0] if c.measure in METRIC_TITLES else c.measure
    unit = "tokens" if c.num_tokens else "rows"
    slow, fast = c.gain_interval
    rows = [
        Compared(
            f"{title}{', nats a token' if c.measure == 'loss' else ''}",
            f"{c.parent_value:.4f}",
            f"{c.child_value:.4f}",
            tell_change(c.measure, c.drop),
            tell_bounds(c.measure, c.drop_interval),
        ),
        Compared("Size", tell_bytes(c.parent_bytes), tell_bytes(c.child_bytes), _saved(c)),
        Compared(
            f"{unit.capitalize()} a second, {c.num_streams} {'texts' if c.num_tokens else 'requests'} at a time",
            f"{c.parent_speed:,.0f}",
            f"{c.child_speed:,.0f}",
            f"{c.gain:.2f} times as fast",
            f"{slow:.2f} to {fast:.2f} times",
        ),
    ]
    if c.parent_p50_s and c.child_p50_s:
        before, after = c.parent_p50_s, c.child_p50_s
        told = f"{before / after:.2f} times as fast"
        rows.append(Compared("One request alone, median", _micros(before), _micros(after), told))
    return rows


def _slice(measure: Measure, one: SliceDrop) -> SliceShown:
    values = (f"{one.parent_value:.4f}", f"{one.child_value:.4f}")
    told = Compared(one.value, *values, tell_change(measure, one.drop), tell_bounds(measure, one.drop_interval))
    return SliceShown(one.column, f"{one.num_samples:,}", told)


def _slices_told(num_slices: int, num_worse: int) -> str:
    if not num_slices:
        return ""
    if not num_worse:
        return f"None of {num_slices} slices is answered worse."
    told = f"{num_worse} of {num_slices} slices {'is' if num_worse == 1 else 'are'} answered worse"
    return f"{told}; these lost most." if num_worse > SHOWN_SLICES else f"{told}."


def tell_change(measure: Measure, drop: float) -> str:
    """0.012 of accuracy → 1.2 points worse."""
    if not drop:
        return "the same"
    return f"{tell_drop(measure, abs(drop))} {'worse' if drop > 0 else 'better'}"


def tell_bounds(measure: Measure, bounds: Bounds) -> str:
    """How much worse it may be: -0.3 to +0.55 points."""
    low, high = (tell_drop(measure, bound, sign="+") for bound in bounds)
    number, _, unit = high.partition(" ")
    return f"{low.partition(' ')[0]} to {number}{' ' * bool(unit)}{unit}"


def tell_bytes(num_bytes: int) -> str:
    """8.4 MB; decimal units."""
    amount = float(num_bytes)
    for unit in ("bytes", "kB", "MB"):
        if amount < 1000:
            return f"{num_bytes} bytes" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def _saved(c: Certificate) -> str:
    saved = 1 - c.child_bytes / c.parent_bytes if c.parent_bytes else 0.0
    if not saved:
        return "the same"
    return f"{saved:.0%} less" if saved > 0 else f"{-saved:.0%} more"


def _demand(c: Certificate) -> str:
    asked = f"at most {tell_drop(c.measure, c.demand.max_drop)} worse at the far end of the interval"
    faster = "" if c.demand.min_gain is None else f", at least {c.demand.min_gain:g} times as fast at the near one"
    return f"Demanded: {asked}{faster}, and smaller or surely faster."


def _evidence(c: Certificate) -> str:
    if c.num_tokens:
        of = f" of {c.num_samples:,} documents" if c.num_samples else ""
        return f"{c.num_tokens:,} tokens{of} ({c.evidence})"
    chance = "" if c.p_value is None else f"; p = {c.p_value:.2g} that they differ so much by chance alone (McNemar)"
    return f"{c.num_samples:,} rows ({c.evidence}){chance}"


def _micros(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f} µs"
