"""modeltap compress as a person sees it: which texts a file holds, and the certificate side by side."""

from __future__ import annotations

import io
from contextlib import redirect_stdout

import msgspec
import pytest

from modeltap.cli.certificate_text import certificate_line, show_certificate
from modeltap.cli.compress import read_texts
from modeltap.cli.main import run
from modeltap.cli.output import Output
from modeltap.domain.certificate import Certificate, Demand, SliceDrop
from modeltap.errors import InvalidData

CERTIFICATE = Certificate(
    parent="tales@3",
    parent_digest="abc",
    method="int8",
    measure="loss",
    evidence="tales@1 (val)",
    num_samples=120,
    num_tokens=20_000,
    parent_value=2.5,
    child_value=2.51,
    drop=0.01,
    drop_interval=(0.008, 0.012),
    parent_bytes=400_000_000,
    child_bytes=100_000_000,
    parent_speed=1000.0,
    child_speed=2000.0,
    num_streams=4,
    gain=2.0,
    gain_interval=(1.9, 2.1),
    demand=Demand(max_drop=0.05, min_gain=1.5),
)


def shown(certificate: Certificate) -> str:
    out = io.StringIO()
    with redirect_stdout(out):
        show_certificate(Output(as_json=False), msgspec.to_builtins(certificate))
    return out.getvalue()


def test_parent_and_child_stand_side_by_side():
    text = shown(CERTIFICATE)
    for told in ("tales@3", "2.5000", "2.5100", "+0.0100 (+0.0080 to +0.0120)", "75% less", "2.00 times (1.90 to 2.10)"):
        assert told in text
    assert "120 documents, tales@1 (val)" in text and "at least 1.5 times as fast" in text and "no win" not in text


def test_rows_are_told_in_points_with_their_slices_and_notes():
    part = SliceDrop(
        column="sex", value="f", num_samples=40, parent_value=0.9, child_value=0.85, drop=0.05, drop_interval=(-0.02, 0.12)
    )
    text = shown(
        msgspec.structs.replace(
            CERTIFICATE,
            measure="accuracy",
            num_tokens=0,
            p_value=0.03125,
            slices=(part,),
            drop=0.002,
            drop_interval=(-0.001, 0.004),
            parent_p50_s=0.0002,
            child_p50_s=0.0001,
            calibration_digest="c0ffee" * 8,
            calibration_rows=512,
            notes=("static: ranges of 512 rows",),
            demand=Demand(max_drop=0.005),
        )
    )
    for told in ("+0.2 points (-0.1 to +0.4)", "rows/s", "200 µs", "2.00 times", "p = 0.031 (McNemar)", "at most 0.5 points"):
        assert told in text
    assert "sex: f" in text and "512 rows of the training part, digest c0ffeec0ffee" in text and "· static" in text


def test_a_line_says_it_beside_others():
    line = certificate_line(msgspec.to_builtins(msgspec.structs.replace(CERTIFICATE, reasons=("no",))))
    assert line == "int8 of tales@3: +0.01 worse, 0.25 of the size, 2.00 times as fast; no win"


def test_why_it_is_no_win_is_told():
    text = shown(msgspec.structs.replace(CERTIFICATE, reasons=("its loss may be 0.1 worse",)))
    assert "! no win: its loss may be 0.1 worse" in text


def test_texts_come_from_lines_of_json_or_from_a_whole_file(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n\n"two"\n{"text": "three", "more": 1}\n')
    assert read_texts(str(tmp_path / "a.jsonl")) == ["one", "two", "three"]
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    assert read_texts(str(tmp_path / "a.txt")) == ["one\ntwo\n"]


@pytest.mark.parametrize("line", ["{", '{"prompt": "x"}', "1"])
def test_a_line_that_is_no_text_is_named(tmp_path, line):
    (tmp_path / "a.jsonl").write_text(f'"one"\n{line}\n')
    with pytest.raises(InvalidData, match="line 2"):
        read_texts(str(tmp_path / "a.jsonl"))
    with pytest.raises(InvalidData, match="cannot be read"):
        read_texts(str(tmp_path / "nothing.txt"))


@pytest.mark.parametrize(
    "flags", [[], ["--int8", "--int4"], ["--int8", "--prune", "0.5"], ["--prune", "0.5", "--distill", "r.yaml"]]
)
def test_one_way_is_chosen(flags, capsys):
    assert run(["compress", "tales", *flags, "--json"]) == 2
    assert "--int8 or --int4" in capsys.readouterr().out
