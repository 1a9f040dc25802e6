"""What may name a dataset, model or deployment, and what a reference means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeltap.domain.names import parse_alias, parse_name, parse_ref
from modeltap.errors import InvalidInput


@pytest.mark.parametrize("name", ["iris", "7", "A.b_c-d", "x" * 64])
def test_a_name_is_taken_as_it_is(name: str) -> None:
    assert parse_name("model", name) == name


@pytest.mark.parametrize("name", ["", "x" * 65, ".hidden", "-x", "a b", "a/b", "a\\b", "a@b", "größe", "a\n", "..", "٣"])
def test_any_other_name_is_refused_with_what_is_allowed(name: str) -> None:
    with pytest.raises(InvalidInput, match=r"cannot name a model; use 1 to 64 of"):
        parse_name("model", name)


@given(st.text(max_size=70))
def test_a_name_that_passes_is_safe_in_a_path_and_a_url(text: str) -> None:
    try:
        name = parse_name("model", text)
    except InvalidInput:
        return
    assert name.isascii() and "/" not in name and "\\" not in name and not name.startswith(".")


@pytest.mark.parametrize(
    ("ref", "parsed"),
    [
        ("iris", ("iris", None)),
        ("iris@3", ("iris", "3")),
        ("iris@latest", ("iris", "latest")),
        ("iris@best-so-far", ("iris", "best-so-far")),
    ],
)
def test_a_reference_is_a_name_and_what_stands_after_the_at_sign(ref: str, parsed: tuple[str, str | None]) -> None:
    assert parse_ref(ref) == parsed


@pytest.mark.parametrize(
    "ref", ["", "@3", "iris@", "iris@0", "iris@03", "iris@-1", "iris@1@2", "iris@Best", "iris@" + "9" * 20]
)
def test_a_malformed_reference_is_refused(ref: str) -> None:
    with pytest.raises(InvalidInput):
        parse_ref(ref)


@pytest.mark.parametrize("alias", ["latest", "1", "Best", "a_b", "", "a" * 65])
def test_an_alias_is_never_a_number_or_latest(alias: str) -> None:
    with pytest.raises(InvalidInput):
        parse_alias(alias)
