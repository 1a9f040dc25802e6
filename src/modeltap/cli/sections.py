"""The overview of all commands, in sections and in the order in which a person meets them."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

SECTIONS = {
    "Begin": ("demo", "up", "doctor"),
    "From data to answers": (
        "data",
        "train",
        "tune",
        "evaluate",
        "compress",
        "models",
        "deploy",
        "deployments",
        "rollback",
        "undeploy",
        "predict",
        "explain",
        "chat",
        "batch",
    ),
    "Who calls, and how much": ("keys", "tenants", "usage", "audit"),
    "Behind it": ("jobs", "recipe", "gc", "backup", "restore"),
}


class SectionedGroup(TyperGroup):
    """Lists its commands by SECTIONS."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        width = max(map(len, self.commands))
        for title, names in SECTIONS.items():
            limit = formatter.width - 6 - width
            rows = [(name.ljust(width), self.commands[name].get_short_help_str(limit)) for name in names]
            with formatter.section(title):
                formatter.write_dl(rows)
