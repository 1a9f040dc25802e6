"""A home with models of whose answers each is known without running it, a server on it, and batches that are asked of it."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
from fault_server import FaultServer, serving
from onnx import TensorProto, helper
from small_bundles import times_bundle

from modeltap.bundle.files import bundle_files
from modeltap.bundle.golden import record_golden
from modeltap.control.models import Models
from modeltap.domain.dataset import Column, Schema
from modeltap.domain.model import EngineChoice, Lineage, Manifest
from modeltap.domain.signature import ONNX_IR_VERSION, ONNX_OPSET, Signature, TensorSpec
from modeltap.engines.onnx import OnnxEngine
from modeltap.storage.artifacts import ArtifactStore
from modeltap.storage.models import ModelRepository
from modeltap.storage.opening import open_database

LABELS = ("cheap", "dear")
ROW_COST = Decimal("0.001")
"""Of a row or picture, at a price of 1 for a thousand."""
PEOPLE = Schema(form="table", columns=(Column(name="age", kind="number"), Column(name="city", kind="category")))


def people_files(*, middle: float = 40.0) -> dict[str, bytes]:
    """age, city → cheap or dear: the older, the dearer. No age gives no finite answer, so that row is refused by itself."""
    nodes = [
        helper.make_node("Constant", [], ["middle"], value=helper.make_tensor("middle", TensorProto.DOUBLE, [], [middle])),
        helper.make_node("Constant", [], ["last"], value=helper.make_tensor("last", TensorProto.INT64, [1], [1])),
        helper.make_node("Sub", ["age", "middle"], ["above"]),
        helper.make_node("Neg", ["above"], ["below"]),
        helper.make_node("Unsqueeze", ["above", "last"], ["dear"]),
        helper.make_node("Unsqueeze", ["below", "last"], ["cheap"]),
        helper.make_node("Concat", ["cheap", "dear"], ["both"], axis=1),
        helper.make_node("Softmax", ["both"], ["y"], axis=1),
        helper.make_node("Identity", ["city"], ["label"]),
    ]
    inputs = (TensorSpec("age", "FP64", (-1,)), TensorSpec("city", "BYTES", (-1,)))
    outputs = (TensorSpec("y", "FP64", (-1, 2)), TensorSpec("label", "BYTES", (-1,)))
    return _files(nodes, Signature(inputs, outputs), PEOPLE, [{"age": 41.0, "city": "Ulm"}], labels=LABELS)


def pictures_files() -> dict[str, bytes]:
    """A grey picture of 2 × 2 → its mean."""
    nodes = [
        helper.make_node("Cast", ["x"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Constant", [], ["axes"], value=helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2])),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["y"], keepdims=0),
    ]
    schema = Schema(form="images", columns=(Column(name="x", kind="image", shape=(2, 2)),))
    signature = Signature((TensorSpec("x", "UINT8", (-1, 2, 2)),), (TensorSpec("y", "FP32", (-1,)),))
    return _files(nodes, signature, schema, [[[0, 0], [0, 4]]])


def _files(
    nodes: list[Any], signature: Signature, schema: Schema, rows: Sequence[Any], *, labels: tuple[str, ...] = ()
) -> dict[str, bytes]:
    kinds = {"FP64": TensorProto.DOUBLE, "FP32": TensorProto.FLOAT, "BYTES": TensorProto.STRING, "UINT8": TensorProto.UINT8}

    def told(spec: TensorSpec) -> Any:
        return helper.make_tensor_value_info(
            spec.name, kinds[spec.datatype], ["N" if extent < 0 else extent for extent in spec.shape]
        )

    graph = helper.make_graph(nodes, "known", [told(s) for s in signature.inputs], [told(s) for s in signature.outputs])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", ONNX_OPSET)], ir_version=ONNX_IR_VERSION)
    content = model.SerializeToString()
    manifest = Manifest(
        task="tabular-classification" if labels else "tabular-regression",
        architecture="written-down",
        signature=signature,
        engine=EngineChoice(),
        schema=schema,
        output="y",
        labels=labels,
        lineage=Lineage(code_version="0"),
    )
    golden = record_golden(schema, rows, OnnxEngine(content, signature).run)
    return bundle_files(manifest=manifest, graph=content, golden=golden, card="", recipe_yaml="", weights={}, architecture={})


def make_home(home: Path) -> Path:
    """The home with the models people@1 (and people@2, which draws the line elsewhere), pictures@1 and times@1."""
    home.mkdir(parents=True)
    with closing(open_database(home)) as database:
        artifacts = ArtifactStore(home / "artifacts")
        models = Models(ModelRepository(database, "default"), artifacts)
        numbers = {name: path.read_bytes() for name, path in times_bundle(home.parent / "times").items()}
        for name, files in (
            ("people", people_files()),
            ("people", people_files(middle=50.0)),
            ("pictures", pictures_files()),
            ("times", numbers),
        ):
            models.register(name, files, msgspec.json.decode(files["manifest.json"], type=Manifest))  # type: ignore[arg-type]
    return home


@contextmanager
def batch_server(home: Path, **environment: str) -> Iterator[FaultServer]:
    """A real server on such a home; people, pictures and times are deployed, at a price of 1 for a thousand rows."""
    with serving(make_home(home), **environment) as server:
        deploy_all(server)
        yield server


def deploy_all(server: FaultServer) -> None:
    for name in ("people", "pictures", "times"):
        price = {"row": "1", "image": "1"}
        server.ask("POST", "/api/deployments", json={"name": name, "model": f"{name}@1", "terms": {"price": price}})


def people(num_rows: int) -> list[dict[str, Any]]:
    cities = ("Köln", 'Aix, la "vieille"', "Ulm", "")
    return [{"age": 18.0 + 0.25 * number, "city": cities[number % 4]} for number in range(num_rows)]


def csv_of(rows: Sequence[dict[str, Any]], delimiter: str = ",", *, header: bool = True) -> bytes:
    return pl.DataFrame(list(rows)).write_csv(separator=delimiter, include_header=header).encode()


def parquet_of(rows: Sequence[dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    pl.DataFrame(list(rows)).write_parquet(file)
    return file.getvalue()


def lines_of(rows: Sequence[Any]) -> bytes:
    return b"".join(msgspec.json.encode(row) + b"\n" for row in rows)


def start(server: FaultServer, content: bytes, filename: str = "rows.jsonl", deployment: str = "people", **more: Any) -> str:
    """The id of the job. `key` is whose it is, else the admin's."""
    headers = {"x-api-key": more.pop("key")} if "key" in more else {}
    params = {"deployment": deployment, "filename": filename, **more}
    return str(server.ask("POST", "/api/batches", params=params, content=content, headers=headers)["id"])


def answered(server: FaultServer, job_id: str, **params: str) -> list[dict[str, Any]]:
    """The answers, as JSON Lines."""
    answer = server.client.get(f"/api/batches/{job_id}/output", params={"format": "jsonl", **params})
    assert answer.status_code == 200, answer.text
    return [msgspec.json.decode(line) for line in answer.content.splitlines()]


def predicted(server: FaultServer, rows: Sequence[Any], deployment: str = "people") -> list[Any]:
    """What the server says of these rows in one request."""
    found: list[Any] = server.ask("POST", f"/predict/{deployment}", json={"instances": list(rows)})["predictions"]
    return found


def flat(answers: Sequence[Any]) -> list[dict[str, Any]]:
    """A classifier's answers as they stand in an output, with its other columns."""
    return [
        {
            "row": number,
            "label": one["label"],
            "score": one["score"],
            **{f"score_{name}": score for name, score in one["scores"].items()},
            "error": None,
        }
        for number, one in enumerate(answers, start=1)
    ]


def charged(server: FaultServer, key: str) -> tuple[int, Decimal]:
    """Units and cost that this key was charged, by the usage records."""
    sums = server.ask("GET", "/api/usage", params={"by": "key", "key": key})["sums"]
    return sum(one["units"] for one in sums), sum((Decimal(one["cost"]) for one in sums), Decimal(0))


def new_key(server: FaultServer, **limits: Any) -> tuple[str, str]:
    """Id and text of a key that may predict."""
    made = server.ask("POST", "/api/keys", json={"scopes": ["predict"], "limits": limits})
    return made["id"], made["key"]
