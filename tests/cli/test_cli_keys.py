"""modeltap keys and tenants, and --tenant everywhere: against the real API on a socket."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from control_front import ControlFront, control_front
from scripted_server import json_reply, serve

from modeltap.cli.main import run
from modeltap.client import Client
from modeltap.errors import Forbidden, Unauthenticated

Cli = Callable[..., Any]


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlFront]:
    with control_front(tmp_path_factory.mktemp("keys")) as front:
        yield front


@pytest.fixture(scope="module")
def url(front: ControlFront) -> Iterator[str]:
    with front.listening() as url:
        yield url


@pytest.fixture
def cli(front: ControlFront, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs a command with --json, as the holder of the admin key unless told otherwise; gives its document."""

    def cli(*words: str, code: int = 0, key: str | None = None) -> Any:
        done = run([*words, "--url", url, "--key", key or front.admin_key, "--home", str(tmp_path), "--json"])
        printed = capsys.readouterr()
        assert done == code, printed.out + printed.err
        return msgspec.json.decode(printed.out)

    return cli


@pytest.fixture
def say(front: ControlFront, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command and gives what it says to people, on both streams."""

    def say(*words: str) -> str:
        assert run([*words, "--url", url, "--key", front.admin_key, "--home", str(tmp_path)]) == 0
        printed = capsys.readouterr()
        return printed.out + printed.err

    return say


def test_a_tenant_from_its_making_to_its_end(cli: Cli) -> None:
    made = cli("tenants", "create", "acme", "--rpm", "600", "--budget-month", "500")
    assert (made["name"], made["limits"]["rpm"], made["limits"]["budget_month"]) == ("acme", 600, "500")
    assert cli("tenants", "show", "acme") == made
    assert [t["name"] for t in cli("tenants", "list")["tenants"]] == ["acme", "default"]
    changed = cli("tenants", "update", "acme", "--rpm", "none", "--upm", "5")["limits"]
    assert (changed["rpm"], changed["upm"], changed["budget_month"]) == (None, 5, "500")
    assert cli("tenants", "create", "acme", code=1)["error"]["code"] == "conflict"
    cli("keys", "create", "--tenant", "acme")
    assert "1 key that was not revoked" in cli("tenants", "remove", "acme", code=1)["error"]["detail"]
    (key,) = cli("keys", "list", "--tenant", "acme")["keys"]
    cli("keys", "revoke", key["id"], "--tenant", "acme")
    assert cli("tenants", "remove", "acme") == {"name": "acme", "removed": True}
    assert cli("tenants", "show", "acme", code=1)["error"]["code"] == "not_found"


def test_a_key_from_its_making_to_its_end(cli: Cli) -> None:
    words = ["--label", "shop", "--scope", "predict", "--scope", "train", "--model", "income", "--rpm", "60", "--upm", "1000"]
    made = cli("keys", "create", *words, "--concurrency", "4", "--budget-day", "12.50", "--expires", "30d")
    assert made["key"].startswith(f"mt-{made['id']}-")
    assert (made["scopes"], made["models"], made["label"]) == (["predict", "train"], ["income"], "shop")
    assert made["limits"] == {"rpm": 60, "upm": 1000, "concurrency": 4, "budget_day": "12.5", "budget_month": None}
    shown = cli("keys", "show", made["id"])
    assert "key" not in shown and shown["state"] == "live"
    assert cli("keys", "list")["keys"] == [shown]
    assert cli("models", "list", key=made["key"]) == {"models": []}
    assert cli("keys", "list", key=made["key"], code=1)["error"]["code"] == "forbidden"
    assert cli("keys", "update", made["id"], "--budget-day", "none", "--rpm", "5")["limits"]["budget_day"] is None
    rotated = cli("keys", "rotate", made["id"], "--grace", "0s")
    assert rotated["key"] != made["key"] and len(rotated["secrets"]) == 1
    assert cli("models", "list", key=made["key"], code=1)["error"]["code"] == "unauthenticated"
    assert len(cli("keys", "rotate", made["id"])["secrets"]) == 2
    assert cli("keys", "revoke", made["id"])["state"] == "revoked"
    assert cli("models", "list", key=rotated["key"], code=1)["error"]["code"] == "unauthenticated"
    assert cli("keys", "rotate", made["id"], code=1)["error"]["code"] == "conflict"


def test_tenant_is_an_option_of_every_command_that_asks_a_server(cli: Cli) -> None:
    cli("tenants", "create", "globex")
    made = cli("keys", "create", "--tenant", "globex", "--scope", "admin")
    assert made["tenant"] == "globex"
    assert [key["id"] for key in cli("keys", "list", "--tenant", "globex")["keys"]] == [made["id"]]
    assert made["id"] not in [key["id"] for key in cli("keys", "list")["keys"]]
    for words in (("data", "list"), ("models", "list"), ("jobs", "list"), ("deployments", "list")):
        assert cli(*words, "--tenant", "globex") == cli(*words, key=made["key"])
        assert cli(*words, "--tenant", "nobody", code=1)["error"]["code"] == "not_found"
        assert cli(*words, "--tenant", "default", key=made["key"], code=1)["error"]["code"] == "not_found"


def test_people_are_shown_a_text_once_and_limits_in_words(say: Callable[..., str], cli: Cli) -> None:
    told = say("keys", "create", "--label", "kiosk", "--rpm", "60", "--budget-day", "12.50")
    (key,) = [key for key in cli("keys", "list")["keys"] if key["label"] == "kiosk"]
    assert f"mt-{key['id']}-" in told and "only time" in told
    assert "60 requests/min, 12.5 a day" in told
    for words in (("keys", "list"), ("keys", "show", key["id"])):
        told = say(*words)
        assert "60 requests/min" in told and f"mt-{key['id']}-" not in told
    assert "opens until" in say("keys", "rotate", key["id"], "--grace", "1h")
    assert "no limits" in say("tenants", "list")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["keys", "create", "--rpm", "many"], "--rpm"),
        (["keys", "create", "--rpm", "0"], "--rpm"),
        (["keys", "create", "--expires", "soon"], "such as 30d"),
        (["keys", "update", "x"], "name a limit"),
        (["deploy", "a@1", "--price", "0.5"], "UNIT=AMOUNT"),
        (["deploy", "a@1", "--public-rpm", "many"], "--public-rpm"),
    ],
)
def test_wrong_usage_is_said_before_anything_is_sent(
    words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*words, "--url", "http://127.0.0.1:9", "--home", str(tmp_path), "--json"]) == 2
    assert told in msgspec.json.decode(capsys.readouterr().out)["error"]["detail"]


def test_amounts_are_read_by_the_server_to_the_last_digit(cli: Cli) -> None:
    made = cli("keys", "create", "--budget-day", "123456789.123456789")
    assert made["limits"]["budget_day"] == "123456789.123456789"
    refused = cli("keys", "create", "--budget-day", "0.1234567891", code=1)["error"]
    assert refused["code"] == "invalid_input" and "at most 9 digits" in refused["detail"]


def test_deploy_sends_the_terms_that_were_said_and_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = {"name": "income", "routes": [{"model": "adult", "version": 1}], "url": "/predict/income"}
    with serve(lambda sent: json_reply(answer, 201)) as server:
        words = ["deploy", "adult@1", "--name", "income", "--url", server.url, "--home", str(tmp_path), "--json"]
        terms = ["--price", "row=0.5", "--price", "image=2", "--public", "--public-rpm", "60", "--public-budget-day", "none"]
        more = ["--replicas", "2", "--no-isolate", "--deadline-ms", "500", "--max-batch", "8", "--force", "--tenant", "acme"]
        assert run([*words, *terms, *more]) == 0
        assert run(words) == 0
    capsys.readouterr()
    said, bare = server.sent
    assert {name.lower(): value for name, value in said.headers.items()}["modeltap-tenant"] == "acme"
    assert msgspec.json.decode(said.body) == {
        "name": "income",
        "model": "adult@1",
        "force": True,
        "terms": {
            "price": {"row": "0.5", "image": "2"},
            "public": True,
            "public_limits": {"rpm": 60, "budget_day": None},
            "replicas": 2,
            "isolate": False,
            "deadline_ms": 500,
            "max_batch": 8,
        },
    }
    assert "modeltap-tenant" not in {name.lower() for name in bare.headers}
    assert msgspec.json.decode(bare.body) == {"name": "income", "model": "adult@1"}


def test_the_client_takes_the_same_as_values(front: ControlFront, url: str) -> None:
    with Client(url, front.admin_key) as root:
        assert root.tenants.create("initech", limits={"rpm": 5}).limits["rpm"] == 5
        assert root.tenants.update("initech", limits={"rpm": None, "budget_day": Decimal("0.10")}).limits["budget_day"] == "0.1"
    with Client(url, front.admin_key, tenant="initech") as client:
        made = client.keys.create(label="till", scopes=["admin"], expires_in=timedelta(days=2), limits={"budget_day": "1"})
        assert made.tenant == "initech" and made.created_at is not None
        assert made.expires_at == made.created_at + timedelta(days=2)
        assert client.keys.get(made.id).limits["budget_day"] == "1"
        assert client.keys.update(made.id, limits={"upm": 7}).limits["upm"] == 7
        rotated = client.keys.rotate(made.id, grace=timedelta(minutes=1))
        assert [secret["expires_at"] is None for secret in rotated.secrets] == [True, False]
    with Client(url, rotated.key) as own:
        assert [key.id for key in own.keys.list()] == [made.id]
        with pytest.raises(Forbidden, match="admin key"):
            own.tenants.list()
        assert own.keys.revoke(made.id).state == "revoked"
        with pytest.raises(Unauthenticated):
            own.keys.list()
