"""Tables as people have them: each with what its columns should be read as, and some of its lines once more as JSON rows."""

from __future__ import annotations

import io
import json
import random
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl


@dataclass(frozen=True)
class Quirk:
    """`lines` stand in the file (or could), without the target; `rows` say the same as JSON. `kinds` of the features."""

    content: bytes
    target: str
    kinds: dict[str, str]
    rows: list[dict[str, Any]]
    lines: list[str] = field(default_factory=list)
    filename: str = "table.csv"
    options: dict[str, Any] = field(default_factory=dict)
    labels: tuple[str, ...] = ("no", "yes")
    roles: dict[str, str] = field(default_factory=dict)


def lines_of(records: list[list[str]], delimiter: str = ",", end: str = "\n") -> str:
    return "".join(delimiter.join(record) + end for record in records)


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def decimal_commas() -> Quirk:
    chance = random.Random(1)
    records = [["Preis", "Menge (kg)", "Farbe", "Kauf"]]
    for n in range(120):
        price = f"{n % 2 * 3 + chance.random():.3f}".replace(".", ",")
        records.append(
            [price, f"{chance.randint(1, 9)}.{chance.randint(100, 999)},5", "rot" if n % 3 else "blau", ("no", "yes")[n % 2]]
        )
    return Quirk(
        lines_of(records, ";").encode("cp1252"),
        "Kauf",
        {"Preis": "number", "Menge (kg)": "number", "Farbe": "category"},
        rows=[
            {"Preis": 3.5, "Menge (kg)": 1234.5, "Farbe": "rot"},
            {"Preis": None, "Menge (kg)": 7, "Farbe": "grün"},
        ],
        lines=["3,5;1.234,5;rot", ";7;grün"],
    )


def line_breaks_in_cells() -> Quirk:
    records = [["note", "x", "answer"]]
    for n in range(120):
        records.append(
            [
                quoted(f'he said "{n % 3}"\nthen left, slowly'),
                str(n % 2 + n / 1000),
                quoted("yes, sir\nindeed" if n % 2 else "no"),
            ]
        )
    note = 'he said "1"\nthen left, slowly'
    return Quirk(
        lines_of(records, end="\r\n").encode(),
        "answer",
        {"note": "category", "x": "number"},
        rows=[{"note": note, "x": 1.05}, {"note": "something else", "x": 0}],
        lines=[f"{quoted(note)},1.05", "something else,0"],
        labels=("no", "yes, sir\nindeed"),
    )


def dates_in_four_forms() -> Quirk:
    chance = random.Random(2)
    records = [["iso", "german", "american", "stamp", "half"]]
    for _ in range(160):
        moment = datetime(1955, 1, 1) + timedelta(days=chance.randint(0, 30_000), seconds=chance.randint(0, 86_399))
        form = ["%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y %I:%M %p", "%Y-%m-%dT%H:%M:%SZ"]
        records.append([*(moment.strftime(f) for f in form), "yes" if moment.month > 6 else "no"])
    day = "1969-12-31"
    return Quirk(
        lines_of(records).encode(),
        "half",
        dict.fromkeys(("iso", "german", "american", "stamp"), "datetime"),
        rows=[
            {"iso": day, "german": day, "american": f"{day}T23:30:00", "stamp": f"{day}T23:30:15+00:00"},
            {"iso": "2004-02-29", "german": None, "american": None, "stamp": "2004-02-29T00:00:00Z"},
        ],
        lines=["1969-12-31,31.12.1969,12/31/1969 11:30 PM,1969-12-31T23:30:15Z", "2004-02-29,,NA,2004-02-29T00:00:00Z"],
    )


def truths_in_four_spellings() -> Quirk:
    chance = random.Random(3)
    records = [["a", "b", "c", "d", "bought"]]
    for n in range(120):
        first, second, third = (chance.random() < 0.5 for _ in range(3))
        a, b, c = ("True", "False")[first], ("yes", "no")[second], ("on", "off")[third]
        records.append([a, b, c, "TF"[n % 2 == 0], ("no", "yes")[n % 2]])
    return Quirk(
        lines_of(records).encode(),
        "bought",
        dict.fromkeys("abcd", "boolean"),
        rows=[{"a": True, "b": False, "c": True, "d": True}, {"a": 0, "b": 1, "c": None, "d": False}],
        lines=["True,no,on,T", "False,yes,,F"],
    )


def numbers_in_quotes() -> Quirk:
    chance = random.Random(4)
    records = [["x", "n", "answer"]]
    for n in range(140):
        x = chance.choice([f"{n % 2 + chance.random():.4f}"] * 8 + ["NA", "?", "", "n/a", "-"])
        records.append(
            [quoted(x), quoted(chance.choice([str(chance.randint(0, 9))] * 6 + ["NULL", "nan"])), quoted(("no", "yes")[n % 2])]
        )
    return Quirk(
        lines_of(records).encode(),
        "answer",
        {"x": "number", "n": "number"},
        rows=[{"x": 1.5, "n": 3}, {"x": None, "n": None}, {"x": "1.5", "n": "3"}],
        lines=['"1.5","3"', '"-","NULL"', "1.5,3.0"],
    )


def awkward_names() -> Quirk:
    records = [["Größe (m²)", "x", "x", "", "日本 語", "label"]]
    for n in range(120):
        records.append([str(n % 2 + n / 500), str(n), str(n * 2 % 17), str(n % 5 + 0.5), "äöü"[n % 3], ("no", "yes")[n % 2]])
    return Quirk(
        ("\ufeff" + lines_of(records, end="\r\n")).encode(),
        "label",
        {"Größe (m²)": "number", "x": "number", "x_2": "number", "column_4": "number", "日本 語": "category"},
        rows=[{"Größe (m²)": 1.2, "x": 3, "x_2": 4, "column_4": 0.5, "日本 語": "ä"}],
        lines=["Größe (m²),x,x,,日本 語", "1.2,3,4,0.5,ä"],
        options={"kinds": {"x": "number"}},
    )


def utf_16() -> Quirk:
    records = [["a", "c", "y"], *([str(n % 2 + n / 500), "ÄÖ"[n % 2], "éè"[n % 2]] for n in range(100))]
    return Quirk(
        lines_of(records, "\t", "\r\n").encode("utf-16"),
        "y",
        {"a": "number", "c": "category"},
        rows=[{"a": 0.5, "c": "Ä"}, {"a": 1.5, "c": None}],
        lines=["0.5\tÄ", "1.5\t"],
        filename="table.tsv",
        labels=("è", "é"),
    )


def years_for_names() -> Quirk:
    records = [["2019", "2020", "2021"], *([str(n % 2 + n / 500), str(n % 7), str(n % 2)] for n in range(100))]
    return Quirk(
        lines_of(records).encode(),
        "2021",
        {"2019": "number", "2020": "number"},
        rows=[{"2019": 0.5, "2020": 3}],
        lines=["0.5,3"],
        options={"header": True},
        labels=("0", "1"),
    )


def identifiers_and_codes() -> Quirk:
    records = [["customer_id", "zip", "constant", "empty", "size", "answer"]]
    for n in range(140):
        records.append([str(10_000 + 7 * n), f"{n % 2 * 40 + n % 3:05d}", "always", "", str(n % 5), ("no", "yes")[n % 2]])
    return Quirk(
        lines_of(records).encode(),
        "answer",
        {"zip": "category", "size": "number"},
        rows=[{"zip": "00002", "size": 1}, {"zip": "00041", "size": 1, "customer_id": 5}, {"zip": "99999", "size": None}],
        lines=["10000,00002,always,,1", "5,00041,sometimes,x,1", ",99999,,,"],
        roles={"customer_id": "id", "constant": "ignored", "empty": "ignored"},
    )


def labels_with_dots() -> Quirk:
    chance = random.Random(5)
    records = [["x", "many", "income"]]
    for n in range(300):
        records.append(
            [str(n % 3 + chance.random() / 2), f"word {chance.randint(0, 60)}", ["<=50K.", "> 50 K", " a.b c "][n % 3]]
        )
    return Quirk(
        lines_of(records).encode(),
        "income",
        {"x": "number", "many": "category"},
        rows=[{"x": 0.2, "many": "word 3"}, {"x": 1.2, "many": "never seen"}, {"x": 2.2, "many": None}],
        lines=["0.2,word 3", "1.2,never seen", "2.2,"],
        labels=("<=50K.", "> 50 K", "a.b c"),
    )


def huge_tiny_and_mixed_numbers() -> Quirk:
    chance = random.Random(6)
    records = [["huge", "tiny", "wide", "mixed", "answer"]]
    for n in range(140):
        wide = f"{chance.choice([1e9, 1, 1e-9]) * (1 + n % 2)}"
        mixed = chance.choice([str(n % 2), f"{n % 2}.0", f"{n % 2}e0"])
        records.append([f"{chance.random() * 1e300}", f"{chance.random() * 1e-300}", wide, mixed, f"{n % 2}.0"])
    return Quirk(
        lines_of(records).encode(),
        "answer",
        dict.fromkeys(("huge", "tiny", "wide", "mixed"), "number"),
        rows=[{"huge": 1e308, "tiny": 5e-324, "wide": -1e308, "mixed": 1}, {"huge": -1e308, "tiny": 0, "wide": 0, "mixed": 0}],
        lines=["1e308,5e-324,-1e308,1.0", "-1E+308,0,0,0e0"],
        labels=("0.0", "1.0"),
    )


def one_class_in_sixty() -> Quirk:
    chance = random.Random(7)
    rare = [n % 30 == 0 for n in range(360)]
    records = [["x", "c", "answer"], *([str(chance.random() + 3 * r), chance.choice("ab"), ("no", "yes")[r]] for r in rare)]
    return Quirk(
        lines_of(records).encode(),
        "answer",
        {"x": "number", "c": "category"},
        rows=[{"x": 3.5, "c": "a"}, {"x": 0.5, "c": "b"}],
        lines=["3.5,a", "0.5,b"],
    )


def three_hundred_columns() -> Quirk:
    chance = random.Random(8)
    names = [f"f{n}" for n in range(299)]
    records = [[*names, "answer"]]
    for n in range(80):
        cells = [f"{chance.gauss(0, 1):.2f}" for _ in names]
        records.append([str(n % 2), *cells[1:], ("no", "yes")[n % 2]])
    return Quirk(
        lines_of(records).encode(),
        "answer",
        dict.fromkeys(names, "number"),
        rows=[dict.fromkeys(names, 0.5)],
        lines=[",".join(["0.5"] * 299)],
    )


def json_lines() -> Quirk:
    chance = random.Random(9)
    lines = []
    for n in range(140):
        row: dict[str, Any] = {
            "a": n % 2 + chance.random() / 2,
            "b": chance.choice([True, False, None]),
            "c": "uv"[n % 3 == 0],
            "y": n % 2 == 1,
        }
        for name in ("a", "b"):
            if chance.random() < 0.1:
                del row[name]
        lines.append(json.dumps(row))
    return Quirk(
        "\n".join(lines).encode(),
        "y",
        {"a": "number", "b": "boolean", "c": "category"},
        rows=[{"a": 1.25, "b": None, "c": "u"}, {"a": None, "b": True, "c": "never"}],
        filename="table.jsonl",
        labels=("false", "true"),
    )


def parquet() -> Quirk:
    chance = random.Random(10)
    count = 140
    frame = pl.DataFrame(
        {
            "day": [None if n % 13 == 4 else date(2020, 1, 1) + timedelta(days=n) for n in range(count)],
            "moment": [datetime(2020, 1, 1) + timedelta(hours=7 * n) for n in range(count)],
            "price": [Decimal(f"{n % 2 * 9}.25") if n % 7 else None for n in range(count)],
            "flag": [None if n % 11 == 0 else n % 3 == 0 for n in range(count)],
            "level": pl.Series(["low" if n % 2 else "high" for n in range(count)]).cast(pl.Categorical),
            "small": pl.Series([n % 7 for n in range(count)], dtype=pl.Int8),
            "single": pl.Series([None if n % 9 == 0 else chance.random() for n in range(count)], dtype=pl.Float32),
            "answer": [("no", "yes")[n % 2] for n in range(count)],
        }
    )
    out = io.BytesIO()
    frame.write_parquet(out)
    row = {
        "day": "2020-05-05",
        "moment": "2020-05-05T10:00:00",
        "price": 9.25,
        "flag": True,
        "level": "low",
        "small": 3,
        "single": 0.5,
    }
    return Quirk(
        out.getvalue(),
        "answer",
        {
            "day": "datetime",
            "moment": "datetime",
            "price": "number",
            "flag": "boolean",
            "level": "category",
            "small": "number",
            "single": "number",
        },
        rows=[row, dict.fromkeys(row)],
        filename="table.parquet",
    )


QUIRKS = {
    made.__name__: made
    for made in (
        decimal_commas,
        line_breaks_in_cells,
        dates_in_four_forms,
        truths_in_four_spellings,
        numbers_in_quotes,
        awkward_names,
        utf_16,
        years_for_names,
        identifiers_and_codes,
        labels_with_dots,
        huge_tiny_and_mixed_numbers,
        one_class_in_sixty,
        three_hundred_columns,
        json_lines,
        parquet,
    )
}
