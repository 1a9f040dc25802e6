"""The values of one metric by their labels, with a bound on how many sets of labels there are."""

from __future__ import annotations

from modeltap.telemetry.catalogue import OPEN_LABELS, Metric

Labels = tuple[str, ...]
Values = list[int | float]
"""A counter or gauge: its value. A histogram: one count a bucket, not yet added up, then the sum of what was observed."""

MOST_SETS = 1_000
OTHER = "other"


class Series:
    """At most `most` different values of a metric's open labels, those that came first; later ones share `other`."""

    def __init__(self, metric: Metric, *, most: int = MOST_SETS) -> None:
        self.metric = metric
        self._most = most
        self._open = tuple(place for place, label in enumerate(metric.labels) if label in OPEN_LABELS)
        self._admitted: set[Labels] = set()
        self.cells: dict[Labels, Values] = {}
        if metric.kind != "gauge" and not metric.labels:
            self.cell(())

    def copy(self) -> Series:
        """The values as they are now, to go on from. What either of the two admits, both do."""
        copied = Series(self.metric, most=self._most)
        copied._admitted = self._admitted
        copied.cells = {labels: list(values) for labels, values in self.cells.items()}
        return copied

    def admitted(self, labels: Labels) -> Labels:
        """The labels that values of these are kept under: the same, or with `other` in the place of one too many."""
        if len(labels) != len(self.metric.labels):
            raise ValueError(f"{self.metric.name} has the labels {self.metric.labels}, given was {labels}")
        if not self._open:
            return labels
        given = tuple(labels[place] for place in self._open)
        if given in self._admitted:
            return labels
        if len(self._admitted) < self._most:
            self._admitted.add(given)
            return labels
        return tuple(OTHER if place in self._open else label for place, label in enumerate(labels))

    def cell(self, labels: Labels) -> Values:
        """Where the values of these labels are counted; made if it is the first time."""
        kept = self.admitted(labels)
        cell = self.cells.get(kept)
        if cell is None:
            cell = self.cells[kept] = [0] * (len(self.metric.bounds) + 1)
            if self.metric.kind == "histogram":
                cell.append(0.0)
        return cell

    def add(self, labels: Labels, values: Values) -> None:
        """The values on top of what is there."""
        cell = self.cell(labels)
        cell[:] = [have + more for have, more in zip(cell, values, strict=True)]

    def join(self, labels: Labels, values: Values) -> None:
        """The values of another process: on top, or, where the metric is joined by its maximum, instead if they are larger."""
        if self.metric.joined == "sum":
            self.add(labels, values)
            return
        kept = self.admitted(labels)
        cell = self.cells.get(kept)
        self.cells[kept] = list(values) if cell is None else [max(have, more) for have, more in zip(cell, values, strict=True)]
