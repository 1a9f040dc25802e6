"""How many rows go together, and what is sent after a refusal: the rules of a batch, without a server."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from modeltap.api.replays import MAX_STORED_BYTES
from modeltap.data.answer_chunks import Chunk
from modeltap.data.row_files import FileRow
from modeltap.domain.dataset import Column, Schema
from modeltap.errors import Broken, InvalidValue, ModeltapError, TooLarge
from modeltap.runner.batch_refusals import narrowed
from modeltap.runner.batch_sizes import ANSWER_BYTES, REQUEST_S, Sizes

AGES = Schema(form="table", columns=(Column(name="age", kind="number"), Column(name="city", kind="category")))


def test_requests_grow_from_one_row_to_what_is_allowed() -> None:
    sizes = Sizes(100)
    seen = []
    for _ in range(6):
        seen.append(sizes.rows)
        sizes.answered(sizes.rows, answer_bytes=50 * sizes.rows, took_s=1e-4 * sizes.rows)
    assert seen == [1, 4, 16, 64, 100, 100]


def test_requests_stay_below_what_is_kept_for_a_retry_and_short() -> None:
    sizes = Sizes(1000)
    sizes.answered(1, answer_bytes=200_000, took_s=0.0)
    assert sizes.rows == ANSWER_BYTES // 200_000
    slow = Sizes(1000)
    slow.answered(4, answer_bytes=10, took_s=4 * REQUEST_S / 3)
    assert slow.rows == 3
    slow.answered(3, answer_bytes=10, took_s=9 * REQUEST_S)  # others had to go first: it is no slower itself
    assert slow.rows == 3
    assert Sizes(1000, row_bytes=2.0 * ANSWER_BYTES).rows == 1


def test_what_was_too_much_is_halved_and_what_never_fits_stays_so() -> None:
    sizes = Sizes(1000)
    sizes.answered(500, answer_bytes=500, took_s=0.0)
    sizes.too_many(800)
    assert sizes.rows == 400
    sizes.answered(400, answer_bytes=400, took_s=0.0)
    assert sizes.rows == 1000
    sizes.too_many(1000, ever=True)
    sizes.answered(500, answer_bytes=500, took_s=0.0)
    assert sizes.rows == 500
    sizes.too_long(1_000_000)
    assert sizes.body_bytes == 500_000


def test_an_answer_may_be_twice_as_long_as_it_was_and_is_still_kept_for_a_retry() -> None:
    assert 2 * ANSWER_BYTES <= MAX_STORED_BYTES


def rows_of(values: list[Any]) -> list[FileRow]:
    return [FileRow(msgspec.json.encode(value)) for value in values]


def next_of(chunk: Chunk, values: list[Any], problem: ModeltapError, schema: Schema | None = None) -> Chunk:
    sent = [place for place in range(chunk.num_rows) if place not in chunk.left_out]
    return narrowed(chunk, rows_of(values), sent, problem, lambda: schema)


def test_rows_that_an_error_names_are_left_out_where_they_stand() -> None:
    chunk = Chunk(number=3, first=100, num_rows=5, left_out={1: "not JSON"})
    fields = [("[0].age", "'x' is not a number"), ("[2].age", "'y' is not a number"), ("[9].age", "who?")]
    after = next_of(chunk, [None] * 5, InvalidValue("…", fields=fields))
    assert after.left_out == {1: "not JSON", 0: "age: 'x' is not a number", 3: "age: 'y' is not a number"}
    assert (after.number, after.first, after.num_rows) == (3, 100, 5)


def test_all_rows_that_do_not_fit_are_found_at_once_where_the_schema_is_known() -> None:
    city: dict[str, Any] = {"city": "Ulm"}
    values: list[Any] = [{"age": 1, **city}, {"age": "x", **city}, city, [1, "Ulm"], [1, 2, 3], {"age": None, **city}]
    after = next_of(Chunk(number=1, first=0, num_rows=6), values, InvalidValue("row 3: missing: age"), AGES)
    assert after.left_out == {
        1: "age: 'x' is not a number",
        2: "age: missing; send null if it is not known",
        4: "has 3 cells; the model takes 2: age, city",
    }


def test_where_no_row_can_be_named_half_of_them_are_tried() -> None:
    chunk = Chunk(number=1, first=0, num_rows=7, left_out={2: "a", 5: "b"})
    too_far = InvalidValue("row 3 has no finite answer")
    for problem in (Broken("the graph failed"), TooLarge(given_bytes=9, limit_bytes=8), too_far):
        after = next_of(chunk, [[1, "Ulm"]] * 7, problem, AGES)
        assert (after.num_rows, after.left_out) == (3, {2: "a"})  # of the rows 0, 1, 3, 4 and 6 the first two
    alone = Chunk(number=1, first=0, num_rows=2, left_out={0: "a"})
    after = next_of(alone, [[1, "Ulm"]] * 2, InvalidValue("row 1 has no finite answer: too far"), AGES)
    assert after.left_out == {0: "a", 1: "has no finite answer: too far"}


@given(st.integers(1, 40), st.sets(st.integers(0, 39)), st.sets(st.integers(0, 39)))
def test_every_refusal_leads_to_fewer_rows_until_none_is_left(num_rows: int, unsent: set[int], named: set[int]) -> None:
    """So that no batch asks for ever: each step has fewer rows to send, and none of them was not refused just now."""
    chunk = Chunk(number=1, first=0, num_rows=num_rows, left_out={place: "unsent" for place in unsent if place < num_rows})
    while sent := [place for place in range(chunk.num_rows) if place not in chunk.left_out]:
        fields = [(f"[{place}]", "named") for place in named]
        after = narrowed(chunk, rows_of([0] * num_rows), sent, InvalidValue("row 1", fields=fields), lambda: None)
        left = {place for place in range(after.num_rows) if place not in after.left_out}
        assert left < set(sent) and after.first == 0
        chunk = after
