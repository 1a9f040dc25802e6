"""A key's text, digest and secrets; amounts of money; and changes that leave the rest as it was."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeltap.domain.changes import changed
from modeltap.domain.deployment import Terms
from modeltap.domain.key import is_live, key_state, parse_label, parse_scopes, rotate
from modeltap.domain.money import parse_budget, parse_price, show_budget, show_price
from modeltap.domain.secret import digest_secret, key_text, parse_key
from modeltap.domain.tenant import Key, Limits, Secret
from modeltap.domain.usage import Price
from modeltap.errors import Conflict, InvalidInput

NOW = datetime(2026, 11, 22, tzinfo=UTC)
ID = "k3y1d4b2c5e6"


def key(**changes: Any) -> Key:
    return Key(**{"id": ID, "tenant": "acme", "secrets": (Secret(digest="0", created_at=NOW),), "created_at": NOW, **changes})


def test_a_text_is_taken_apart_as_it_was_put_together() -> None:
    secret = "a-secret_with-both-marks"
    assert parse_key(key_text(ID, secret)) == (ID, secret)


@pytest.mark.parametrize(
    "text", ["", "mt-", f"mt-{ID}-", f"mt-{ID}", f"mt-{ID.upper()}-x", f"xx-{ID}-x", f"mt-{ID}-ü", "mt-admin-x"]
)
def test_what_is_no_key_is_told_apart_from_one(text: str) -> None:
    assert parse_key(text) is None


def test_a_digest_needs_the_pepper_and_the_secret() -> None:
    pepper = bytes(range(32))
    assert digest_secret(pepper, "a") == digest_secret(pepper, "a")
    assert len({digest_secret(pepper, "a"), digest_secret(pepper, "b"), digest_secret(bytes(32), "a")}) == 3


def test_a_rotated_key_opens_with_both_secrets_for_the_grace_alone() -> None:
    grace = timedelta(hours=1)
    rotated = rotate(key(), "1", NOW, grace)
    assert [(s.digest, s.expires_at) for s in rotated.secrets] == [("1", None), ("0", NOW + grace)]
    assert [s.digest for s in rotated.secrets if is_live(s, NOW + grace)] == ["1"]
    assert [s.digest for s in rotate(key(), "1", NOW, timedelta()).secrets] == ["1"]


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), max_size=8))
def test_never_more_than_two_secrets_open_and_no_grace_is_made_longer(rotations: list[tuple[int, int]]) -> None:
    rotated, now = key(), NOW
    for number, (wait_s, grace_s) in enumerate(rotations, start=1):
        now += timedelta(seconds=wait_s)
        before = rotated
        rotated = rotate(rotated, str(number), now, timedelta(seconds=grace_s))
        live = [s for s in rotated.secrets if is_live(s, now)]
        assert len(live) <= 2 and live[0].digest == str(number) and live[0].expires_at is None
        for secret in live[1:]:
            (was,) = [s for s in before.secrets if s.digest == secret.digest]
            assert was.expires_at is None or (secret.expires_at or now) <= was.expires_at


def test_a_key_that_opens_nothing_is_not_rotated() -> None:
    for gone in (key(revoked_at=NOW), key(expires_at=NOW)):
        assert key_state(gone, NOW) in ("revoked", "expired")
        with pytest.raises(Conflict, match="keys create"):
            rotate(gone, "1", NOW)
    assert key_state(key(expires_at=NOW + timedelta(seconds=1)), NOW) == "live"


def test_scopes_and_labels_are_checked() -> None:
    assert parse_scopes(["train", "predict", "train"]) == ("predict", "train")
    with pytest.raises(InvalidInput, match="did you mean 'predict'"):
        parse_scopes(["predcit"])
    with pytest.raises(InvalidInput, match="needs a scope"):
        parse_scopes([])
    assert parse_label("Geschäft № 1") == "Geschäft № 1"
    for label in ("x" * 201, "two\nlines", "\x1b[31m"):
        with pytest.raises(InvalidInput, match="label"):
            parse_label(label)


@pytest.mark.parametrize(
    ("text", "nano", "shown"),
    [
        ("12.50", 12_500_000_000, "12.5"),
        ("0.000000001", 1, "0.000000001"),
        (" 7 ", 7_000_000_000, "7"),
        ("1e3", 1000_000_000_000, "1000"),
        ("1000000000", 10**18, "1000000000"),
        ("123456789.123456789", 123456789_123456789, "123456789.123456789"),
        (0, 0, "0"),
    ],
)
def test_amounts_are_exact(text: str | int, nano: int, shown: str) -> None:
    assert parse_budget(text, "budget_day") == nano
    assert show_budget(nano) == shown


def test_a_price_is_of_a_thousand_units() -> None:
    millionths = parse_price("0.5", "price.row")
    assert show_price(millionths) == "0.5"
    assert Price(row=millionths).cost_nano("row", 3) == 1_500_000  # 3 of 1,000 at half a unit of the currency


@pytest.mark.parametrize(
    "text", ["", "ten", "-1", "NaN", "inf", "1,5", "1000000001", "1e400", "0" * 50, "1e-10", "0.1234567891"]
)
def test_what_is_no_amount_says_so(text: str) -> None:
    with pytest.raises(InvalidInput, match="budget_day is") as refused:
        parse_budget(text, "budget_day")
    assert refused.value.fields[0][0] == "budget_day"


def test_what_is_given_changes_and_the_rest_stays() -> None:
    terms = changed(Terms(), {"price": {"row": 5}, "replicas": 3})
    again = changed(terms, {"price": {"image": 7}, "public_limits": {"rpm": 10}})
    assert (again.price, again.replicas, again.public_limits) == (Price(row=5, image=7), 3, Limits(rpm=10))
    assert changed(Limits(rpm=5, upm=6), {"rpm": None}) == Limits(upm=6)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"replicsa": 1}, "did you mean 'replicas'"),
        ({"price": {"rwo": 1}}, "did you mean 'row'"),
        ({"replicas": 65}, "replicas: "),
    ],
)
def test_a_change_that_cannot_be_is_named(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        changed(Terms(), changes)
