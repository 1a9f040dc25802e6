"""The certificate of a compressed version as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modeltap.cli.output import Output, size
from modeltap.domain.certificate import tell_drop

SHOWN_SLICES = 12


def show_certificate(out: Output, certificate: Mapping[str, Any]) -> None:
    """Parent and child side by side, the intervals, and why it is no win where it is none."""
    c = certificate
    saved = 1 - c["child_bytes"] / c["parent_bytes"] if c["parent_bytes"] else 0.0
    unit = "tokens/s" if c.get("num_tokens") else "rows/s"
    out.say(f"{c['method']} against {c['parent']}", style="bold")
    rows = [
        (c["measure"], f"{c['parent_value']:.4f}", f"{c['child_value']:.4f}", _drop(c, c)),
        ("size", size(c["parent_bytes"]), size(c["child_bytes"]), f"{saved:.0%} less" if saved >= 0 else f"{-saved:.0%} more"),
        (unit, f"{c['parent_speed']:,.0f}", f"{c['child_speed']:,.0f}", _gain(c)),
    ]
    if c.get("parent_p50_s"):
        before, after = c["parent_p50_s"], c["child_p50_s"]
        rows.append(("one alone, p50", f"{1e6 * before:,.0f} µs", f"{1e6 * after:,.0f} µs", f"{before / after:.2f} times"))
    out.table(("", "parent", "this", "difference (95 % interval)"), rows, right=("parent", "this"))
    out.say(f"{_evidence(c)}; demanded: {_demand(c)}")
    _show_slices(out, c, c.get("slices") or ())
    if c.get("calibration_digest"):
        out.say(f"calibrated with {c['calibration_rows']:,} rows of the training part, digest {c['calibration_digest'][:12]}")
    for note in c.get("notes") or ():
        out.say(f"· {note}")
    for reason in c.get("reasons") or ():
        out.say(f"! no win: {reason}", style="yellow")


def certificate_line(certificate: Mapping[str, Any]) -> str:
    """One line of it, to stand beside others: int8 of digits@1: +0.2 points worse, 0.29 of the size, 1.31 times as fast"""
    c = certificate
    told = (
        f"{c['method']} of {c['parent']}: {tell_drop(c['measure'], c['drop'], sign='+')} worse,"
        f" {c['child_bytes'] / max(c['parent_bytes'], 1):.2f} of the size, {c['gain']:.2f} times as fast"
    )
    return f"{told}; no win" if c.get("reasons") else told


def _show_slices(out: Output, certificate: Mapping[str, Any], slices: Sequence[Mapping[str, Any]]) -> None:
    """Those that lost most; that none did."""
    worst = sorted((one for one in slices if one["drop"] > 0), key=lambda one: -one["drop"])[:SHOWN_SLICES]
    if slices and not worst:
        out.say(f"none of {len(slices)} slices is worse")
    rows = [
        (f"{one['column']}: {one['value']}", f"{one['num_samples']:,}", f"{one['child_value']:.4f}", _drop(certificate, one))
        for one in worst
    ]
    if rows:
        out.table(
            ("slice", "rows", certificate["measure"], "worse by (95 % interval)"), rows, right=("rows", certificate["measure"])
        )


def _drop(certificate: Mapping[str, Any], part: Mapping[str, Any]) -> str:
    """+0.0100 (+0.0080 to +0.0120), or in points or percent."""
    measure = certificate["measure"]
    low, high = part["drop_interval"]
    if measure == "loss":
        return f"{part['drop']:+.4f} ({low:+.4f} to {high:+.4f})"
    return f"{tell_drop(measure, part['drop'], sign='+')} ({100 * low:+.3g} to {100 * high:+.3g})"


def _gain(certificate: Mapping[str, Any]) -> str:
    slow, fast = certificate["gain_interval"]
    return f"{certificate['gain']:.2f} times ({slow:.2f} to {fast:.2f})"


def _evidence(certificate: Mapping[str, Any]) -> str:
    c = certificate
    if c.get("num_tokens"):
        documents = f"{c['num_tokens']:,} tokens" + (f" of {c['num_samples']:,} documents" if c["num_samples"] else "")
        return f"on {documents}, {c['evidence']}; {c['num_streams']} texts at a time"
    chance = "" if c.get("p_value") is None else f"; by chance alone: p = {c['p_value']:.2g} (McNemar)"
    return f"on {c['num_samples']:,} rows, {c['evidence']}{chance}; {c['num_streams']} requests at a time"


def _demand(certificate: Mapping[str, Any]) -> str:
    demand = certificate["demand"]
    asked = f"at most {tell_drop(certificate['measure'], demand['max_drop'])} worse"
    return asked + ("" if demand.get("min_gain") is None else f", at least {demand['min_gain']:g} times as fast")
