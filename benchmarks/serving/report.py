"""What was found, as Markdown: medians over the rounds, and ratios that are taken round by round."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence

from benchmarks.serving.open_loop import OpenLoad
from benchmarks.serving.rounds import CONNECTIONS, OPEN_SHARE, RAW, Found, Stretch, Who
from benchmarks.serving.servers import Server
from benchmarks.serving.wrk import Load

OWN, YARDSTICK = "modeltap", "prototype"
NONE = "–"
ADDED_BUDGET_US = 300


def peak_table(found: Found) -> str:
    """Closed loop: how often a second, how fast, and against whom."""
    lines = _head("server", "body", "req/s", "lowest–highest", "p50 ms", "p99 ms", "errors", "cores used")
    lines[0] += " of modeltap | of prototype | of session.run |"
    lines[1] += "---|---|---|"
    for who in found.stretches:
        loads = [stretch.peak for stretch in _there(found, who)]
        rates = [load.rate for load in loads]
        against = [_times(found, who, other) for other in ((OWN, who[1]), (YARDSTICK, who[1]), RAW)]
        lines.append(
            _row(
                *who,
                f"{statistics.median(rates):,.0f}",
                f"{min(rates):,.0f}–{max(rates):,.0f}",
                _ms(load.p50_us for load in loads),
                _ms(load.p99_us for load in loads),
                sum(load.errors for load in loads),
                _cores(found, who),
                *against,
            )
        )
    return "\n".join([*lines, "", f"Closed loop, {CONNECTIONS} connections, one core for the server."])


def budget_table(found: Found) -> str:
    """The ratios that are promised, with floor and aim; empty where modeltap was not measured."""
    json, binary = (OWN, "json"), (OWN, "binary")
    rows: list[tuple[str, Who, Who | None, str, str]] = [
        ("JSON, of the prototype", json, (YARDSTICK, "json"), "0.85", NONE),
        ("JSON, of the best peer", json, _best_peer(found, "json"), "1.5", "3"),
        ("JSON, of session.run at batch 1", json, RAW, NONE, "0.5"),
        ("binary, of the prototype", binary, (YARDSTICK, "binary"), "0.85", NONE),
        ("binary, of the best peer", binary, _best_peer(found, "binary"), NONE, NONE),
        ("binary, of session.run at batch 1", binary, RAW, NONE, "0.6"),
    ]
    if json not in found.stretches:
        return ""
    lines = _head("budget", "measured", "against", "floor", "aim")
    for what, own, other, floor, aim in rows:
        lines.append(_row(what, _times(found, own, other) if other else NONE, ", ".join(other or (NONE,)), floor, aim))
    return "\n".join(lines)


def open_table(found: Found) -> str:
    """Latency at a fixed share of each server's own peak, from the moment when a request was due."""
    lines = _head("server", "body", "offered/s", "answered/s", "p50 ms", "p99 ms", "p99.9 ms", "errors", "sent late, p99 ms")
    for who in found.stretches:
        loads = [stretch.open for stretch in _there(found, who) if stretch.open]
        if not loads:
            continue

        def median(pick: Callable[[OpenLoad], float], loads: Sequence[OpenLoad] = loads) -> float:
            return statistics.median(pick(load) for load in loads)

        lines.append(
            _row(
                *who,
                f"{median(lambda load: load.offered):,.0f}",
                f"{median(lambda load: load.answered):,.0f}",
                *(_ms(getattr(load, name) for load in loads) for name in ("p50_us", "p99_us", "p999_us")),
                sum(load.errors for load in loads),
                _ms(load.late_p99_us for load in loads),
            )
        )
    if len(lines) == 2:
        return ""
    note = (
        f"Open loop at {OPEN_SHARE:.0%} of each server's own peak in the same round. The generator is Python on one core: where"
        " it sent late, or offered more than about 15,000 a second, the figures are its own."
    )
    return "\n".join([*lines, "", note])


def single_table(found: Found) -> str:
    """What a server adds to `session.run` where one connection asks."""
    raw_us = statistics.median(stretch.peak.p50_us for stretch in _there(found, RAW))
    lines = _head("server", "body", "p50 µs", "p99 µs", "added to session.run, p50 µs")
    for who in found.stretches:
        loads = [stretch.single for stretch in _there(found, who) if stretch.single]
        if loads:
            p50_us = statistics.median(load.p50_us for load in loads)
            p99_us = statistics.median(load.p99_us for load in loads)
            lines.append(_row(*who, f"{p50_us:.0f}", f"{p99_us:.0f}", f"{p50_us - raw_us:.0f}"))
    if len(lines) == 2:
        return ""
    note = f"One connection. session.run alone: p50 {raw_us:.0f} µs. Budget of modeltap: ≤ {ADDED_BUDGET_US} µs added."
    return "\n".join([*lines, "", note])


def variation_table(found: Found, reference: str, note: str) -> str:
    """One server in several set-ups, each against the first."""
    if set(found.stretches) <= {RAW}:
        return ""
    lines = _head("set-up", "body", "req/s", "p50 ms", "p99 ms", "errors", "cores used", f"of “{reference}”")
    for who in found.stretches:
        if who == RAW:
            continue
        loads: list[Load] = [stretch.peak for stretch in _there(found, who)]
        lines.append(
            _row(
                *who,
                f"{statistics.median(load.rate for load in loads):,.0f}",
                _ms(load.p50_us for load in loads),
                _ms(load.p99_us for load in loads),
                sum(load.errors for load in loads),
                _cores(found, who),
                _times(found, who, (reference, who[1])),
            )
        )
    return "\n".join([*lines, "", note])


def setup_table(found: Found, servers: Sequence[Server]) -> str:
    """What each server was, and below it why one is not in the tables."""
    lines = _head("server", "set-up", "versions")
    lines += [_row(server.name, server.about, found.versions.get(server.name, NONE)) for server in servers]
    return "\n\n".join(part for part in ("\n".join(lines), failed_list(found)) if part)


def failed_list(found: Found) -> str:
    """What is not in the tables, with the reason; empty where all is."""
    return "\n".join(f"- not measured: **{name}**, {' '.join(reason.split())}" for name, reason in found.failed.items())


def _best_peer(found: Found, form: str) -> Who | None:
    peers = [who for who in found.stretches if who[1] == form and who[0] not in (OWN, YARDSTICK)]
    return max(peers, key=lambda who: statistics.median(s.peak.rate for s in _there(found, who)), default=None)


def _times(found: Found, who: Who, other: Who) -> str:
    pairs = zip(found.stretches.get(who, []), found.stretches.get(other, []), strict=False)
    ratios = [own.peak.rate / theirs.peak.rate for own, theirs in pairs if own and theirs and theirs.peak.rate]
    return f"{statistics.median(ratios):.2f}" if ratios else NONE


def _cores(found: Found, who: Who) -> str:
    return f"{statistics.median(stretch.cores_used for stretch in _there(found, who)):.2f}"


def _there(found: Found, who: Who) -> list[Stretch]:
    return [stretch for stretch in found.stretches[who] if stretch is not None]


def _ms(values_us: Iterable[float]) -> str:
    value = statistics.median(values_us)
    return NONE if math.isnan(value) else f"{value / 1e3:.3g}"


def _head(*names: str) -> list[str]:
    return [_row(*names), "|" + "---|" * len(names)]


def _row(*cells: object) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"
