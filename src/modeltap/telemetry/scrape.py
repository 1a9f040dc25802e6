"""The numbers of all processes of a server as one page of Prometheus text; those of a process that ended stay counted."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from itertools import accumulate

import msgspec

from modeltap.telemetry.catalogue import METRICS
from modeltap.telemetry.dump import Dump
from modeltap.telemetry.series import Series

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
_decoder = msgspec.msgpack.Decoder(Dump)
_ESCAPED = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class Scrape:
    """Held by the process that answers for all; may be used from any thread.

    A counter that was once shown never shows less, whoever ends or is silent.
    """

    def __init__(self) -> None:
        self._one_at_a_time = threading.RLock()
        self._counted = {name: Series(metric) for name, metric in METRICS.items() if metric.kind != "gauge"}
        """Of the processes that ended."""
        self._newest: dict[str, Dump] = {}
        self._ended: dict[str, str] = {}
        """The `born` of the last process of each name that ended."""

    def keep(self, dump: bytes) -> None:
        """The last numbers of a process that ends: its counters stay, its gauges go."""
        with self._one_at_a_time:
            last = self._take(dump)
            if last is not None:
                self.lost(last.process)

    def lost(self, process: str) -> None:
        """The process of that name ended without a word: what it said last stays."""
        with self._one_at_a_time:
            newest = self._newest.pop(process, None)
            if newest is None:
                return
            self._ended[process] = newest.born
            for name, rows in newest.numbers.items():
                if name in self._counted:
                    for labels, values in rows:
                        self._counted[name].add(labels, values)

    def render(self, dumps: Iterable[bytes]) -> bytes:
        """The page of these processes, the ended ones, and the counters of those that live and did not answer."""
        with self._one_at_a_time:
            answered = {dump.process for dump in map(self._take, dumps) if dump is not None}
            joined = {name: self._counted[name].copy() if name in self._counted else Series(METRICS[name]) for name in METRICS}
            for process, dump in self._newest.items():
                for name, rows in dump.numbers.items():
                    if name in self._counted or process in answered:
                        for labels, values in rows:
                            joined[name].join(labels, values)
        lines: list[str] = []
        for series in joined.values():
            _write(series, lines)
        return "".join(lines).encode()

    def _take(self, content: bytes) -> Dump | None:
        """The numbers, remembered as the newest of their process; None for one that is known to have ended."""
        dump = _decoder.decode(content)
        if self._ended.get(dump.process) == dump.born:
            return None
        before = self._newest.get(dump.process)
        if before is not None and before.born != dump.born:
            self.lost(dump.process)
        elif before is not None:
            for name, rows in before.numbers.items():
                if name in self._counted:  # what could not be read this time is at least what it was
                    dump.numbers.setdefault(name, rows)
        self._newest[dump.process] = dump
        return dump


def _write(series: Series, lines: list[str]) -> None:
    metric = series.metric
    if not series.cells:
        return
    lines.append(f"# HELP {metric.name} {metric.help}\n# TYPE {metric.name} {metric.kind}\n")
    ends = [f'le="{bound}"}} ' for bound in (*metric.bounds, "+Inf")]
    for labels, values in sorted(series.cells.items()):
        shown = ",".join(f'{name}="{value.translate(_ESCAPED)}"' for name, value in zip(metric.labels, labels, strict=True))
        braced = f"{{{shown}}}" if shown else ""
        if metric.kind != "histogram":
            lines.append(f"{metric.name}{braced} {values[0]}\n")
            continue
        start = f"{metric.name}_bucket{{{shown}," if shown else f"{metric.name}_bucket{{"
        counts = list(accumulate(values[:-1]))
        lines += [f"{start}{end}{count}\n" for end, count in zip(ends, counts, strict=True)]
        lines.append(f"{metric.name}_sum{braced} {values[-1]}\n{metric.name}_count{braced} {counts[-1]}\n")
