"""Files that mean harm, as they are sent: each is made here, small, and says by which words it is refused.

What a pickle among them would do when it is opened: touch MARK.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from onnx import TensorProto, helper, numpy_helper

MARK = Path("/tmp/modeltap-hostile-mark")
DEEP = 10_000


class Hostile(NamedTuple):
    """`make` gives the body; `told` a part of the refusal."""

    make: Callable[[], bytes]
    told: str


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {MARK}",)


def evil(protocol: int = 5) -> bytes:
    return pickle.dumps(_Evil(), protocol=protocol)


def packed(*members: tuple[str | zipfile.ZipInfo, bytes], how: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", how) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return out.getvalue()


def _linked(target: str) -> bytes:
    info = zipfile.ZipInfo("model.onnx")
    info.external_attr = 0o120777 << 16
    return packed((info, target.encode()))


def _device() -> bytes:
    info = zipfile.ZipInfo("model.onnx")
    info.external_attr = 0o020666 << 16
    return packed((info, b""))


def _replaced(content: bytes, name: bytes, new: bytes) -> bytes:
    """The archive with a member's name changed as no writer of archives lets one."""
    assert len(name) == len(new)
    return content.replace(name, new)


def _flagged() -> bytes:
    """As if it were encrypted."""
    content = bytearray(packed(("model.onnx", b"x" * 9)))
    content[6] |= 1
    at = content.index(b"PK\x01\x02")
    content[at + 8] |= 1
    return bytes(content)


def _claims(size: int) -> bytes:
    """A member that says it is so large, and is not."""
    content = bytearray(packed(("model.onnx", b"x" * 9)))
    at = content.index(b"PK\x01\x02")
    content[at + 24 : at + 28] = struct.pack("<I", size)
    return bytes(content)


def _tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, kind in (("model.onnx", tarfile.SYMTYPE), ("weights.bin", tarfile.LNKTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "../../../etc/passwd"
            archive.addfile(info)
    return out.getvalue()


def graph(nodes: list, *, inputs: list | None = None, outputs: list | None = None, constants: list | None = None) -> bytes:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 2]) for name in "xy")
    made = helper.make_graph(nodes, "g", inputs or [x], outputs or [y], constants or [])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def _external(**facts: str) -> bytes:
    weights = numpy_helper.from_array(np.zeros((2, 2), np.float32), "w")
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    for key, value in facts.items():
        weights.external_data.add(key=key, value=value)
    return graph([helper.make_node("MatMul", ["x", "w"], ["y"])], constants=[weights])


def external(**facts: str) -> bytes:
    """The graph, and a file of weights that is good."""
    return packed(("model.onnx", _external(**facts)), ("w.bin", bytes(16)))


def _field(number: int, content: bytes) -> bytes:
    def varint(value: int) -> bytes:
        out = b""
        while value > 127:
            out += bytes([value & 127 | 128])
            value >>= 7
        return out + bytes([value])

    return varint(number << 3 | 2) + varint(len(content)) + content


def _nested() -> bytes:
    """A graph in a node in a graph, DEEP times."""
    inner = b""
    for _ in range(DEEP):
        attribute = _field(1, b"body") + _field(6, inner) + b"\xa0\x01\x05"
        inner = _field(1, _field(4, b"If") + _field(5, attribute))
    return b"\x08\x08" + _field(7, inner)


def _huge_constant() -> bytes:
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2**32, 2**31], raw_data=b"1234")
    return graph([helper.make_node("MatMul", ["x", "w"], ["y"])], constants=[weights])


def _twice() -> bytes:
    return graph([helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Neg", ["x"], ["y"])])


def _named(name: str) -> bytes:
    given, answer = (helper.make_tensor_value_info(one, TensorProto.BFLOAT16, ["N", 2]) for one in (name, "y"))
    return graph([helper.make_node("Identity", [name], ["y"])], inputs=[given], outputs=[answer])


def mlmodel(text: str | bytes, *more: tuple[str, bytes]) -> bytes:
    return packed(("MLmodel", text if isinstance(text, bytes) else text.encode()), *more)


def _billion() -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    return "\n".join([*lines, "flavors: *a11"])


ONNX_FLAVOUR = "flavors:\n  onnx: {{data: {}, onnx_version: 1.20.0}}\n"
SKLEARN = "flavors:\n  sklearn: {{pickled_model: model.pkl, serialization_format: {}}}\n"
FUNCTION = "flavors:\n  python_function: {loader_module: mlflow.pyfunc.model, python_model: python_model.pkl}\n"
SKOPS_EVIL = {
    "__class__": "function", "__module__": "os", "__loader__": "FunctionNode",
    "content": {"module_path": "os", "function": "system"},
    "protocol": 2, "_skops_version": "0.16.0",
}  # fmt: skip

PICKLES = {
    "a pickle of text": Hostile(lambda: evil(0), "is a pickled file"),
    "a pickle of the second kind": Hostile(lambda: evil(2), "is a pickled file"),
    "a pickle of the fifth kind": Hostile(lambda: evil(5), "is a pickled file"),
    "a pickle packed by zlib": Hostile(lambda: zlib.compress(evil()), "is a pickled file (packed)"),
    "a pickle packed by gzip": Hostile(lambda: gzip.compress(evil()), "is a pickled file (packed)"),
    "a pickle packed by bz2": Hostile(lambda: bz2.compress(evil()), "is a pickled file (packed)"),
    "a pickle packed by xz": Hostile(lambda: lzma.compress(evil()), "is a pickled file (packed)"),
    "a pickle of scikit-learn": Hostile(lambda: evil() + b"sklearn.svm", 'skops.io.dump(model, "model.skops")'),
    "a pickle of XGBoost": Hostile(lambda: evil() + b"xgboost.sklearn", "onnxmltools.convert_xgboost"),
    "a pickle that calls itself a graph": Hostile(lambda: packed(("model.onnx", evil())), "'model.onnx' is a pickled file"),
    "a joblib file in an archive": Hostile(lambda: packed(("m/model.joblib", b"any")), "'model.joblib' is a pickled file"),
    "an array of objects": Hostile(lambda: b"\x93NUMPY\x01\x00" + b"v\x00" + b"{'descr': '|O'}", "is a NumPy array"),
    "an array whose header has 4 GB": Hostile(lambda: b"\x93NUMPY\x02\x00\xff\xff\xff\xff", "is a NumPy array"),
}
ARCHIVES = {
    "a name that leads out": Hostile(lambda: packed(("../out.onnx", b"x")), "leads out of it"),
    "a name that leads out later": Hostile(lambda: packed(("a/../../out.onnx", b"x")), "leads out of it"),
    "an absolute name": Hostile(lambda: packed(("/tmp/out.onnx", b"x")), "leads out of it"),
    "a name of a drive": Hostile(lambda: packed(("C:out.onnx", b"x")), "leads out of it"),
    "a name with backslashes": Hostile(lambda: packed(("..\\out.onnx", b"x")), "leads out of it"),
    "a link": Hostile(lambda: _linked("/etc/passwd"), "is a link or a device"),
    "a device": Hostile(_device, "is a link or a device"),
    "a name with a line end": Hostile(lambda: packed(("a\nb.onnx", b"x")), "use plain relative names"),
    "a name with an escape": Hostile(lambda: packed(("a\x1b[2Jb.onnx", b"x")), "use plain relative names"),
    "a name with a NUL": Hostile(lambda: _replaced(packed(("aXb.onnx", b"x")), b"aXb", b"a\0b"), "here are: none"),
    "a name of 5,000 letters": Hostile(lambda: packed(("n" * 5000 + ".onnx", b"x")), "use plain relative names"),
    "a file and a folder of one name": Hostile(lambda: packed(("a", b"x"), ("a/b", b"x")), "pack it anew"),
    "one name twice": Hostile(lambda: packed(("a.onnx", b"x"), ("a.onnX", b"y")).replace(b"onnX", b"onnx"), "twice"),
    "an encrypted file": Hostile(_flagged, "is encrypted"),
    "a packing that is not read": Hostile(lambda: packed(("a.onnx", b"x" * 99), how=zipfile.ZIP_LZMA), "pack it anew"),
    "100 MB in 100 KB": Hostile(lambda: packed(("a.onnx", bytes(100_000_000))), "no model packs so well"),
    "an archive in an archive": Hostile(lambda: packed(("a.zip", packed(("b", bytes(90_000_000))))), "here are: none"),
    "a size of 4 GB that is not there": Hostile(lambda: _claims(2**32 - 2), "no model packs so well"),
    "3,000 files": Hostile(lambda: packed(*((f"{n}.bin", b"") for n in range(3000))), "more than 2,000 files"),
    "half an archive": Hostile(lambda: packed(("a.onnx", b"x" * 500))[:60], "not a complete ZIP"),
    "a tar of links": Hostile(_tar, "is a tar archive"),
    "a packed tar of links": Hostile(lambda: gzip.compress(_tar()), "is packed"),
    "an empty archive": Hostile(packed, "here are: none"),
}
GRAPHS = {
    "weights above": Hostile(lambda: external(location="../../../etc/passwd"), "not a plain name inside"),
    "weights at an absolute place": Hostile(lambda: external(location="/etc/passwd"), "not a plain name inside"),
    "weights before their file": Hostile(lambda: external(location="w.bin", offset="-8", length="16"), "beyond the end"),
    "weights far behind their file": Hostile(lambda: external(location="w.bin", offset=str(2**62)), "beyond the end"),
    "weights of no number": Hostile(lambda: external(location="w.bin", length="many"), "beyond the end"),
    "weights longer than their file": Hostile(lambda: external(location="w.bin", length=str(2**40)), "beyond the end"),
    "10,000 graphs within each other": Hostile(_nested, "not an ONNX graph"),
    "a constant of 2^63 numbers": Hostile(_huge_constant, ""),
    "one name for two things": Hostile(_twice, "y"),
    "a name with a line end and a NUL": Hostile(lambda: _named("a\n\x07b"), "are tensors of"),
    "nothing but zeros": Hostile(lambda: bytes(5000), "not an ONNX graph"),
}
MLFLOW = {
    "code alone": Hostile(lambda: mlmodel(FUNCTION, ("python_model.pkl", evil())), "never run here"),
    "a pickle of MLflow": Hostile(lambda: mlmodel(SKLEARN.format("pickle"), ("model.pkl", evil())), "kept by pickle"),
    "a cloudpickle": Hostile(lambda: mlmodel(SKLEARN.format("cloudpickle"), ("model.pkl", evil())), "kept by cloudpickle"),
    "a pickle that calls itself skops": Hostile(
        lambda: mlmodel(SKLEARN.format("skops"), ("model.pkl", evil())), "is a pickled file"
    ),
    "a place above": Hostile(lambda: mlmodel(ONNX_FLAVOUR.format("../../x.onnx")), "not in the directory"),
    "an absolute place": Hostile(lambda: mlmodel(ONNX_FLAVOUR.format("/etc/passwd")), "not in the directory"),
    "an example above": Hostile(
        lambda: mlmodel(
            ONNX_FLAVOUR.format("m.onnx") + "saved_input_example_info: {artifact_path: ../../../etc/passwd}", ("m.onnx", b"x")
        ),
        "not in the directory",
    ),
    "an object of Python": Hostile(lambda: mlmodel(f"flavors: !!python/object/apply:os.system ['touch {MARK}']"), "cannot be"),
    "a billion laughs": Hostile(lambda: mlmodel(_billion()), "refers to parts of itself"),
    "10,000 lists within each other": Hostile(lambda: mlmodel("flavors: " + "[" * DEEP), "nested too deep"),
    "a signature of 10,000 lists": Hostile(
        lambda: mlmodel(ONNX_FLAVOUR.format("m.onnx") + f"signature: {{inputs: '{'[' * DEEP}{']' * DEEP}'}}", ("m.onnx", b"x")),
        "are no JSON",
    ),
    "a key that stands twice": Hostile(lambda: mlmodel("flavors: {}\nflavors: {onnx: {data: a}}"), "twice"),
    "no UTF-8": Hostile(lambda: mlmodel(b"flavors: \xff\xfe\x00\x01"), "cannot be read"),
    "300 KB of words": Hostile(lambda: mlmodel("flavors: " + "x" * 300_000), "more than 262,144 bytes"),
    "no flavours": Hostile(lambda: mlmodel("flavors: [1, 2]"), "names no flavors"),
}
OTHERS = {
    "a header of 2^60 bytes": Hostile(lambda: struct.pack("<Q", 1 << 60) + b'{"a":1}', "weights alone"),
    "skops with a function of the system": Hostile(
        lambda: packed(("schema.json", json.dumps(SKOPS_EVIL).encode())), "not scikit-learn's own: os.function"
    ),
}
EVERYTHING = {**PICKLES, **ARCHIVES, **GRAPHS, **MLFLOW, **OTHERS}
