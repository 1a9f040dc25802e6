"""Options that say how a dataset is read for an imported version."""

from __future__ import annotations

from typing import Annotated

import typer

Target = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="Of an imported version: the column of --data with the truth.")
]
Labels = Annotated[
    str | None, typer.Option(metavar="A,B,…", help="Of an imported version: the classes, in the order of its outputs.")
]
Scale = Annotated[
    float | None, typer.Option(help="Of an imported version: what pixels are multiplied by before it takes them; 1/255.")
]


def parse_labels(labels: str | None) -> list[str]:
    """A,B,… as a list; none where nothing was given."""
    return [label.strip() for label in labels.split(",")] if labels else []
