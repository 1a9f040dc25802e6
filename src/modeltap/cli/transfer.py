"""A bar for bytes on their way, on terminals; nothing elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from modeltap.cli.output import Output, console, is_fancy, size

if TYPE_CHECKING:
    from rich.progress import Progress

OnUpload = Callable[[int, int], None]


@contextmanager
def upload_bar(out: Output, name: str) -> Iterator[OnUpload]:
    """Shows how much is sent, and afterwards that the server reads it."""
    if not is_fancy(sys.stderr):
        yield lambda sent, total: None
        return
    bar = _bar()
    with bar:
        task = bar.add_task(f"sending {name}", total=None, amount="")

        def show(sent_bytes: int, total_bytes: int) -> None:
            what = "sending" if sent_bytes < total_bytes else "reading"
            amount = f"{size(sent_bytes)} of {size(total_bytes)}" if sent_bytes < total_bytes else size(total_bytes)
            bar.update(task, completed=sent_bytes, total=total_bytes, description=f"{what} {name}", amount=amount)
            if sent_bytes >= total_bytes:
                bar.update(task, total=None)  # how long reading takes is not known

        yield show


@contextmanager
def download_bar(out: Output, name: str) -> Iterator[Callable[[int], None]]:
    """Shows how much has come."""
    if not is_fancy(sys.stderr):
        yield lambda received: None
        return
    bar = _bar()
    with bar:
        task = bar.add_task(f"writing {name}", total=None, amount="")
        yield lambda received: bar.update(task, amount=size(received))


def _bar() -> Progress:
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(24), TextColumn("{task.fields[amount]}", markup=False))
    return Progress(*columns, console=console(sys.stderr), transient=True)
