"""POST /api/models/import: a graph as a file, as a ZIP, or as a form of several files; and everything else, refused by name."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from control_front import ControlFront
from foreign_graphs import dense, save, sum_and_difference

IMPORT = "/api/models/import"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("importing") / "home"


@pytest.fixture(scope="module")
def front(home: Path) -> Iterator[ControlFront]:
    home.mkdir()
    made = ControlFront(home)
    yield made
    made.close()


def packed(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/").replace("_onnx", ".onnx").replace("_bin", ".bin"), content)
    return out.getvalue()


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """A graph and the file of its weights."""
    folder = tmp_path_factory.mktemp("parts")
    path = save(dense(), folder, save_as_external_data=True, location="w.bin", size_threshold=0)
    return path.read_bytes(), (folder / "w.bin").read_bytes()


GRAPH = sum_and_difference().SerializeToString()


def test_a_file_becomes_a_version_that_is_listed_shown_and_exported(front, home):
    made = front.ask("POST", IMPORT, params={"name": "simple"}, content=GRAPH)
    assert made["id"] == "simple@1" and made["task"] == "tensors" and made["state"] == "candidate" and made["notices"] == []
    shown = front.ask("GET", "/api/models/simple@1")
    assert set(shown["files"]) == {"card.md", "golden.json", "manifest.json", "model.onnx"}
    assert shown["manifest"]["signature"]["inputs"][0] == {"name": "INPUT0", "datatype": "INT32", "shape": [1, 16]}
    exported = front.request("GET", "/api/models/simple@1/export")
    assert zipfile.ZipFile(io.BytesIO(exported.content)).read("model.onnx") == GRAPH
    assert "no recipe" in front.request("GET", "/api/models/simple/recipe").json()["detail"]
    again = front.ask("POST", IMPORT, params={"name": "simple"}, content=GRAPH)
    assert again["id"] == "simple@2" and again["digest"] == made["digest"]
    compared = front.ask("GET", "/api/compare", params={"refs": "simple@1,simple@2"})
    assert compared["recipe_differences"] == {}
    assert list((home / "imports").iterdir()) == []


@pytest.mark.parametrize("place", ["", "folder__"])
def test_a_zip_brings_weights_along(front, parts, place):
    content = packed(**{f"{place}net_onnx": parts[0], f"{place}w_bin": parts[1], "READ_ME": b"hello"})
    made = front.ask("POST", IMPORT, params={"name": "packed"}, content=content)
    assert front.ask("GET", f"/api/models/{made['id']}")["files"]["model.onnx"] > len(parts[1])


def test_a_form_brings_weights_along(front, parts):
    files = [("files", ("net.onnx", parts[0])), ("files", ("w.bin", parts[1]))]
    assert front.ask("POST", IMPORT, params={"name": "formed"}, files=files)["id"] == "formed@1"
    single = [("anything", ("a name.zip", packed(net_onnx=parts[0], w_bin=parts[1])))]
    assert front.ask("POST", IMPORT, params={"name": "formed"}, files=single)["id"] == "formed@2"


def test_each_tenant_has_its_own(front):
    front.ask("POST", "/api/tenants", json={"name": "other"})
    assert front.ask("POST", IMPORT, params={"name": "simple"}, content=GRAPH, tenant="other")["id"] == "simple@1"
    key = front.ask("POST", "/api/keys", json={"scopes": ["predict"]})["key"]
    refused = front.request("POST", IMPORT, params={"name": "x"}, content=GRAPH, key=key)
    assert refused.status_code == 403 and "train" in refused.json()["detail"]


def test_nothing_is_trained_to_be_a_bare_graph(front):
    trained = front.request("POST", "/api/recipes/render", json={"recipe": {"task": "tensors"}})
    assert trained.status_code == 422 and "nothing is trained for 'tensors'" in trained.json()["detail"]


REFUSED = {
    "no name": ({}, {"content": GRAPH}, 400, "name"),
    "a name that is none": ({"name": "../x"}, {"content": GRAPH}, 400, "cannot name a model"),
    "nothing": ({"name": "x"}, {"content": b""}, 400, "empty"),
    "something else": ({"name": "x"}, {"content": b"hello"}, 422, "not an ONNX graph"),
    "an archive without a graph": ({"name": "x"}, {"content": packed(a_bin=b"1")}, 422, "here are: none"),
    "an archive with two": ({"name": "x"}, {"content": packed(a_onnx=GRAPH, b_onnx=GRAPH)}, 422, "a.onnx, b.onnx"),
    "an archive that leads out": ({"name": "x"}, {"content": packed(**{"..__a_onnx": GRAPH})}, 422, "leads out"),
    "a broken archive": ({"name": "x"}, {"content": packed(a_onnx=GRAPH)[:-30]}, 422, "ZIP"),
    "a form without files": ({"name": "x"}, {"files": {"a": (None, "text")}}, 400, "no file"),
    "a form that leads out": (
        {"name": "x"},
        {"files": [("a", ("../../a.onnx", GRAPH)), ("b", ("b.bin", b"1"))]},
        422,
        "cannot be the name of a file",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_imported_is_refused_and_leaves_nothing(front, home, what):
    params, sent, status, told = REFUSED[what]
    answer = front.request("POST", IMPORT, params=params, **sent)
    assert answer.status_code == status and told in answer.json()["detail"], answer.text
    assert not (home / "imports").exists() or list((home / "imports").iterdir()) == []


def test_an_upload_over_the_limit_is_refused(tmp_path):
    front = ControlFront(tmp_path)
    limit = front.ask("GET", "/api/server")["settings"]["max_upload_bytes"]["value"]
    headers = {"content-length": str(limit + 1)}
    answer = front.request("POST", IMPORT, params={"name": "x"}, content=GRAPH, headers=headers)
    assert answer.status_code == 413 and "MODELTAP_MAX_UPLOAD_BYTES" in answer.json()["detail"]
    front.close()
