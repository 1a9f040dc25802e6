"""What a compressed version's model card says of its parent. Times differ from run to run, so they are not in it."""

from __future__ import annotations

from modeltap.domain.certificate import Certificate, tell_drop

BEFORE = "## Limits"
SHOWN_SLICES = 40


def with_comparison(card: str, certificate: Certificate) -> str:
    """The card with a section on parent and child before its limits."""
    c = certificate
    low, high = (tell_drop(c.measure, bound, sign="+") for bound in c.drop_interval)
    lines = [
        "## Against its parent",
        "",
        f"{c.method} of `{c.parent}` (digest `{c.parent_digest[:12]}`), on the same {c.num_samples:,} rows of {c.evidence}:",
        f"{c.measure} {c.child_value:.4g} beside {c.parent_value:.4g}, {tell_drop(c.measure, c.drop, sign='+')} worse, by 95 %",
        f"between {low} and {high}. {c.child_bytes:,} bytes beside {c.parent_bytes:,}. How fast both are was measured on one",
        "machine: see the certificate of the version.",
        "",
        *(f"- {note}" for note in c.notes),
    ]
    if c.calibration_digest:
        lines.append(f"- calibrated with {c.calibration_rows:,} rows, digest `{c.calibration_digest[:12]}`")
    if c.slices:
        lines += ["", "| column | value | rows | parent | this | worse by | 95 % interval |", "|---|---|---|---|---|---|---|"]
    for one in c.slices[:SHOWN_SLICES]:
        bounds = " to ".join(tell_drop(c.measure, bound, sign="+") for bound in one.drop_interval)
        lines.append(
            f"| {_cell(one.column)} | {_cell(one.value)} | {one.num_samples} | {one.parent_value:.4g} | {one.child_value:.4g} |"
            f" {tell_drop(c.measure, one.drop, sign='+')} | {bounds} |"
        )
    before, found, after = card.partition(BEFORE)
    return before + "\n".join(lines) + "\n\n" + found + after


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("`", "'")
