"""Numbers, tables, bars and answers as people read them; and files of rows as they are sent."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import msgspec
import polars as pl
import pytest

from modeltap.cli.data import next_step
from modeltap.cli.follow import Lines, epoch_line, step_line
from modeltap.cli.metrics_text import headline
from modeltap.cli.output import Output, duration, number, plain_table, size
from modeltap.cli.predict import answer_line, answers_of
from modeltap.cli.prediction_input import read_input
from modeltap.cli.profile_text import example, sparkline
from modeltap.client.values import Dataset, read_answer
from modeltap.domain.progress import Progress
from modeltap.errors import InvalidData


@pytest.mark.parametrize(
    ("value", "text"),
    [(3.0, "3"), (0.123456, "0.1235"), (1079.07, "1,079"), (189664.1, "189,664"), (1e-7, "1e-07"), (float("nan"), "nan")],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text


def test_sizes_and_times_have_units() -> None:
    assert [size(n) for n in (0, 999, 1500, 8_400_000, 5 * 10**12)] == ["0 bytes", "999 bytes", "1.5 kB", "8.4 MB", "5.0 TB"]
    assert [duration(s) for s in (0.42, 12.3, 200, 7500)] == ["0.4 s", "12 s", "3 min 20 s", "2 h 5 min"]


def test_a_table_in_a_pipe_is_never_cut() -> None:
    wide = "x" * 300
    assert plain_table(("name", "n"), [(wide, "1"), ("b", "22")], right=("n",)).splitlines() == [
        "name" + " " * 296 + "   n",
        wide + "   1",
        "b" + " " * 299 + "  22",
    ]


def test_a_rare_bin_is_never_blank() -> None:
    assert sparkline([1000, 1, 0]) == "█▁ "
    assert sparkline([]) == ""


def test_a_column_is_told_by_its_values() -> None:
    assert example({"top": [{"value": "a", "count": 2}, {"value": "b", "count": 1}]}) == "a, b"
    assert example({"shape": [28, 28], "datatype": "UINT8", "min": 0.0, "max": 255.0}) == "28×28 UINT8"
    assert example({"min": 17.0, "max": 90.0, "mean": 38.64}) == "17 … 90 (mean 38.64)"
    assert example({"min": "2020-01-01T00:00:00+00:00", "max": "2021-01-01T00:00:00+00:00"}) == "2020-01-01 … 2021-01-01"


def test_what_is_said_while_it_trains_has_a_line_of_its_own_once(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines(Output(as_json=False), "job-a")
    said = "both go on from the last checkpoint"
    epoch = {"epoch": 3, "train_loss": 0.2}
    for told in (
        Progress(phase="data", message="reading tales@1"),
        Progress(phase="train", fraction=0.1),
        Progress(phase="train", fraction=0.2, message=said),
        Progress(phase="train", fraction=0.3, message=said),
        Progress(phase="train", fraction=0.4, message="stopped early: epoch 2 was the best", epoch_metrics=epoch, epochs=9),
        Progress(phase="done", message="tales@1"),
    ):
        lines.progress(told)
    assert capsys.readouterr().err.splitlines() == [
        "data: reading tales@1",
        "train",
        f"  {said}",
        "  epoch 3/9  train_loss 0.2",
        "  stopped early: epoch 2 was the best",
    ]


def test_progress_in_one_line() -> None:
    progress = Progress(
        phase="train",
        epoch=3,
        epochs=10,
        loss=0.25,
        metric=0.9,
        metric_name="accuracy",
        samples_per_s=12345.6,
        remaining_s=32,
        epoch_metrics={"epoch": 3, "train_loss": 0.25, "val_accuracy": 0.9},
    )
    assert step_line(progress) == "epoch 3/10  loss 0.25  accuracy 0.9  12,346/s  32 s left"
    assert epoch_line(progress) == "epoch 3/10  train_loss 0.25  val_accuracy 0.9"


def test_the_headline_is_the_main_metric_with_its_interval() -> None:
    metrics = {"log_loss": 0.1, "accuracy": 0.97, "accuracy_interval": [0.95, 0.98]}
    assert headline(metrics) == "accuracy 0.9700 (0.9500 to 0.9800)"
    assert headline({}) == ""


def test_answers_of_every_shape_are_one_a_line() -> None:
    assert [answer_line(a) for a in answers_of({"predictions": [{"label": "a", "score": 0.5, "scores": {}}, 1234.5]})] == [
        "a  0.5000",
        "1234",
    ]
    assert answers_of({"outputs": {"p": [0.1, 0.2], "label": ["a", "b"]}, "model": "m@1"}) == [
        {"p": 0.1, "label": "a"},
        {"p": 0.2, "label": "b"},
    ]
    assert answers_of({"prediction": 1.5}) == [1.5]


ROWS = [{"age": 1, "job": None}, {"age": 2, "job": "x"}]


def _write(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.unknown"])
def test_json_lines_become_instances(tmp_path: Path, name: str) -> None:
    source = _write(tmp_path / name, b'{"age":1,"job":null}\n\n{"age":2,"job":"x"}\n')
    body, content_type = read_input(source)
    assert (msgspec.json.decode(body), content_type) == ({"instances": ROWS}, "application/json")


def test_parquet_becomes_instances(tmp_path: Path) -> None:
    pl.DataFrame(ROWS).write_parquet(tmp_path / "rows.parquet")
    assert msgspec.json.decode(read_input(str(tmp_path / "rows.parquet"))[0]) == {"instances": ROWS}


def test_an_object_is_sent_as_it_is_and_a_list_as_instances(tmp_path: Path) -> None:
    assert read_input(_write(tmp_path / "one.json", b'{"inputs": {"age": [1]}}'))[0] == b'{"inputs": {"age": [1]}}'
    assert msgspec.json.decode(read_input(_write(tmp_path / "many.json", b"[[1], [2]]"))[0]) == {"instances": [[1], [2]]}


@pytest.mark.parametrize(
    ("name", "content", "content_type"),
    [
        ("rows.CSV", b"age\n1\n", "text/csv"),
        ("rows.tsv", b"age\tjob\n1\tx\n", "text/tab-separated-values"),
        ("picture", b"\x89PNG\r\n\x1a\n", "image/png"),
        ("picture.jpeg", b"\xff\xd8\xff", "image/jpeg"),
        ("rows", b"BMI,age\n1,2\n", "text/csv"),
    ],
)
def test_files_are_known_by_ending_or_first_bytes(tmp_path: Path, name: str, content: bytes, content_type: str) -> None:
    assert read_input(_write(tmp_path / name, content)) == (content, content_type)


@pytest.mark.parametrize(("content", "content_type"), [(b"age\n1\n", "text/csv"), (b' [{"age": 1}]', "application/json")])
def test_stdin_is_known_by_its_first_character(monkeypatch: pytest.MonkeyPatch, content: bytes, content_type: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert read_input("-")[1] == content_type


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("rows.json", b"[1,", "'rows.json' is not JSON"),
        ("rows.jsonl", b"[1]\n[2,\n", "line 2 is not JSON"),
        ("rows.parquet", b"PAR1 no", "is not a Parquet file"),
        ("rows.csv", b"\n", "is empty"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes, told: str) -> None:
    _write(tmp_path / name, content)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidData, match=told):
        read_input(name)


@pytest.mark.parametrize(
    ("form", "target", "command"),
    [
        ("table", {"name": "y", "classes": []}, "modeltap train d --task tabular-classification"),
        ("table", {"name": "y", "histogram": {}}, "modeltap train d --task tabular-regression"),
        ("images", {"name": "y", "classes": []}, "modeltap train d --task image-classification"),
        ("table", None, "modeltap train d --task tabular-classification --target COLUMN"),
        ("texts", {"name": "y", "classes": []}, "modeltap train d --task text-classification"),
        ("texts", None, "modeltap train d --task text-generation"),
    ],
)
def test_the_next_command_fits_the_data(form: str, target: dict[str, object] | None, command: str) -> None:
    profile = {"target": target} if target else {}
    raw = {"id": "d@1", "name": "d", "version": 1, "digest": "0", "schema": {"form": form, "columns": []}, "num_rows": {}}
    assert next_step(read_answer({**raw, "profile": profile}, Dataset)) == command
