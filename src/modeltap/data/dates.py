"""Times → features: how long ago, and where in the year, the week and the day; the calendar is arithmetic in the graph.

A time is float64 seconds since 1970 in UTC, NaN where missing.
Source of the month: Hinnant, "chrono-compatible low-level date algorithms", civil_from_days.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from modeltap.data.fitting import FitSettings, Group
from modeltap.data.graph import GraphWriter
from modeltap.data.numbers import fit_number_group
from modeltap.domain.dataset import Column
from modeltap.domain.signature import Batch

DAY_S = 86_400.0


def fit_dates(writer: GraphWriter, chosen: list[tuple[str, Column]], batch: Batch, settings: FitSettings) -> list[Group]:
    """Elapsed time of every column, and with the transform `parts` its month, day of the week and, if any row has a time
    of day, its hour: as points on a circle for networks, as plain numbers for trees."""
    groups: list[Group] = []
    for transform, column in chosen:
        values_N = np.asarray(batch[column.name], dtype=np.float64)
        tensor = column.name
        if not settings.trees:
            known_N = values_N[~np.isnan(values_N)]
            fill = float(np.median(known_N)) if len(known_N) else 0.0
            tensor = writer.node("Where", [writer.node("IsNaN", [tensor]), writer.constant(fill, np.float64), tensor])
        days = writer.node("Div", [column.name, writer.constant(DAY_S, np.float64)])  # seconds would not fit 32 bits
        groups += fit_number_group(
            writer,
            transform="none" if settings.trees else "standardize",
            names=(f"{column.name}:elapsed",),
            tensor=writer.node("Unsqueeze", [days, writer.constant([1], np.int64)]),
            values_NF=values_N[:, None] / DAY_S,
            boolean_F=np.array([False]),
            settings=settings,
        )
        if transform == "parts":
            groups += _parts(writer, column.name, tensor, _has_hours(values_N), settings)
    return groups


def _has_hours(values_N: NDArray[np.float64]) -> bool:
    known_N = values_N[~np.isnan(values_N)]
    return bool((known_N % DAY_S != 0).any())


def _parts(writer: GraphWriter, name: str, seconds: str, hours: bool, settings: FitSettings) -> list[Group]:
    day = _floor_divide(writer, seconds, DAY_S)
    parts = [("month", _month(writer, day), 12.0), ("weekday", _remainder(writer, _plus(writer, day, 3.0), 7.0), 7.0)]
    if hours:
        of_day = _remainder(writer, seconds, DAY_S)
        parts.append(("hour", writer.node("Div", [of_day, writer.constant(3600.0, np.float64)]), 24.0))
    axis = writer.constant([1], np.int64)
    groups = []
    for part, tensor, period in parts:
        column = writer.node("Unsqueeze", [tensor, axis])
        if settings.trees:
            groups.append(Group(writer.cast(column, "FP32"), (f"{name}:{part}",)))
            continue
        turn = writer.cast(writer.node("Mul", [column, writer.constant(2 * math.pi / period, np.float64)]), "FP32")
        circle = [writer.node("Sin", [turn]), writer.node("Cos", [turn])]
        names = (f"{name}:{part}:sin", f"{name}:{part}:cos")
        groups.append(Group(writer.node("Concat", circle, axis=1), names))
    return groups


def _month(writer: GraphWriter, day: str) -> str:
    """Month from 0 (January) to 11 of a day counted from 1970-01-01, in the proleptic Gregorian calendar."""
    shifted = _plus(writer, day, 719_468.0)
    of_era = _remainder(writer, shifted, 146_097.0)
    leaps = [(1_460.0, -1.0), (36_524.0, 1.0), (146_096.0, -1.0)]
    total = of_era
    for length, sign in leaps:
        term = _floor_divide(writer, of_era, length)
        total = writer.node("Add" if sign > 0 else "Sub", [total, term])
    year = _floor_divide(writer, total, 365.0)
    before = writer.node("Mul", [year, writer.constant(365.0, np.float64)])
    before = writer.node("Add", [before, _floor_divide(writer, year, 4.0)])
    before = writer.node("Sub", [before, _floor_divide(writer, year, 100.0)])
    of_year = writer.node("Sub", [of_era, before])
    scaled = _plus(writer, writer.node("Mul", [of_year, writer.constant(5.0, np.float64)]), 2.0)
    from_march = _floor_divide(writer, scaled, 153.0)
    return _remainder(writer, _plus(writer, from_march, 2.0), 12.0)


def _plus(writer: GraphWriter, tensor: str, number: float) -> str:
    return writer.node("Add", [tensor, writer.constant(number, np.float64)])


def _floor_divide(writer: GraphWriter, tensor: str, by: float) -> str:
    return writer.node("Floor", [writer.node("Div", [tensor, writer.constant(by, np.float64)])])


def _remainder(writer: GraphWriter, tensor: str, of: float) -> str:
    whole = writer.node("Mul", [_floor_divide(writer, tensor, of), writer.constant(of, np.float64)])
    return writer.node("Sub", [tensor, whole])
