"""/v1/files with OpenAI's own client: what is sent is there, byte for byte, for those who may see it."""

from __future__ import annotations

import io
import os
import random
import socket
import time
from pathlib import Path
from typing import Any

import openai
import pytest
from fault_server import FaultServer, serving, until

from modeltap.storage.backup import restore_backup
from modeltap.storage.opening import open_database
from openai_home import client_of, new_key

LINE = b'{"prompt": "a", "completion": "b"}\n'


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server without a model."""

    with serving(tmp_path_factory.mktemp("files") / "home", MODELTAP_MAX_UPLOAD_BYTES="4000000") as server:
        yield server


@pytest.fixture(scope="module")
def client(served: FaultServer) -> openai.OpenAI:
    return client_of(served)


def error_of(raised: pytest.ExceptionInfo[openai.APIStatusError]) -> Any:
    body = raised.value.body
    assert isinstance(body, dict) and set(body) == {"message", "type", "param", "code"}
    return body


def test_a_file_comes_back_as_it_was_sent(client: openai.OpenAI) -> None:
    content = random.Random(7).randbytes(3_000_000) + b"\r\n--x\r\n"
    before = int(time.time())
    sent = client.files.create(file=("Grüße äöü.bin", io.BytesIO(content)), purpose="user_data")
    assert (sent.bytes, sent.filename, sent.purpose, sent.object, sent.status) == (
        len(content),
        "Grüße äöü.bin",
        "user_data",
        "file",
        "processed",
    )
    assert before <= sent.created_at <= time.time() and sent.expires_at is None
    assert client.files.retrieve(sent.id) == sent
    answer = client.files.content(sent.id)
    assert answer.read() == content
    assert answer.response.headers["content-type"] == "application/octet-stream"
    assert client.files.delete(sent.id).deleted
    with pytest.raises(openai.NotFoundError, match="there is no file"):
        client.files.content(sent.id)
    with pytest.raises(openai.NotFoundError):
        client.files.delete(sent.id)


def test_lists_come_in_pages_both_ways_and_by_purpose(served: FaultServer) -> None:
    mine = client_of(served, new_key(served, "predict")[1])
    ids = [mine.files.create(file=(f"{n}.jsonl", LINE), purpose="batch" if n % 2 else "user_data").id for n in range(5)]
    newest = mine.files.list(limit=2)
    assert [file.id for file in newest.data] == [ids[4], ids[3]]
    raw = mine.files.with_raw_response.list(limit=2).http_response.json()
    assert (raw["object"], raw["first_id"], raw["last_id"], raw["has_more"]) == ("list", ids[4], ids[3], True)
    assert [file.id for file in newest] == ids[::-1]  # the client asks for page after page
    assert [file.id for file in mine.files.list(limit=2, order="asc")] == ids
    assert [file.id for file in mine.files.list(purpose="batch")] == [ids[3], ids[1]]
    assert mine.files.list(after=ids[0]).data == []
    for wrong, param in (({"limit": 0}, "limit"), ({"order": "up"}, "order"), ({"purpose": "x"}, "purpose")):
        with pytest.raises(openai.BadRequestError) as raised:
            mine.files.list(**wrong)
        assert error_of(raised)["param"] == param


def test_a_file_goes_when_its_time_is_over(served: FaultServer, client: openai.OpenAI) -> None:
    kept = client.files.create(file=("a.jsonl", LINE + b"\n"), purpose="batch", expires_after=_after(3600))
    assert kept.expires_at == kept.created_at + 3600
    database = open_database(served.home)
    with database.writing() as connection:
        connection.exec_driver_sql(
            "UPDATE stored_files SET expires_at = '2020-01-01T00:00:00.000000Z' WHERE id = ?", (kept.id,)
        )
    database.close()
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(kept.id)
    with pytest.raises(openai.BadRequestError) as raised:
        client.files.create(file=("a.jsonl", LINE), purpose="batch", expires_after=_after(1))
    assert error_of(raised)["param"] == "expires_after"


def _after(seconds: int) -> Any:
    return {"anchor": "created_at", "seconds": seconds}


def test_other_tenants_and_other_keys_see_nothing(served: FaultServer, client: openai.OpenAI) -> None:
    served.ask("POST", "/api/tenants", json={"name": "acme"})
    theirs = client_of(served, new_key(served, "train", tenant="acme")[1])
    trainer = client_of(served, new_key(served, "train")[1])
    one = client_of(served, new_key(served, "predict")[1])
    other = client_of(served, new_key(served, "predict")[1])
    examples = trainer.files.create(file=("t.jsonl", LINE), purpose="fine-tune")
    requests = one.files.create(file=("b.jsonl", LINE), purpose="batch")
    assert trainer.files.retrieve(requests.id).id == requests.id
    for stranger, file in ((theirs, examples), (theirs, requests), (one, examples), (other, requests)):
        for ask in (stranger.files.retrieve, stranger.files.content, stranger.files.delete):
            with pytest.raises(openai.NotFoundError):
                ask(file.id)
        assert file.id not in [seen.id for seen in stranger.files.list()]
    with pytest.raises(openai.PermissionDeniedError) as raised:
        one.files.create(file=("t.jsonl", LINE), purpose="fine-tune")
    assert "scope train" in error_of(raised)["message"]
    with pytest.raises(openai.AuthenticationError) as unknown:
        client_of(served, "mt-nobody").files.list()
    assert error_of(unknown)["code"] == "invalid_api_key"


@pytest.mark.parametrize(
    ("file", "purpose", "status", "param"),
    [
        (("a.jsonl", b""), "batch", 400, "file"),
        (("a.jsonl", LINE), "batch_output", 400, "purpose"),
        (("a.jsonl", LINE), "anything", 400, "purpose"),
        (("a" * 300, LINE), "batch", 400, "file"),
        (("a.jsonl", b"x" * 4_000_001), "batch", 413, None),
    ],
)
def test_what_cannot_be_kept_is_refused_by_name(
    file: Any, purpose: Any, status: int, param: str | None, client: openai.OpenAI, served: FaultServer
) -> None:
    with pytest.raises(openai.APIStatusError) as raised:
        client.files.create(file=file, purpose=purpose)
    assert raised.value.status_code == status
    assert error_of(raised)["param"] == param
    assert not any((served.home / "uploads").iterdir())


@pytest.mark.parametrize(
    ("body", "kind", "told"),
    [
        (b"{}", "application/json", "multipart/form-data"),
        (b"--b\r\n", "multipart/form-data; boundary=b", "ends in the middle"),
        (b"hello", "multipart/form-data; boundary=b", "cannot be read"),
        (
            b'--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--b--\r\n',
            "multipart/form-data; boundary=b",
            "file",
        ),
        (
            b'--b\r\ncontent-disposition: form-data; name="file"; filename="x"\r\n\r\nx\r\n--b--\r\n',
            "multipart/form-data; boundary=b",
            "purpose",
        ),
        (
            b'--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\n' + b"x" * 5000 + b"\r\n--b--\r\n",
            "multipart/form-data; boundary=b",
            "more than 4,096 bytes",
        ),
    ],
)
def test_a_form_that_is_broken_is_a_named_error(body: bytes, kind: str, told: str, served: FaultServer) -> None:
    answer = served.client.post("/v1/files", content=body, headers={"content-type": kind})
    assert 400 <= answer.status_code < 500
    assert told in answer.json()["error"]["message"]
    assert not any((served.home / "uploads").iterdir())


def test_nothing_is_left_of_an_upload_that_breaks_off(served: FaultServer) -> None:

    key = (served.home / "admin.key").read_text().strip()
    with socket.create_connection(served.address) as connection:
        connection.sendall(
            b"POST /v1/files HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\nauthorization: Bearer %b\r\n"
            b'content-type: multipart/form-data; boundary=b\r\n\r\n--b\r\ncontent-disposition: form-data; name="file"; '
            b'filename="x"\r\n\r\n%b' % (key.encode(), os.urandom(1000))
        )
        until("the upload has begun", lambda: any((served.home / "uploads").iterdir()))
    until("it is gone", lambda: not any((served.home / "uploads").iterdir()))


def test_files_survive_gc_and_a_backup(served: FaultServer, client: openai.OpenAI, tmp_path: Path) -> None:

    content = os.urandom(5000)
    kept = client.files.create(file=("kept.bin", content), purpose="user_data")
    gone = client.files.create(file=("gone.bin", os.urandom(5000)), purpose="user_data")
    client.files.delete(gone.id)
    assert served.ask("POST", "/api/gc", json={"grace_s": 0})["removed"] >= 1
    assert client.files.content(kept.id).read() == content
    archive = served.client.get("/api/backup")
    restore_backup(io.BytesIO(archive.content), tmp_path / "home")
    with serving(tmp_path / "home") as restored:
        assert client_of(restored).files.content(kept.id).read() == content
