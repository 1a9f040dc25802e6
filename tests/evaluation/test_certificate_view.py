"""A certificate's page says whether what was demanded holds, in a person's units, and names the slices that lost most."""

from __future__ import annotations

import msgspec

from modeltap.domain.certificate import Certificate, Demand, SliceDrop
from modeltap.evaluation.certificate_view import render_certificate, show_certificate, tell_bytes

ROWS = Certificate(
    parent="digits@1",
    parent_digest="0" * 64,
    method="int8 (static)",
    measure="accuracy",
    evidence="digits@1 (test)",
    num_samples=2_000,
    parent_value=0.97,
    child_value=0.968,
    drop=0.002,
    drop_interval=(-0.001, 0.005),
    p_value=0.38,
    parent_bytes=218_203,
    child_bytes=61_000,
    parent_speed=11_460.0,
    child_speed=3_816.0,
    num_streams=32,
    gain=0.33,
    gain_interval=(0.28, 0.39),
    parent_p50_s=63e-6,
    child_p50_s=103e-6,
    calibration_digest="abcdef0123456789",
    calibration_rows=512,
    demand=Demand(max_drop=0.005),
)


def lost(place: int, drop: float) -> SliceDrop:
    return SliceDrop(
        column="digit",
        value=str(place),
        num_samples=200,
        parent_value=0.97,
        child_value=0.97 - drop,
        drop=drop,
        drop_interval=(drop - 0.01, drop + 0.01),
    )


def test_both_sides_stand_beside_each_other_in_units_for_people():
    shown = show_certificate(ROWS)
    assert shown.is_win and shown.verdict == "It holds what was demanded."
    assert "at most 0.5 points worse" in shown.demand and "times as fast" not in shown.demand
    accuracy, size, speed, alone = shown.rows
    assert accuracy[1:] == ("0.9700", "0.9680", "0.2 points worse", "-0.1 to +0.5 points")
    assert size[1:4] == ("218.2 kB", "61.0 kB", "72% less")
    assert speed.told == "0.33 times as fast" and speed.bounds == "0.28 to 0.39 times"
    assert (alone.parent, alone.child) == ("63 µs", "103 µs")
    assert "p = 0.38" in shown.evidence and "512 rows" in shown.notes[-1]


def test_the_slices_that_lost_most_are_named_and_the_others_counted():
    slices = tuple(lost(place, (place - 2) / 1000) for place in range(16))
    shown = show_certificate(msgspec.structs.replace(ROWS, slices=slices))
    assert [one.compared.name for one in shown.slices][:2] == ["15", "14"] and len(shown.slices) == 12
    assert shown.slices_told == "13 of 16 slices are answered worse; these lost most."
    unhurt = show_certificate(msgspec.structs.replace(ROWS, slices=slices[:3]))
    assert unhurt.slices == [] and unhurt.slices_told == "None of 3 slices is answered worse."


def test_the_page_of_a_language_model_says_why_it_is_no_win_and_needs_nothing_else():
    language = msgspec.structs.replace(
        ROWS,
        measure="loss",
        num_tokens=4_321,
        p_value=None,
        drop=-0.01,
        drop_interval=(-0.02, 0.03),
        parent_p50_s=None,
        child_p50_s=None,
        demand=Demand(max_drop=0.02, min_gain=1.2),
        reasons=("its loss may be 0.03 worse",),
        notes=("<b>a note</b>",),
    )
    page = render_certificate(language, title="shake-int8: int8 of shake@1", facts={"model": "shake-int8"})
    for told in (
        "It is no win: its loss may be 0.03 worse.",
        "4,321 tokens of 2,000 documents",
        "Tokens a second",
        "0.01 better",
        "-0.02 to +0.03",
        "at least 1.2 times as fast",
        "&lt;b&gt;a note",
    ):
        assert told in page, told
    assert "<script" not in page and "http" not in page.replace("http-equiv", "")


def test_bytes_are_told_in_decimal_units():
    sizes = (999, 1_000, 8_400_000, 7_000_000_000)
    assert [tell_bytes(size) for size in sizes] == ["999 bytes", "1.0 kB", "8.4 MB", "7.0 GB"]
