"""Which form the dates of a column have: ISO 8601, or the strptime form that reads all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

_TIME = r"([0-1][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,9})?)?"
ISO = rf"^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}([T ]{_TIME}( ?(Z|[+-][0-9]{{2}}:?[0-9]{{2}}))?)?$"
_NO_ZONE = r" ?(Z|[+-][0-9]{2}:?[0-9]{2})$"

DAY_FIRST = {".": "%d.%m.%Y", "/": "%d/%m/%Y", "-": "%d-%m-%Y"}
MONTH_FIRST = {".": "%m.%d.%Y", "/": "%m/%d/%Y", "-": "%m-%d-%Y"}
BASES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"[0-9]{1,2}\.[0-9]{1,2}\.[0-9]{4}", (DAY_FIRST["."], MONTH_FIRST["."])),
    (r"[0-9]{1,2}/[0-9]{1,2}/[0-9]{4}", (MONTH_FIRST["/"], DAY_FIRST["/"])),
    (r"[0-9]{1,2}-[0-9]{1,2}-[0-9]{4}", (DAY_FIRST["-"], MONTH_FIRST["-"])),
    (r"[0-9]{4}/[0-9]{1,2}/[0-9]{1,2}", ("%Y/%m/%d",)),
    (r"[0-9]{1,2}-[A-Za-z]{3}-[0-9]{4}", ("%d-%b-%Y",)),
    (r"[0-9]{1,2} [A-Za-z]{3} [0-9]{4}", ("%d %b %Y",)),
)
"""Shape of a date → the forms it may have, the likelier one first: days stand first with dots, months with slashes."""

TIMES: tuple[tuple[str, str], ...] = (
    (r"", ""),
    (r" [0-9]{1,2}:[0-9]{2}", " %H:%M"),
    (r" [0-9]{1,2}:[0-9]{2}:[0-9]{2}", " %H:%M:%S"),
    (r" [0-9]{1,2}:[0-9]{2}:[0-9]{2}\.[0-9]{1,6}", " %H:%M:%S.%f"),
    (r"T[0-9]{1,2}:[0-9]{2}:[0-9]{2}", "T%H:%M:%S"),
    (r" [0-9]{1,2}:[0-9]{2} ?[AaPp][Mm]", " %I:%M %p"),
    (r" [0-9]{1,2}:[0-9]{2}:[0-9]{2} ?[AaPp][Mm]", " %I:%M:%S %p"),
)


@dataclass(frozen=True)
class DateForm:
    """`strptime` is None for ISO 8601; `doubt` is the other form that reads all dates too, if there is one."""

    strptime: str | None
    doubt: str | None = None


def find_date_form(values: pl.Series) -> DateForm | None:
    """The form that reads every one of these different, trimmed texts; None if there is no such form."""
    if values.str.contains(ISO).all():
        dates = values.str.slice(0, 10)
        return DateForm(None) if _reads(dates, "%Y-%m-%d") else None
    first = values[0]
    for shape, bases in BASES:
        for tail, time in TIMES:
            if not values.head(1).str.contains(f"^{shape}{tail}$").item() or not first:
                continue
            if not values.str.contains(f"^{shape}{tail}$").all():
                return None
            fitting = [base + time for base in bases if _reads(values, base + time)]
            if not fitting:
                return None
            return DateForm(fitting[0], fitting[1] if len(fitting) > 1 else None)
    return None


def _reads(values: pl.Series, form: str) -> bool:
    import polars as pl

    # chrono's %.f takes the dot with it, strptime's %f does not.
    rust_form = form.replace(".%f", "%.f")
    if "%H" in form or "%I" in form:
        parsed = values.str.to_uppercase() if "%p" in form else values
        return parsed.str.to_datetime(rust_form, strict=False).null_count() == 0
    return values.str.to_date(rust_form, strict=False).cast(pl.Date).null_count() == 0
