"""POST /api/models/import of Hugging Face directories, packed: what is unsafe is refused before anything is made of it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator

import pytest
from control_front import ControlFront
from language_directories import write_directory

IMPORT = "/api/models/import"


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlFront]:
    home = tmp_path_factory.mktemp("language") / "home"
    home.mkdir()
    made = ControlFront(home)
    yield made
    made.close()


def packed(folder, prefix: str = "model/", **more: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, prefix + path.name)
        for name, content in more.items():
            archive.writestr(name, content)
    return out.getvalue()


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"pytorch_model__bin": b"\x80"}, "'pytorch_model.bin' is a pickled file"),
        ({"config__json": b'{"model_type": "llama", "auto_map": {}}'}, "auto_map"),
        ({"config__json": b'{"model_type": "rwkv"}'}, "'rwkv'; imported are"),
        ({"model__safetensors": None}, "no model.safetensors"),
    ],
)
def test_what_is_refused_is_told_and_leaves_nothing(front, tmp_path, files, told):
    content = packed(write_directory(tmp_path / "model", **files))
    refused = front.request("POST", IMPORT, params={"name": "unsafe"}, content=content)
    assert refused.status_code == 422 and told in refused.json()["detail"]
    assert str(tmp_path) not in refused.text and "/imports/" not in refused.text
    assert front.ask("GET", "/api/models")["models"] == []


@pytest.mark.parametrize("name", ["../config.json", "/config.json", "model/../../config.json"])
def test_names_that_lead_out_are_refused(front, tmp_path, name):
    content = packed(write_directory(tmp_path / "model"), **{name: b"{}"})
    refused = front.request("POST", IMPORT, params={"name": "unsafe"}, content=content)
    assert refused.status_code == 422


def test_a_compression_of_what_is_not_there_is_refused(front):
    body = {"kind": "compress", "model": "nothing", "weights": "int8", "texts": ["a text"]}
    assert front.request("POST", "/api/jobs", json=body).status_code == 404
    wrong = front.request("POST", "/api/jobs", json={**body, "weights": "int3"})
    assert wrong.status_code == 400 and "int8" in wrong.text
