"""A page of Prometheus text as prometheus_client itself reads it: the value of each sample by its name and labels."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from modeltap.telemetry.metrics import Metrics
from modeltap.telemetry.scrape import Scrape


class Page:
    def __init__(self, text: bytes) -> None:
        self.families = {family.name: family for family in text_string_to_metric_families(text.decode())}
        self.samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families.values()
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float | None:
        """None where there is no such sample."""
        return self.samples.get((name, frozenset(labels.items())))

    def total(self, name: str) -> float:
        return sum(value for (found, _), value in self.samples.items() if found == name)

    def label_values(self, name: str, label: str) -> set[str]:
        return {dict(labels)[label] for found, labels in self.samples if found == name}


def page_of(*processes: Metrics) -> Page:
    """What a first scrape of these processes shows."""
    return Page(Scrape().render([process.dump() for process in processes]))
