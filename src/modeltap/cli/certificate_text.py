"""The certificate of a compressed version as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modeltap.cli.output import Output, size


def show_certificate(out: Output, certificate: Mapping[str, Any]) -> None:
    """Parent and child side by side, the intervals, and why it is no win where it is none."""
    c = certificate
    low, high = c["drop_interval"]
    slow, fast = c["gain_interval"]
    saved = 1 - c["child_bytes"] / c["parent_bytes"] if c["parent_bytes"] else 0.0
    out.say(f"{c['method']} against {c['parent']}", style="bold")
    rows = [
        (c["measure"], f"{c['parent_value']:.4f}", f"{c['child_value']:.4f}", f"{c['drop']:+.4f} ({low:+.4f} to {high:+.4f})"),
        ("size", size(c["parent_bytes"]), size(c["child_bytes"]), f"{saved:.0%} less"),
        (
            "tokens/s",
            f"{c['parent_speed']:,.0f}",
            f"{c['child_speed']:,.0f}",
            f"{c['gain']:.2f} times ({slow:.2f} to {fast:.2f})",
        ),
    ]
    out.table(("", "parent", "this", "difference (95 % interval)"), rows, right=("parent", "this"))
    demand = c["demand"]
    asked = f"at most {demand['max_drop']:g} worse" + (
        "" if demand.get("min_gain") is None else f", at least {demand['min_gain']:g} times as fast"
    )
    out.say(
        f"on {c['num_tokens']:,} tokens of {c['num_documents']:,} documents, {c['evidence']};"
        f" {c['num_streams']} texts at a time; demanded: {asked}"
    )
    for reason in c.get("reasons") or ():
        out.say(f"! no win: {reason}", style="yellow")
