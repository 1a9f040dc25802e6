"""A key from its making to its end: what callers are given, what is kept, and what is served after each step."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from modeltap.control.home_secrets import open_admin_key, open_pepper
from modeltap.control.keys import Keys
from modeltap.control.tenants import Tenants
from modeltap.domain.key import is_live, key_state
from modeltap.domain.secret import digest_secret, parse_key
from modeltap.domain.snapshot import DeploymentSnapshot
from modeltap.domain.tenant import DEFAULT_TENANT, Limits
from modeltap.errors import Conflict, InvalidInput, NotFound, StorageFailed
from modeltap.storage.database import Database
from modeltap.storage.keys import KeyRepository
from modeltap.storage.opening import open_database
from modeltap.storage.snapshot import read_snapshot
from modeltap.storage.tenants import TenantRepository


class Desk:
    """The use-cases on a real database, and every snapshot that they had served."""

    def __init__(self, home: Path) -> None:
        self.database: Database = open_database(home)
        self.pepper = open_pepper(home)
        self.served: list[DeploymentSnapshot] = []
        self.keys = self.keys_of(DEFAULT_TENANT)
        self.tenants = Tenants(TenantRepository(self.database), self.publish)

    def keys_of(self, tenant: str) -> Keys:
        return Keys(tenant, KeyRepository(self.database, tenant), self.pepper, self.publish)

    def publish(self) -> None:
        self.served.append(read_snapshot(self.database))

    def opens(self, text: str) -> bool:
        """Whether this text opens by what was served last."""
        parsed = parse_key(text)
        assert parsed is not None
        key, now = self.served[-1].keys[parsed[0]], datetime.now(UTC)
        digest = digest_secret(self.pepper, parsed[1])
        return key_state(key, now) == "live" and any(s.digest == digest and is_live(s, now) for s in key.secrets)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def desk(home: Path) -> Iterator[Desk]:
    home.mkdir()
    desk = Desk(home)
    yield desk
    desk.database.close()


def test_only_a_digest_of_a_secret_is_kept(desk: Desk, home: Path) -> None:
    secrets = []
    for _ in range(3):
        key, text = desk.keys.create(label="shop")
        texts = [text, desk.keys.rotate(key.id)[1]]
        secrets += [text.removeprefix(f"mt-{key.id}-") for text in texts]
    desk.database.close()
    kept = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
    assert b"shop" in kept
    assert not [secret for secret in secrets if secret.encode() in kept]
    assert {len(secret) for secret in secrets} == {32}, "192 bits"


def test_every_step_is_served_at_once(desk: Desk) -> None:
    key, first = desk.keys.create()
    assert desk.opens(first)
    _, second = desk.keys.rotate(key.id)
    assert desk.opens(first) and desk.opens(second)
    _, third = desk.keys.rotate(key.id, timedelta(hours=1))
    assert not desk.opens(first), "never more than two open"
    assert desk.opens(second) and desk.opens(third)
    _, fourth = desk.keys.rotate(key.id, timedelta())
    assert [desk.opens(text) for text in (second, third, fourth)] == [False, False, True]
    desk.keys.set_limits(key.id, {"rpm": 5})
    assert desk.served[-1].keys[key.id].limits == Limits(rpm=5)
    desk.keys.revoke(key.id)
    assert not desk.opens(fourth)
    assert len(desk.served) == 6


def test_a_key_says_what_it_was_made_for(desk: Desk) -> None:
    limits = {"rpm": 60, "budget_day_nano": 12_500_000_000}
    key, text = desk.keys.create(
        label="shop", scopes=["train", "predict"], models=["b", "a", "b"], limits=limits, expires_in=timedelta(days=30)
    )
    assert key.scopes == ("predict", "train") and key.models == ("a", "b")
    assert key.limits == Limits(rpm=60, budget_day_nano=12_500_000_000)
    assert key.expires_at == key.created_at + timedelta(days=30)
    assert desk.keys.get(key.id) == key
    assert text.startswith(f"mt-{key.id}-")


def test_an_expired_key_opens_nothing_and_stays_so(desk: Desk) -> None:
    key, text = desk.keys.create(expires_in=timedelta(microseconds=1))
    assert not desk.opens(text)
    for do in (lambda: desk.keys.rotate(key.id), lambda: desk.keys.set_limits(key.id, {"rpm": 5})):
        with pytest.raises(Conflict, match="is expired"):
            do()


def test_what_a_key_cannot_be_made_of_is_refused_and_makes_none(desk: Desk) -> None:
    for given in ({"scopes": ["root"]}, {"models": ["a/b"]}, {"limits": {"rpm": 0}}, {"label": "a\nb"}):
        with pytest.raises(InvalidInput):
            desk.keys.create(**given)  # type: ignore[arg-type]
    assert desk.keys.list() == () and desk.served == []


def test_keys_of_another_tenant_are_not_there(desk: Desk) -> None:
    desk.tenants.create("acme", {"upm": 10})
    key, _ = desk.keys_of("acme").create()
    assert key.tenant == "acme" and desk.keys.list() == ()
    for do in (desk.keys.get, desk.keys.revoke, desk.keys.rotate):
        with pytest.raises(NotFound):
            do(key.id)
    assert desk.served[-1].tenants["acme"].limits == Limits(upm=10)
    desk.tenants.set_limits("acme", {"upm": None, "rpm": 3})
    assert desk.served[-1].tenants["acme"].limits == Limits(rpm=3)
    desk.keys_of("acme").revoke(key.id)
    desk.tenants.remove("acme")
    assert set(desk.served[-1].tenants) == {DEFAULT_TENANT} and not desk.served[-1].keys


def test_the_homes_secrets_are_made_once_and_for_their_owner_alone(tmp_path: Path) -> None:
    pepper, (admin, is_new) = open_pepper(tmp_path), open_admin_key(tmp_path)
    assert is_new and open_admin_key(tmp_path) == (admin, False)
    assert open_pepper(tmp_path) == pepper and len(pepper) == 32
    for name in ("pepper.key", "admin.key"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert {path.name for path in tmp_path.iterdir()} == {"pepper.key", "admin.key"}


@pytest.mark.parametrize(("content", "told"), [("", "is empty"), ("abcd", "is damaged"), ("no hex", "is damaged")])
def test_a_damaged_pepper_is_named_and_not_replaced(tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "pepper.key").write_text(content)
    with pytest.raises(StorageFailed, match=f"pepper.key in the home {told}"):
        open_pepper(tmp_path)
    assert (tmp_path / "pepper.key").read_text() == content
