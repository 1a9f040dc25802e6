"""What was found, as Markdown: medians over the rounds, and ratios to the raw loop that are taken round by round."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

from benchmarks.language.shape import Load

NONE = "–"
Found = Mapping[tuple[str, int], Sequence[Load | None]]
"""(contender, streams) → one stretch a round."""
HEAD = (
    "streams", "contender", "tokens/s", "lowest–highest", "of the raw loop", "first token, p50 ms", "of the raw loop",
    "between pieces, p99 ms", "client, processor s for 1,000 tokens", "errors",
)  # fmt: skip


def table(found: Found, raw: str) -> str:
    """One row for each number of streams and contender."""
    lines = [_row(*HEAD), "|" + "---|" * len(HEAD)]
    for name, streams in sorted(found, key=lambda who: who[1]):
        loads = [load for load in found[name, streams] if load is not None]
        if not loads:
            continue
        ceiling = found.get((raw, streams), ())
        rates = [load.rate for load in loads]
        lines.append(
            _row(
                streams,
                name,
                f"{statistics.median(rates):,.1f}",
                f"{min(rates):,.1f}–{max(rates):,.1f}",
                _ratio(found[name, streams], ceiling, lambda load: load.rate),
                f"{statistics.median(load.first_ms for load in loads):,.0f}",
                _ratio(found[name, streams], ceiling, lambda load: load.first_ms),
                f"{statistics.median(load.gap_ms for load in loads):,.0f}",
                f"{statistics.median(load.client_s for load in loads):.3f}" if any(load.client_s for load in loads) else NONE,
                sum(load.errors for load in loads),
            )
        )
    return "\n".join(lines)


def _ratio(own: Sequence[Load | None], theirs: Sequence[Load | None], of: Callable[[Load], float]) -> str:
    pairs = [of(one) / of(other) for one, other in zip(own, theirs, strict=False) if one and other and of(other)]
    return f"{statistics.median(pairs):.2f}" if pairs else NONE


def _row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"
